"""What does the dashboard show of an artifact? One page each for records, trajectory, norms, losses and documents.

The pages of the unlearning documents are in `decision_pages` (plan, run, evidence, decision) and `calibration_page`;
all of them can be imported from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from expunge.reporting.axes import finite, number
from expunge.reporting.calibration_page import calibration_page
from expunge.reporting.decision_pages import decision_page, evidence_page, plan_page, run_page
from expunge.reporting.page import (
    Markup,
    badge,
    bullets,
    code,
    definitions,
    figure,
    figures,
    folded,
    html,
    nested,
    notice,
    page,
    paragraph,
    plural,
    section,
    table,
)
from expunge.reporting.svg import Band, Line, curves, histogram, tile

if TYPE_CHECKING:
    from expunge.privacy.scores import GradientNorms, PrivacyLosses

__all__ = [
    "HardRecord", "calibration_page", "decision_page", "document_page", "evidence_page", "losses_page", "norms_page",
    "plan_page", "record_table_page", "run_page", "trajectory_page",
]  # fmt: skip

LABEL_WORDS = {
    "score": "A score, not a guarantee: the training noise is the one that the formula describes, but one run is one "
    "sample of what the formula averages.",
    "heuristic": "A heuristic order of difficulty, not a guarantee: the training differs from what the formula "
    "describes.",
}


@dataclass(frozen=True, eq=False)
class HardRecord:
    """A record that the model remembers most, as it is shown: with its label, and as an image where it is one."""

    record_id: str
    target: str
    loss: float
    image: NDArray[Any] | None = None


def document_page(title: str, document: Mapping[str, object]) -> str:
    """Any nested mapping of JSON values."""
    return page(title, [nested(document)])


def record_table_page(facts: Mapping[str, object]) -> str:
    """Facts about a table of records; never the records themselves."""
    name = facts.get("name")
    title = f"Records: {name}" if name else "Records"
    return page(title, [nested(facts)], "What a model may learn from. Ids and features are not shown here.")


def trajectory_page(manifest: Mapping[str, Any]) -> str:
    """A training run and its checkpoints, from `Trajectory.manifest()`."""
    checkpoints = [dict(c) for c in manifest.get("checkpoints", ())]
    final = manifest.get("final")
    gone = sum(bool(c.get("destroyed")) for c in checkpoints)
    rows = [_checkpoint_row(c, "") for c in checkpoints] + ([_checkpoint_row(final, "final")] if final else [])
    steps = [c["step"] for c in checkpoints]
    noise = [c.get("s") for c in checkpoints]
    assumed = all(s is None for s in noise)
    drawn = [figure(curves([Line(steps, [c["lr"] for c in checkpoints])], "step", "learning rate"), "Learning rate.")]
    if not assumed:
        measured = Line(steps, [float("nan") if s is None else s for s in noise], "c")
        drawn.append(figure(curves([measured], "step", "noise s"), "Noise s on the sum of a batch's gradients."))
    state = (
        notice(
            f"{plural(gone, 'checkpoint')} of {len(checkpoints)} are no part of it: only step and hash are left.",
            "plain",
        )
        if gone
        else notice(f"All {plural(len(checkpoints), 'scored checkpoint')} are stored.", "plain")
    )
    records = len(manifest.get("record_ids", ()))
    return page(
        "Training trajectory",
        [
            state,
            definitions({"trained on": plural(records, "record"), "last step": (final or {}).get("step")}),
            section("Over the steps", figures(*drawn) if checkpoints else ""),
            notice("No noise was added in training: s is only assumed when records are scored.") if assumed else "",
            section(
                "Checkpoints",
                table(
                    ["step", "learning rate", "noise s", "sampling q", "SHA-256", "bytes", "state"],
                    rows,
                    (0, 1, 2, 3, 5),
                ),
            ),
            section("The run", nested(manifest.get("run", {}))),
        ],
        "Which checkpoints a run left, and whether their bytes still exist",
    )


def _checkpoint_row(c: Mapping[str, Any], note: str) -> list[object]:
    destroyed = bool(c.get("destroyed"))
    digest = code(str(c.get("sha256", "")), 12)
    return [
        f"{c.get('step')} ({note})" if note else c.get("step"),
        c.get("lr"),
        "assumed" if c.get("s") is None else c.get("s"),
        c.get("q"),
        Markup(f"<del>{digest}</del>") if destroyed else digest,
        c.get("size"),
        badge("destroyed", "bad") if destroyed else badge("stored", "good"),
    ]


def norms_page(norms: GradientNorms) -> str:
    """How gradient norms are spread over records, checkpoint by checkpoint."""
    values = np.asarray(norms.norms, dtype=float)
    _, bad = finite(values)
    levels = {1: "1 %", 5: "5 %", 25: "25 %", 50: "median", 75: "75 %", 95: "95 %", 99: "99 %"}
    quantiles: dict[int, list[float]] = {k: [] for k in levels}
    for column in values.T:
        kept, _ = finite(column)
        for k in levels:
            quantiles[k].append(float(np.percentile(kept, k)) if kept.size else float("nan"))
    steps = list(norms.steps)
    bands = [
        Band(steps, quantiles[1], quantiles[99], "a", "1 to 99 %"),
        Band(steps, quantiles[5], quantiles[95], "a", "5 to 95 %"),
        Band(steps, quantiles[25], quantiles[75], "a", "25 to 75 %"),
    ]
    drawing = curves([Line(steps, quantiles[50], "a", "median")], "training step", "gradient norm", bands)
    rows = [[step, *(quantiles[k][i] for k in levels)] for i, step in enumerate(steps)]
    return page(
        "Gradient norms",
        [
            definitions({"records": len(norms), "checkpoints": len(steps)}),
            notice(f"{plural(bad, 'norm')} not finite, left out of the plot.", "bad") if bad else "",
            section(
                "Over training",
                figure(
                    drawing,
                    "Line: median over records. Bands, from dark to light: the middle half, 90 % and 98 % of the "
                    "records. A record whose gradient stays large long after the others is remembered individually.",
                ),
            ),
            section("Quantiles", folded("Every checkpoint", table(["step", *levels.values()], rows, range(8)))),
            section("Settings", nested(norms.settings)),
        ],
        "One number per record and checkpoint: how much this record alone would have moved the model",
    )


def losses_page(losses: PrivacyLosses, hardest: Sequence[HardRecord]) -> str:
    """How hard each record is to forget: the spread, when it was learnt, the hardest ones, and the limits."""
    from expunge.privacy.scores import flat_distribution_warning

    total = np.asarray(losses.total, dtype=float)
    kept, _ = finite(total)
    flat = flat_distribution_warning(kept) if kept.size > 1 else None
    summary = {name: float(np.percentile(kept, k)) if kept.size else None for name, k in (("median", 50), ("99 %", 99))}
    facts: dict[str, object] = {
        "records": len(losses),
        "Rényi order": losses.order,
        "median loss (nats)": summary["median"],
        "99 % quantile (nats)": summary["99 %"],
        "largest (nats)": float(kept.max()) if kept.size else None,
    }
    return page(
        "Privacy loss of every record",
        [
            notice(LABEL_WORDS[losses.label], "plain" if losses.label == "score" else "unsure"),
            bullets(losses.reasons),
            notice(flat, "unsure") if flat else "",
            definitions(facts),
            section("How the losses are spread", figures(_spread(total), _learnt(losses))) if len(losses) else "",
            section("The records remembered most", _hardest(hardest)),
            section("Settings", nested(losses.settings)),
        ],
        "How much this training run could have revealed about each record: the larger, the harder to forget",
    )


def _spread(total: NDArray[np.float64]) -> str:
    zeros = int((total == 0).sum())
    note = f" {plural(zeros, 'record')} with loss 0." if zeros else ""
    return figure(histogram(total, "privacy loss in nats"), f"One count per record.{note}")


def _learnt(losses: PrivacyLosses) -> str:
    """Cumulative curves of the hardest 1 %, the median and the easiest records (each the mean of its group)."""
    order = np.argsort(losses.total, kind="stable")
    n = len(order)
    group = max(1, n // 100)
    middle = max(0, (n - group) // 2)
    groups = [
        ("b", f"hardest {number(group)}", order[n - group :]),
        ("a", f"median {number(group)}", order[middle : middle + group]),
        ("grey", f"easiest {number(group)}", order[:group]),
    ]
    lines = [
        Line(losses.steps, losses.cumulative[rows].mean(axis=0).tolist(), kind, name, step=True)
        for kind, name, rows in groups
    ]
    return figure(
        curves(lines, "training step", "privacy loss so far"),
        "When the loss was spent: mean over the hardest 1 %, the middle 1 % and the easiest 1 % of the records. "
        "Rewinding to before a step undoes what was spent after it.",
        [(kind, name) for kind, name, _ in groups],
    )


def _hardest(hardest: Sequence[HardRecord]) -> str:
    if not hardest:
        return paragraph("None is shown.", note=True)
    if all(record.image is None for record in hardest):
        rows = [[k + 1, r.record_id, r.target, r.loss] for k, r in enumerate(hardest)]
        return table(["rank", "record", "label", "privacy loss"], rows, (0, 3))
    cards = []
    for k, record in enumerate(hardest):
        picture = "" if record.image is None else tile(record.image, 96, f"{record.record_id}, label {record.target}")
        cards.append(
            f"<figure>{picture}<figcaption>{k + 1}. label {html(record.target)}<br>loss {number(float(record.loss))}"
            f"<br>{html(record.record_id)}</figcaption></figure>"
        )
    return f'<div class="tiles">{"".join(cards)}</div>'
