"""What does the dashboard show of a calibration? What each way left of pilot sets, and which were remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
from expunge.reporting.svg import Line, curves
from expunge.unlearning.laws import MOST_CENSORED
from expunge.unlearning.left_model import FEWEST_FOR_COVERAGE
from expunge.unlearning.pilots import MEASURABLE_ENERGY, PilotSet

if TYPE_CHECKING:
    from expunge.unlearning.predictor import BudgetPredictor


def calibration_page(predictor: BudgetPredictor) -> str:
    """What the pilots say about what forgetting takes."""
    count = len(predictor.measurable)
    enough = count >= FEWEST_FOR_COVERAGE
    indicative = "" if enough else f" Fewer than {FEWEST_FOR_COVERAGE}: predictions are indicative."
    low, high = predictor.loss_range
    return page(
        "Calibration of the unlearning budget",
        [
            notice(
                f"{count} of {plural(len(predictor.pilots), 'pilot set')} left something measurable in the original "
                f"and can teach what forgetting costs.{indicative}",
                "plain" if enough else "unsure",
            ),
            definitions(
                {
                    "target": f"at most {percent(predictor.target)} of the original's distance left",
                    "retraining": plural(predictor.retrain_steps, "step"),
                    "mean privacy loss of the pilots (nats)": f"{number(low)} to {number(high)}",
                }
            ),
            section("What the pilots show", figures(_left_plot(predictor), _energy_plot(predictor))),
            section("Pilot sets", table(*_pilot_table(predictor.pilots), numeric_columns=(1, 2, 3, 4))),
            section("Laws compared", _laws(predictor)),
            folded("Every pilot run", _runs(predictor.pilots)),
        ],
        "What does each way of forgetting leave, and at what cost?",
    )


def _laws(predictor: BudgetPredictor) -> str:
    """The laws of the steps needed, where few enough sets were censored for one to be read off."""
    laws = predictor.laws
    if laws and laws[0].censored > MOST_CENSORED:
        share = percent(laws[0].censored)
        return paragraph(f"Not estimable here: nothing short of retraining met the target on {share} of the sets.")
    rows: list[list[object]] = [
        [law.name, ", ".join(f"{c:.3g}" for c in law.coefficients), law.error, law.log_score, percent(law.censored)]
        for law in laws
    ]
    head = ["steps needed as a function of the loss", "coefficients", "error, left out (steps)",
            "log score, left out (nats)", "needed retraining"]  # fmt: skip
    return table(head, rows, (2, 3, 4), empty="Too few measurable pilots to compare laws.")


def _left_plot(predictor: BudgetPredictor) -> str:
    """What each way leaves, by its cost, for a set as hard as the middle one of those that were remembered."""
    if not predictor.measurable:
        return ""
    middle = float(np.median([p.mean_loss for p in predictor.measurable]))
    drawn: dict[str, list[tuple[float, float]]] = {}
    for way, cost in predictor.ways.items():
        expected = predictor.expected(way, middle, 0.5)
        if expected is not None:
            drawn.setdefault(way_words(way.method, way.strength), []).append((cost, expected.value))
    colours = dict(zip(drawn, ("grey", "a", "c", "d", "e"), strict=False))
    lines = [
        Line([cost for cost, _ in points], [left for _, left in points], colours.get(name, "grey"), name)
        for name, points in drawn.items()
    ]
    costs = [cost for points in drawn.values() for cost, _ in points]
    lines.append(Line([0, max(costs)], [predictor.target] * 2, "b", "target", style="dashed"))
    return figure(
        curves(lines, "cost, in retrainings", "predicted to be left"),
        "What each way should leave of the original's influence, for a set of the middle difficulty among those that "
        "were remembered. The dashed line is the target.",
        [(colours.get(name, "grey"), name) for name in drawn],
    )


def _energy_plot(predictor: BudgetPredictor) -> str:
    points = sorted((np.log10(max(p.mean_loss, 1e-12)), p.energy) for p in predictor.pilots)
    if len(points) < 2:
        return ""
    losses, energies = zip(*points, strict=True)
    lines = [
        Line(losses, energies, "a", "pilot sets"),
        Line([losses[0], losses[-1]], [MEASURABLE_ENERGY] * 2, "grey", "measurable", style="dashed"),
    ]
    return figure(
        curves(lines, "mean privacy loss, power of ten", "energy of the original, a record"),
        "How far the original was from models that never saw the set, by the set's privacy loss. Below the dashed line "
        "nothing measurable was remembered.",
        [("a", "pilot sets"), ("grey", "measurable above")],
    )


def way_words(method: str, strength: float | None) -> str:
    """A way's name for people."""
    words = method.replace("_", " ")
    return words if strength is None else f"{words}, {percent(strength)} of the push"


def _pilot_table(pilots: tuple[PilotSet, ...]) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = [
        [p.name, p.size, p.mean_loss, p.energy, len(p.candidates), "yes" if p.measurable else "no"] for p in pilots
    ]
    return ["pilot set", "records", "mean privacy loss", "energy of the original", "runs", "measurable"], rows


def _runs(pilots: tuple[PilotSet, ...]) -> str:
    rows = [
        [
            p.name,
            way_words(c.method, c.strength),
            c.amount,
            percent(c.cost, 1),
            percent(c.share_spent),
            c.influence,
            c.excess,
        ]
        for p in pilots
        for c in p.candidates
    ]
    head = ["pilot set", "method", "amount", "cost", "loss spent before", "influence left", "excess left"]
    return table(head, rows, (2, 3, 4, 5, 6)) + paragraph("Amount: restart step, or steps of fine-tuning.", note=True)
