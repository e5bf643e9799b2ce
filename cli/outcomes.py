"""The table of results: one line a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cli import output
from cli.context import project

ROLES = ("original", "unlearned", "oracle")


def show_outcomes(rows: Sequence[Any]) -> None:
    """What each request took and what the tests say, with the controls on the same screen."""
    state = project().state
    shown = [
        (
            row.request,
            row.records,
            f"{row.percentile:.0f}",
            f"{row.predicted_steps} / {row.spent_steps}",
            f"{row.cost:.2f}; {row.cost_everything:.0f} with proof, scoring, calibration",
            _roles(row.forget_accuracy, percent=True),
            "\n".join(
                f"{role} {rank['rank']}/{rank['of']} p {rank['p']:.2f}" for role, rank in row.distance_rank.items()
            ),
            _roles(row.mia_auc),
            row.words,
        )
        for row in rows
    ]
    columns = (
        "request", "records", "difficulty percentile", "steps predicted / spent", "cost, in retrainings",
        "forget accuracy", "distance rank among oracles (1: farthest)", "MIA AUC (good: as oracles)", "verdict",
    )  # fmt: skip
    output.table("Deletion requests", columns, shown, lines=True)
    retrained = any(row.method == "retrain" for row in rows)
    controls: dict[str, Any] = next((row.controls for row in rows if row.controls), {})
    for role, control in controls.items():
        name = {"original": "The original model", "oracle": "A held-back oracle"}.get(role, role)
        p = "" if control["p_value"] is None else f", p {control['p_value']:.3f}"
        output.line(
            f"Control: {name} {'PASSES' if control['verdict'] == 'pass' else 'FAILS'} the forgetting check"
            f"{p}{'; ' + control['note'] if control['note'] else ''} (expected: {control['expected']})."
            + (" Reported only: the model was retrained." if retrained else "")
        )
    for row in rows:
        if row.fallback:
            output.line(f"{row.request}: {row.fallback}")
        output.line(f"{row.request}: certificate {state / row.certificate}")
        if row.status == "purged":
            output.line(
                f"{row.request}: interim, the request stays open: checkpoints that saw its records are kept until the"
                " date that the certificate names, restricted to starting later rewinds; `expunge run-due` ends that."
            )
    for report in sorted({row.report for row in rows}):
        output.line(f"Report: {state / report}")


def _roles(values: dict[str, Any], percent: bool = False) -> str:
    lines = []
    for role in ROLES:
        found = values.get(role) or {}
        value, interval = found.get("value"), found.get("interval")
        if value is None:
            lines.append(f"{role} -")
            continue
        low_high = ""
        if interval:
            low, high = (f"{end:.0%}" if percent else f"{end:.2f}" for end in interval)
            low_high = f" [{low}, {high}]"
        lines.append(f"{role} {value:.0%}{low_high}" if percent else f"{role} {value:.2f}{low_high}")
    note = next((v.get("note") for v in values.values() if v and v.get("value") is None and v.get("note")), "")
    return note if note and all(line.endswith(" -") for line in lines) else "\n".join(lines)
