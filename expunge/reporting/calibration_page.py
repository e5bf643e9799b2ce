"""What does the dashboard show of a calibration? How far back pilot sets had to be rewound, and whether tuning did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from expunge.reporting.page import (
    definitions,
    figure,
    figures,
    folded,
    notice,
    number,
    page,
    paragraph,
    percent,
    plural,
    section,
    table,
)
from expunge.reporting.svg import Line, StripRow, curves, strip

if TYPE_CHECKING:
    from expunge.unlearning.predictor import BudgetPredictor, PilotSet


def calibration_page(predictor: BudgetPredictor) -> str:
    """What the pilots say about how far back a set must be rewound."""
    count = predictor.measurable
    indicative = "" if count >= 19 else " Fewer than 19: predictions are indicative."
    low, high = predictor.loss_range
    return page(
        "Calibration of the unlearning budget",
        [
            notice(
                f"{count} of {plural(len(predictor.pilots), 'pilot set')} left something measurable in the original "
                f"and can teach what forgetting costs.{indicative}",
                "plain" if count >= 19 else "unsure",
            ),
            definitions(
                {
                    "target": f"at most {percent(predictor.target)} of the original's distance left",
                    "retraining": plural(predictor.retrain_steps, "step"),
                    "mean privacy loss of the pilots (nats)": f"{number(low)} to {number(high)}",
                }
            ),
            section("What the pilots show", figures(_excess_plot(predictor), _critical_plot(predictor))),
            section("Pilot sets", table(*_pilot_table(predictor.pilots), numeric_columns=(1, 2, 3, 4))),
            section("Fine-tuning steps needed", _tuned(predictor)),
            section(
                "Laws compared",
                table(
                    ["steps needed as a function of the loss", "coefficients", "leave-one-out error (steps)"],
                    [[law.name, ", ".join(f"{c:.3g}" for c in law.coefficients), law.error] for law in predictor.laws],
                    (2,),
                    empty="Too few measurable pilots to compare laws.",
                ),
            ),
            folded("Every pilot run", _runs(predictor.pilots)),
        ],
        "How far back must a set of records be rewound, and would fine-tuning do?",
    )


def _excess_plot(predictor: BudgetPredictor) -> str:
    lines = []
    for pilot in predictor.pilots:
        points = sorted((c.share_spent, c.excess) for c in pilot.candidates if c.share_spent is not None)
        if points and pilot.measurable:
            lines.append(Line([p for p, _ in points], [e for _, e in points], "grey", pilot.name))
    lines.append(Line([0, 1], [predictor.target] * 2, "b", "target"))
    return figure(
        curves(lines, "share of the loss spent before the restart", "excess that was left"),
        "One line per measurable pilot set: the later the restart, the more is left.",
        [("grey", "pilot set"), ("b", "target")],
    )


def _critical_plot(predictor: BudgetPredictor) -> str:
    row = StripRow("pilot sets", list(predictor.critical_shares), "a")
    return figure(
        strip([row], "largest share that still met the target"),
        "Restarting before this share of a set's privacy loss was spent met the target. The plan takes a cautious one.",
    )


def _pilot_table(pilots: tuple[PilotSet, ...]) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = [
        [p.name, p.size, p.mean_loss, p.energy, len(p.candidates), "yes" if p.measurable else "no"] for p in pilots
    ]
    return ["pilot set", "records", "mean privacy loss", "energy of the original", "runs", "measurable"], rows


def _tuned(predictor: BudgetPredictor) -> str:
    rows = []
    for method, steps in predictor.fine_tune_steps.items():
        failed = sum(k is None for k in steps)
        enough = predictor.steps_for(method)
        listed = ", ".join("not within the cap" if k is None else str(k) for k in steps)
        words = (
            f"{enough} steps are enough for all"
            if enough is not None
            else f"{failed} of {len(steps)} not within the cap"
        )
        rows.append([method.replace("_", " "), words, listed])
    return table(["method", "", "per pilot"], rows, empty="Fine-tuning was not tried.")


def _runs(pilots: tuple[PilotSet, ...]) -> str:
    rows = [
        [p.name, c.method.replace("_", " "), c.amount, c.steps, percent(c.share_spent), c.excess]
        for p in pilots
        for c in p.candidates
    ]
    head = ["pilot set", "method", "amount", "steps", "loss spent before", "excess left"]
    return table(head, rows, (2, 3, 4, 5)) + paragraph("Amount: restart step, or steps of fine-tuning.", note=True)
