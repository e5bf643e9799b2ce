"""What do the numbers say, in sentences? What was measured, the answer, what carries it, and what would change it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from expunge.reproduction.adaptive import arms as names
from expunge.reproduction.adaptive.arms import at, methods
from expunge.reproduction.adaptive.measured import Measured
from expunge.reproduction.findings import Estimate
from expunge.unlearning.pilots import MEASURABLE_ENERGY

MEAN = "mean over budgets"
MATCHED, WITHOUT = "on label-matched random sets", "without the hardest set"
Estimates = Mapping[str, Estimate]
Array = NDArray[np.float64]
# Ways of spending that go by privacy loss.
ADAPTIVE = {
    names.PLANNER: "The planner",
    names.ALLOCATION: "The allocation, which also weighs how much a set holds,",
    names.GATED: "Keeping below the threshold and one way for all others",
}


def contrast(arm: str, other: str, budget: float | None = None, where: str = "") -> str:
    """The name of a difference, without the data set: at one budget, or over all; of the measured sets, or `where`."""
    cost = MEAN if budget is None else f"at {budget:g}"
    return f"{arm} minus {other}, {cost}" + (f", {where}" if where else "")


def answer(found: Measured, estimates: Estimates, missing: Mapping[str, str]) -> tuple[str, ...]:
    """What came out on one data set and what would change it; where the originals held too little, only that."""
    name = found.world.name
    if (why := missing.get(f"{name}: {contrast(names.PLANNER, names.BEST)}")) is not None:
        return (f"{name}: nothing is compared: {why}.",)
    return _compared(found, estimates), _would_change(found, estimates)


def sentences(found: Measured, estimates: Estimates, missing: Mapping[str, str]) -> tuple[str, ...]:
    """What was measured on one data set, and what it rests on."""
    first = _what_was_measured(found)
    if f"{found.world.name}: {contrast(names.PLANNER, names.BEST)}" in missing:
        return (first,)
    return first, _carried_by(found, estimates), _null(found, estimates, missing)


def _what_was_measured(found: Measured) -> str:
    own, left = found.options, found.left
    measurable = int((_energies(found) / found.sets.size > MEASURABLE_ENERGY).sum())
    return (
        f"{found.world.name}: {left.originals} originals, each with {own.oracles} oracles of its own for every forget"
        f" set. {len(found.sets.measured)} sets of {found.sets.size} records over the whole range of privacy loss were"
        f" judged, and {len(found.sets.matched)} random ones with the labels of the hardest;"
        f" {len(found.sets.calibration)} other sets, which share no record with the first, calibrated the planner and"
        f" chose the fixed methods. {measurable} of the judged sets held a measurable influence (S_o/m"
        f" over {MEASURABLE_ENERGY:g}); over all of them a record's energy was {left.energy.told('.2f')}."
    )


def _energies(found: Measured) -> Array:
    """S_o of every judged set, [sets]."""
    records = found.left.found.energies(np.arange(found.left.originals))
    energies: Array = records.reshape(-1, found.sets.size).sum(axis=1)
    return energies


def _compared(found: Measured, estimates: Estimates) -> str:
    name, budgets = found.world.name, list(found.arms.budgets)

    def left(arm: str) -> str:
        return ", ".join(f"{estimates[f'{name}: left by {at(arm, budget)}'].value:.2f}" for budget in budgets)

    def against(arm: str, other: str) -> str:
        return estimates[f"{name}: {contrast(arm, other)}"].told(".2f")

    spent = {arm: ", ".join(f"{found.costs[at(arm, b)]:.2f}" for b in budgets) for arm in ADAPTIVE}
    allowed = ", ".join(f"{own:.2f}" for own in found.arms.budgets.values())
    told = [
        f"{words} left {left(arm)} for {spent[arm]}: on average over the budgets a difference of"
        f" {against(arm, names.BEST)} to the best fixed method,"
        f" {_reading(estimates[f'{name}: {contrast(arm, names.BEST)}'])}"
        for arm, words in ADAPTIVE.items()
    ]
    return (
        f"{name}: allowed {allowed} of a retraining a request, the fixed method that had left least on the calibration"
        f" sets left {left(names.BEST)} of the influence, plain rewinding {left(names.REWIND)}, fine-tuning"
        f" {left(names.TUNING)}. {'. '.join(told)}. The planner's difference to plain rewinding was"
        f" {against(names.PLANNER, names.REWIND)}, to fine-tuning {against(names.PLANNER, names.TUNING)}."
    )


def _reading(one: Estimate) -> str:
    low, high = one.interval()
    if high < 0:
        return "an interval below 0: adapting left less"
    if low > 0:
        return "an interval above 0: adapting left more"
    return "an interval that holds 0: neither is shown to leave less"


def _carried_by(found: Measured, estimates: Estimates) -> str:
    name = found.world.name
    told = [
        estimates[f"{name}: {contrast(arm, other)}"].told(".2f") + f" {words}"
        for arm, other, words in (
            (names.PLANNER, names.SHUFFLED, "for the planner less itself with privacy losses shuffled among the sets"),
            (names.ALLOCATION, names.BY_CHANCE, "for the allocation less itself with shuffled losses"),
            (names.ALLOCATION, names.BY_NORM, "for the allocation less itself by the average gradient norm"),
            (names.ALLOCATION, names.GATED, "for the allocation less the threshold alone"),
            (names.BY_CHANCE, names.BEST, "for the allocation with shuffled losses less the best fixed method"),
        )
    ]  # fmt: skip
    return (
        f"{name}, whether privacy loss carries it, on average over the budgets (below 0: less is left): {_and(told)}."
    )


def _null(found: Measured, estimates: Estimates, missing: Mapping[str, str]) -> str:
    name = found.world.name
    keys = {arm: f"{name}: {contrast(arm, names.BEST, where=MATCHED)}" for arm in (names.PLANNER, names.ALLOCATION)}
    without = [missing[key] for key in keys.values() if key in missing]
    if without:
        matched = f"too little was remembered to compare ({without[0]})"
    else:
        told = _and([f"{estimates[key].told('.2f')} for the {arm}" for arm, key in keys.items()])
        matched = f"the difference to the best fixed method was {told}"
    retrained, untouched = (
        estimates[f"{name}: left by {arm}"].told(".2f") for arm in (names.RETRAINED, names.ORIGINAL)
    )
    return (
        f"{name}, the null: models retrained without the set left {retrained}, untouched originals {untouched}. On"
        f" random sets with the labels of the hardest, whose losses differ by a factor of {_spread(found):.1f} instead"
        f" of {_spread(found, matched=False):.0f}, {matched}."
    )


def _spread(found: Measured, matched: bool = True) -> float:
    """Largest mean privacy loss of a set over the smallest."""
    rows = list(found.sets.matched if matched else found.sets.measured)
    means = found.arms.scores.loss[:, rows].mean(axis=0)
    return float(means.max() / max(means.min(), 1e-12))


def _would_change(found: Measured, estimates: Estimates) -> str:
    name, budget = found.world.name, next(iter(found.arms.budgets))
    plans = [way for own in found.plans for way in own[at(names.ALLOCATION, budget)]]
    kept, energies = methods(plans).get("keep", 0) / len(plans), _energies(found)
    told = []
    for arm, words in ADAPTIVE.items():
        one = estimates[f"{name}: {contrast(arm, names.BEST)}"]
        count = needed(one, 0.0)
        if count > one.seeds:
            more = f"about {math.ceil(count)} originals" if math.isfinite(count) else "no number of originals"
            told.append(f"{words[0].lower()}{words[1:]} would be told from the best fixed method by {more}")
    alone = " With the values as they are, " + _and(told) + "." if told else ""
    without = estimates.get(f"{name}: {contrast(names.ALLOCATION, names.BEST, where=WITHOUT)}")
    easier = (
        "the others held too little to compare methods on"
        if without is None
        else f"on the others the allocation's difference to the best fixed method was {without.told('.2f')}"
    )
    return (
        f"{name}, what would change the answer: other requests. The hardest of the {len(energies)} sets by privacy loss"
        f" held {energies[-1] / energies.sum():.0%} of all there was to forget; {easier}. At the"
        f" smallest budget the allocation kept the model as it is for {kept:.0%} of the sets; where requests are alike,"
        " none can be given more than another." + alone
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
