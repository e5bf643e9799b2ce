"""score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.context import Config, Json, Set, refuse_unwritable, settings, start

# Seen in one pilot, and said wherever checkpoints are left out.
PILOT = "In one pilot 9 of 35 lost up to half of the top 5 %."


def score(
    config: Config = None,
    overrides: Set = None,
    json: Json = False,
    top: Annotated[int, typer.Option("--top", min=1, help="How many of the most memorised records to show.")] = 20,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write rank and loss, without ids, to this CSV.")] = None,
    checkpoints: Annotated[
        int | None, typer.Option("--checkpoints", min=2, help="Score only so many; what that loses is measured.")
    ] = None,
    bfloat16: Annotated[
        bool, typer.Option("--bfloat16", help="Multiply in bfloat16; the error is measured on a sample.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the kernel chosen for each layer.")] = False,
) -> None:
    """Compute every record's privacy loss; shows the most memorised records."""
    refuse_unwritable(plot)
    asked = [f"scoring.checkpoints={checkpoints}"] if checkpoints is not None else []
    asked += ["scoring.precision=bfloat16"] if bfloat16 else []
    chosen = settings(config, [*(overrides or []), *asked])
    start()
    from pipelines.scoring import run_scoring

    done = run_scoring(chosen)
    losses, report = done.load("privacy_losses"), dict(done.load("scoring_report").values)
    if plot is not None:
        rows = "".join(f"{rank},{loss:.6g}\n" for rank, (_, loss) in enumerate(losses.hardest(len(losses)), 1))
        plot.write_text("rank,privacy_loss\n" + rows)
    if json:
        output.as_json({**_hardest(losses, top), "scoring": report})
        return
    show_hardest(losses, top)
    show_report(report, verbose)


def show_hardest(losses: Any, top: int) -> None:
    """The most memorised records."""
    found = _hardest(losses, top)
    shown = [
        (row["rank"], row["record_id"], f"{row['loss']:,.1f}", f"{100 * (1 - row['rank'] / len(losses)):.1f} %")
        for row in found["hardest"]
    ]
    output.table("Most memorised records", ("rank", "record", "privacy loss (nats)", "harder than"), shown)
    reasons = f" ({'; '.join(losses.reasons)})" if losses.reasons else ""
    output.line(f"{len(losses)} records, order {losses.order:g}, {losses.label}{reasons}; a score, not a guarantee.")
    if found["warning"]:
        output.line(f"Warning: {found['warning']}")


def show_report(report: dict[str, Any], verbose: bool) -> None:
    """What the scoring cost, and what its shortcuts changed."""
    output.line(_cost(report))
    if report["definition_because"]:
        output.line(f"  One gradient per record, not one pass, was needed: {report['definition_because']}.")
    if lost := report["rank_loss"]:
        output.line(f"  {lost['words']} {PILOT}")
    if error := report["precision_error"]:
        changed = (
            f"relative error of a norm {error['median']:.2g} (median), {error['largest']:.2g} (largest);"
            f" Spearman of the losses {_decimals(error['spearman'])}"
            if error["largest"] > 0
            else "nothing changed, for no layer of this model is worth multiplying in it"
        )
        output.line(f"  bfloat16, measured on {error['records']} records: {changed}.")
    if verbose:
        rows = sorted(report["kernels"].items())
        output.table("Kernels", ("parameter", "kernel"), rows)
        digest = report["kernel_table"]
        output.line(f"  Chosen by {f'the tuned table {digest[:12]}' if digest else 'the cost model on shapes'}.")


def _cost(report: dict[str, Any]) -> str:
    scored, of = report["checkpoints"]["scored"], report["checkpoints"]["of"]
    parts = [f"Scored at {scored} of {of} checkpoints"]
    if report["records_per_second"]:
        parts.append(f"{report['seconds']:.1f} s, {report['records_per_second']:,.0f} records per second")
    if report["shards"]["reused"]:
        parts.append(f"{report['shards']['reused']} of {report['shards']['blocks']} blocks were there from before")
    if plain := report["plain_pass"]:
        parts.append(
            f"{plain['median']:.2f} times a plain pass (median of {plain['pairs']} paired runs of"
            f" {plain['records']} records)"
        )
    return ": ".join([parts[0], "; ".join(parts[1:])]) + "."


def _hardest(losses: Any, top: int) -> dict[str, Any]:
    from expunge.privacy.scores import flat_distribution_warning

    return {
        "order": losses.order,
        "label": losses.label,
        "reasons": losses.reasons,
        "warning": flat_distribution_warning(losses.total),
        "records": len(losses),
        "hardest": [
            {"rank": rank, "record_id": record, "loss": loss}
            for rank, (record, loss) in enumerate(losses.hardest(top), 1)
        ],
    }


def _decimals(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.5f}"
