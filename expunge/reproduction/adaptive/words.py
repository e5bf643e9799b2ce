"""What do the numbers say, in sentences? What was measured, the answer, what carries it, and what would change it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from expunge.reproduction.adaptive import arms as names
from expunge.reproduction.adaptive.arms import at, methods
from expunge.reproduction.adaptive.measured import Measured
from expunge.reproduction.findings import Estimate
from expunge.unlearning.pilots import MEASURABLE_ENERGY

MEAN = "mean over budgets"
MATCHED = "on label-matched random sets"
Estimates = Mapping[str, Estimate]


def contrast(arm: str, other: str, budget: float | None = None, matched: bool = False) -> str:
    """The name of a difference, without the data set: of one budget, or of their mean."""
    where = MEAN if budget is None else f"at {budget:g}"
    return f"{arm} minus {other}, {where}" + (f", {MATCHED}" if matched else "")


def interval(one: Estimate) -> str:
    """0.12 [0.10, 0.14]"""
    low, high = one.interval()
    return f"{one.value:.2f} [{low:.2f}, {high:.2f}]"


def sentences(found: Measured, estimates: Estimates, missing: Mapping[str, str]) -> tuple[str, ...]:
    """Of one data set; where the originals held too little to share out, only that."""
    first = _what_was_measured(found)
    name = found.world.name
    if (why := missing.get(f"{name}: {contrast(names.PLANNER, names.BEST)}")) is not None:
        return (first, f"{name}: nothing is compared: {why}.")
    return (
        first, _answer(found, estimates), _carried_by(found, estimates), _null(found, estimates, missing),
        _would_change(found, estimates),
    )  # fmt: skip


def _what_was_measured(found: Measured) -> str:
    own, left = found.options, found.left
    return (
        f"{found.world.name}: {left.originals} originals, each with {own.oracles} oracles of its own for every forget"
        f" set. {len(found.sets.measured)} sets of {found.sets.size} records over the whole range of privacy loss were"
        f" judged, and {len(found.sets.matched)} random ones with the labels of the hardest;"
        f" {len(found.sets.calibration)} other sets, which share no record with the first, calibrated the planner and"
        f" chose the fixed methods. {_count_measurable(found)} of the judged sets held a measurable influence (S_o/m"
        f" over {MEASURABLE_ENERGY:g}); over all of them a record's energy was {interval(left.energy)}."
    )


def _count_measurable(found: Measured) -> int:
    energies, size = found.left.found, found.sets.size
    records = energies.original.reshape(len(energies.original), -1, size)
    count = len(records)
    pairs = (records.sum(axis=0) ** 2 - (records**2).sum(axis=0)) / (count * (count - 1))
    return int((pairs.mean(axis=-1) > MEASURABLE_ENERGY).sum())


def _answer(found: Measured, estimates: Estimates) -> str:
    name, budgets = found.world.name, list(found.arms.budgets)

    def left(arm: str) -> str:
        return ", ".join(f"{estimates[f'{name}: left by {at(arm, budget)}'].value:.2f}" for budget in budgets)

    told = [
        f"{interval(estimates[f'{name}: {contrast(names.PLANNER, other)}'])} {words}"
        for other, words in (
            (names.BEST, "against the best fixed method"), (names.REWIND, "against plain rewinding"),
            (names.TUNING, "against fine-tuning"),
        )
    ]  # fmt: skip
    spent = ", ".join(f"{found.costs[at(names.PLANNER, b)]:.2f}" for b in budgets)
    allowed = ", ".join(f"{own:.2f}" for own in found.arms.budgets.values())
    return (
        f"{name}: allowed {allowed} of a retraining a request, the planner spent {spent} and left {left(names.PLANNER)}"
        f" of the influence; the fixed method that had left least on the calibration sets left {left(names.BEST)},"
        f" plain rewinding {left(names.REWIND)}, fine-tuning {left(names.TUNING)}. Averaged over the budgets the planner's"
        f" difference is {_and(told)}: {_reading(estimates[f'{name}: {contrast(names.PLANNER, names.BEST)}'])}."
    )


def _reading(one: Estimate) -> str:
    low, high = one.interval()
    if high < 0:
        return "against the best fixed method the interval lies below 0, so that adapting left less"
    if low > 0:
        return "against the best fixed method the interval lies above 0, so that adapting left more"
    return "against the best fixed method the interval holds 0, so that neither is shown to leave less"


def _carried_by(found: Measured, estimates: Estimates) -> str:
    name = found.world.name
    told = [
        f"{interval(estimates[f'{name}: {contrast(names.PLANNER, other)}'])} less {words}"
        for other, words in (
            (names.SHUFFLED, "the same planner with privacy losses shuffled among the sets"),
            (names.NORM, "the planner that goes by the average gradient norm"),
            (names.GATED, "keeping where the loss says that nothing is remembered and one fixed way for all others"),
        )
    ]  # fmt: skip
    alone = interval(estimates[f"{name}: {contrast(names.GATED, names.BEST)}"])
    return (
        f"{name}, what carries it: on average over the budgets the planner left {_and(told)} (below 0: the planner"
        f" leaves less). That threshold alone left {alone} less the best fixed method."
    )


def _null(found: Measured, estimates: Estimates, missing: Mapping[str, str]) -> str:
    name = found.world.name
    key = f"{name}: {contrast(names.PLANNER, names.BEST, matched=True)}"
    matched = (
        f"too little was remembered to compare ({missing[key]})"
        if key in missing
        else f"the planner's difference to the best fixed method was {interval(estimates[key])}"
    )
    retrained, untouched = (interval(estimates[f"{name}: left by {arm}"]) for arm in (names.RETRAINED, names.ORIGINAL))
    return (
        f"{name}, the null: models retrained without the set left {retrained}, untouched originals {untouched}. On random"
        f" sets with the labels of the hardest, whose losses differ by a factor of {_spread(found):.1f} instead of"
        f" {_spread(found, matched=False):.0f}, {matched}."
    )


def _spread(found: Measured, matched: bool = True) -> float:
    """Largest mean privacy loss of a set over the smallest."""
    rows = list(found.sets.matched if matched else found.sets.measured)
    means = found.arms.scores.loss[:, rows].mean(axis=0)
    return float(means.max() / max(means.min(), 1e-12))


def _would_change(found: Measured, estimates: Estimates) -> str:
    name, budgets = found.world.name, list(found.arms.budgets)
    one = estimates[f"{name}: {contrast(names.PLANNER, names.BEST)}"]
    plans = [way for own in found.plans for way in own[at(names.PLANNER, budgets[-1])]]
    kept = methods(plans).get("keep", 0) / len(plans)
    count = needed(one, 0.0)
    more = "no number of originals" if not math.isfinite(count) else f"about {math.ceil(count)} originals"
    seen = (one.interval()[1] - one.interval()[0]) / 2
    decided = "is seen with" if count <= one.seeds else "would be told from 0 by"
    return (
        f"{name}, what would change the answer: other requests. The planner kept the model as it is for {kept:.0%} of"
        " the sets and could spend on the others what a fixed method spends on those; where every request holds"
        f" something, that is not to be had. A difference of {abs(one.value):.2f} {decided} {more} ({one.seeds} here),"
        f" and one under {seen:.2f} is not seen with these."
    )


def needed(one: Estimate, bound: float) -> float:
    """Originals with which the interval would leave out `bound`, if the value stayed: half widths go as 1/sqrt(n)."""
    low, high = one.interval()
    distance = abs(one.value - bound)
    if distance == 0 or not math.isfinite(high - low):
        return math.inf
    return one.seeds * ((high - low) / 2 / distance) ** 2


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
