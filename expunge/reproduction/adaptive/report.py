"""How is the comparison told? Estimates for the rules, tables, figures, and sentences made from the numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from expunge.reproduction.adaptive import arms as names
from expunge.reproduction.adaptive.arms import at, methods
from expunge.reproduction.adaptive.left import Left
from expunge.reproduction.adaptive.measured import Measured
from expunge.reproduction.adaptive.words import MATCHED, MEAN, WITHOUT, answer, contrast, sentences
from expunge.reproduction.findings import Cell, Estimate, Figure, Findings, Kind, Series, Table
from expunge.reproduction.times import LEAST_ENERGY
from expunge.unlearning.pilots import MEASURABLE_ENERGY

# (one arm, less the other): what the question and its controls ask for, in this order.
CONTRASTS = (
    (names.PLANNER, names.BEST), (names.ALLOCATION, names.BEST), (names.GATED, names.BEST),
    (names.PLANNER, names.REWIND), (names.PLANNER, names.TUNING),
    (names.PLANNER, names.SHUFFLED), (names.ALLOCATION, names.BY_CHANCE), (names.ALLOCATION, names.BY_NORM),
    (names.ALLOCATION, names.PLANNER), (names.ALLOCATION, names.GATED), (names.BY_CHANCE, names.BEST),
)  # fmt: skip
# Fine-tuning for long leaves more than there was, and would hide the rest of a plot.
CUT = 1.25
AGAINST_FIXED = ((names.PLANNER, names.BEST), (names.ALLOCATION, names.BEST))


def findings_of(found: Measured) -> Findings:
    """Everything of one data set."""
    estimates, missing = _estimates(found)
    compared = (_by_cost(found), _by_budget(found, estimates)) if found.left.measurable else ()
    return Findings(
        estimates=estimates, not_estimable=missing,
        tables=(_left_table(found), _differences(found, estimates), _plans(found)),
        figures=(*compared, _by_loss(found)),
        answer=answer(found, estimates, missing), words=sentences(found, estimates, missing),
    )  # fmt: skip


def _estimates(found: Measured) -> tuple[dict[str, Estimate], dict[str, str]]:
    name, budgets = found.world.name, list(found.arms.budgets)
    told: dict[str, Estimate] = {f"{name}: energy of a record": found.left.energy}
    missing: dict[str, str] = {}

    def add(key: str, left: Left, arms: Sequence[str], others: Sequence[str] | None) -> None:
        if not left.measurable:
            low = left.energy.interval(0.9)[0]
            missing[f"{name}: {key}"] = (
                f"the originals held too little of these sets (lower bound of S_o/m {low:.2g}, needed {LEAST_ENERGY:g})"
            )
        else:
            told[f"{name}: {key}"] = left.left(arms[0]) if others is None else left.less(arms, others)

    for one, other, left, where in _pairs(found):
        for budget in budgets:
            add(contrast(one, other, budget, where), left, [at(one, budget)], [at(other, budget)])
        every = [at(one, b) for b in budgets], [at(other, b) for b in budgets]
        add(contrast(one, other, where=where), left, *every)
    for arm in (names.ORIGINAL, names.RETRAINED):
        add(f"left by {arm}", found.left, [arm], None)
    for budget in budgets:
        for arm in names.SPENDING:
            add(f"left by {at(arm, budget)}", found.left, [at(arm, budget)], None)
    return told, missing


def _pairs(found: Measured) -> list[tuple[str, str, Left, str]]:
    """Every contrast, where it is measured, and how that is called: "" for all measured sets."""
    easier = found.left.first((len(found.sets.measured) - 1) * found.sets.size)
    return [
        *((*pair, found.left, "") for pair in CONTRASTS),
        *((*pair, found.matched, MATCHED) for pair in AGAINST_FIXED),
        *((*pair, easier, WITHOUT) for pair in AGAINST_FIXED),
    ]


def _left_table(found: Measured) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for arm in found.left.arms:
        rows.append((arm, found.costs[arm], *_shares(found.left, arm), 100 * found.accuracy_lost[arm]))
    for arm in found.matched.arms:
        rows.append((f"{arm}, {MATCHED}", found.matched_costs[arm], *_shares(found.matched, arm), None))
    return Table(
        title=f"{found.world.name}: what is left of the originals' influence",
        heads=("method", "mean cost, retrainings", "influence", "excess", "accuracy lost, points"),
        rows=tuple(rows),
        note=f"All {len(found.sets.measured)} measured sets of {found.sets.size} records together, ratios of sums; "
        f"95 % intervals over {found.left.originals} originals (jackknife). Accuracy: the oracles' on held-out records "
        "less the method's.",
    )  # fmt: skip


def _shares(left: Left, arm: str) -> tuple[Cell, Cell]:
    """Influence and excess, where there is something that they are shares of."""
    return (left.influence(arm).told(".2f"), left.excess(arm).told(".2f")) if left.measurable else (None, None)


def _differences(found: Measured, estimates: dict[str, Estimate]) -> Table:
    budgets = list(found.arms.budgets)
    rows = []
    for one, other, _, where in _pairs(found):
        keys = [contrast(one, other, budget, where) for budget in (*budgets, None)]
        cells = [estimates.get(f"{found.world.name}: {key}") for key in keys]
        label = f"{one} minus {other}" + (f", {where}" if where else "")
        rows.append((label, *(None if cell is None else cell.told(".2f") for cell in cells)))
    return Table(
        title=f"{found.world.name}: differences in what is left at equal cost",
        heads=("contrast", *(f"at {budget:g}" for budget in budgets), MEAN),
        rows=tuple(rows),
        note="Of the larger of |influence| and excess; below 0: the first leaves less. 95 % intervals, jackknife over "
        "originals, not corrected for their number.",
    )  # fmt: skip


def _plans(found: Measured) -> Table:
    """How many sets take which method, by budget."""
    rows: list[tuple[Cell, ...]] = []
    for budget, spent in found.arms.budgets.items():
        for arm in (names.PLANNER, names.ALLOCATION, names.GATED, names.BEST):
            counts = methods([way for own in found.plans for way in own[at(arm, budget)]])
            told = (counts.get(method, 0) for method in ("keep", "rewind", "unrolled_rewind", "fine_tune", "retrain"))
            way = found.arms.best[budget] if arm == names.BEST else None
            label = arm if way is None else f"{arm}: {_way(way.method, way.strength)}"
            rows.append((f"{budget:g}", label, spent, found.costs[at(arm, budget)], *told))
    predictor = found.arms.planner.predictor
    return Table(
        title=f"{found.world.name}: what is planned",
        heads=("budget", "method", "allowed", "mean cost", "keep", "rewind", "unrolled", "fine-tune", "retrain"),
        rows=tuple(rows),
        note=f"Sets times originals, of {len(found.sets.measured) * found.left.originals}. Calibration: "
        f"{len(predictor.measurable)} of {len(predictor.pilots)} sets held something measurable (S_o/m over "
        f"{MEASURABLE_ENERGY:g}); nothing is taken to be remembered up to a mean privacy loss of "
        f"{predictor.nothing_below:.3g}.",
    )  # fmt: skip


def _way(method: str, strength: float | None) -> str:
    words = method.replace("_", " ")
    return words if strength is None else f"{words}, {strength:.0%}"


def _series(name: str, left: Left, costs: dict[str, float], arms: Sequence[str], kind: Kind) -> Series:
    told = [left.left(arm) for arm in arms]
    ends = [one.interval() for one in told]
    return Series(
        name=name, x=tuple(costs[arm] for arm in arms), y=tuple(min(one.value, CUT) for one in told), kind=kind,
        low=tuple(min(low, CUT) for low, _ in ends), high=tuple(min(high, CUT) for _, high in ends),
    )  # fmt: skip


def _by_cost(found: Measured) -> Figure:
    budgets = list(found.arms.budgets)
    lines: tuple[tuple[str, Kind], ...] = (
        (names.PLANNER, "line"), (names.ALLOCATION, "line"), (names.BEST, "line"), (names.REWIND, "line"),
        (names.TUNING, "line"), (names.BY_CHANCE, "null line"),
    )  # fmt: skip
    drawn = [_series(arm, found.left, found.costs, [at(arm, b) for b in budgets], kind) for arm, kind in lines]
    drawn.append(_series(names.RETRAINED, found.left, found.costs, [names.RETRAINED], "null"))
    if found.matched.measurable:
        arms = [at(names.ALLOCATION, b) for b in budgets]
        drawn.append(_series(f"{names.ALLOCATION} {MATCHED}", found.matched, found.matched_costs, arms, "null"))
    return Figure(
        name=f"adaptive-{found.world.name}",
        title=f"{found.world.name}: what is left by mean cost",
        caption="The larger of |influence| and excess (1 untouched, 0 forgotten) against the mean cost of a request;"
        f" bands are 95 % intervals over originals, and what is beyond {CUT:g} is cut. Grey is what chance does: the"
        " allocation with privacy losses shuffled among the sets (dashed), retraining, and the allocation where there"
        " is little to adapt to.",
        x_label="mean cost of a request, in retrainings", y_label="left, of the influence", series=tuple(drawn),
    )  # fmt: skip


def _by_budget(found: Measured, estimates: dict[str, Estimate]) -> Figure:
    budgets = [*found.arms.budgets, None]
    pairs: tuple[tuple[str, str, str, Kind], ...] = (
        (names.PLANNER, names.BEST, "", "points"), (names.ALLOCATION, names.BEST, "", "points"),
        (names.GATED, names.BEST, "", "points"), (names.BY_CHANCE, names.BEST, "", "null"),
        (names.ALLOCATION, names.BEST, MATCHED, "null"),
    )  # fmt: skip
    drawn: list[Series] = []
    for one, other, where, kind in pairs:
        own = [estimates.get(f"{found.world.name}: {contrast(one, other, b, where)}") for b in budgets]
        shift = 0.12 * (len(drawn) - 2)
        told = [(place + shift, e.value, *e.interval()) for place, e in enumerate(own) if e is not None]
        if told:
            x, y, low, high = zip(*told, strict=True)
            label = f"{one} minus {other}" + (f", {where}" if where else "")
            drawn.append(Series(name=label, x=x, y=y, low=low, high=high, kind=kind))
    return Figure(
        name=f"adaptive-differences-{found.world.name}",
        title=f"{found.world.name}: what one way of spending a budget leaves less another",
        caption="Below 0 the first leaves less. Whiskers are 95 % intervals over originals. Grey: the allocation"
        " with privacy losses shuffled, and on label-matched random sets, which differ little in difficulty.",
        x_label="budget, in retrainings", y_label="difference in what is left", series=tuple(drawn),
        x_names=tuple(MEAN if b is None else f"{b:g}" for b in budgets),
    )  # fmt: skip


def _by_loss(found: Measured) -> Figure:
    """What each set was given at the second budget, of all originals."""
    budget = list(found.arms.budgets)[min(1, len(found.arms.budgets) - 1)]
    rows = list(found.sets.measured)

    def series(arm: str, kind: Kind) -> Series:
        loss = found.arms.scores.loss[:, rows]
        costs = [[found.ways.cost(way) for way in own[at(arm, budget)]] for own in found.plans]
        return Series(name=arm, x=tuple(loss.ravel().tolist()), y=tuple(np.ravel(costs).tolist()), kind=kind)

    return Figure(
        name=f"adaptive-plans-{found.world.name}",
        title=f"{found.world.name}: what each set is given at a mean cost of {budget:g}",
        caption="One point a set and original. Grey: the allocation with privacy losses shuffled among the sets.",
        x_label="mean privacy loss of the set, nats", y_label="planned cost, in retrainings", x_log=True,
        series=(series(names.PLANNER, "points"), series(names.ALLOCATION, "points"), series(names.BY_CHANCE, "null")),
    )  # fmt: skip
