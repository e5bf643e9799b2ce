"""Which predictor says best how hard a group is to unlearn? Rank correlations over groups, and their differences.

Intervals are over originals (delete-one jackknife); the groups are fixed. What the answer owes to one kind of group is
shown by leaving that kind out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from expunge.reproduction.findings import Estimate
from expunge.reproduction.group.measured import ENERGY, LEFT, TARGETS, TIME, Index, Measured, estimate_or_reason
from expunge.reproduction.group.predictors import PREDICTORS
from expunge.reproduction.group.sets import Kind

Array = NDArray[np.float64]
SCOPES = ("all sets", "adversarial sets")
# Differences of rank correlations that rules may ask for: (better, than).
DIFFERENCES = (
    ("set-level", "mean"), ("set-level", "classic"), ("set-level", "mean, leading order"), ("worst subset", "mean"),
    ("aligned", "mean"),
)  # fmt: skip
# Sets that are compared, by the beginnings of their names. The first two are of equal mean loss; the last two differ in
# whether wrong labels stand at copies of one image or at as many images.
CONTRASTS = (
    ("aligned", "cancelling"), ("one class", "ordinary"), ("duplicates, wrong label", "wrong labels"),
)  # fmt: skip
# Over 30 % censored: not estimable (METHOD section 6).
MOST_CENSORED = 0.3


def spearman_name(world: str, predictor: str, target: str, scope: str = SCOPES[0]) -> str:
    """The name of an estimate."""
    return f"{world}: Spearman of {predictor}, {target}, {scope}"


def difference_name(world: str, better: str, than: str, target: str, scope: str = SCOPES[0]) -> str:
    """The name of an estimate: Spearman's coefficient of one predictor less that of another."""
    return f"{world}: {better} minus {than}, {target}, {scope}"


def partial_name(world: str, predictor: str, held: str, target: str) -> str:
    """The name of an estimate."""
    return f"{world}: partial Spearman of {predictor} given {held}, {target}"


def ratio_name(world: str, figure: str, above: str, below: str) -> str:
    """The name of an estimate: ln of a ratio between two kinds of sets (CONTRASTS)."""
    return f"{world}: ln ratio of {figure}, {above} to {below}"


def all_estimates(own: Measured) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Every estimate of a world by name; and the names that could not be estimated, with the reason."""
    found: dict[str, Estimate] = {}
    missing: dict[str, str] = {}
    for name, (figure, unit) in _figures(own).items():
        reason = _unreadable(own) if TIME in name else ""
        result = reason or estimate_or_reason(figure, own.seeds, unit)
        if isinstance(result, str):
            missing[name] = result
        else:
            found[name] = result
    return found, missing


def _unreadable(own: Measured) -> str:
    share = float(own.times(np.arange(own.seeds)).censored.mean())
    return "" if share <= MOST_CENSORED else f"{share:.0%} of the sets were not unlearned by the cap"


def _figures(own: Measured) -> dict[str, tuple[Callable[[Index], float], str]]:
    world = own.name
    figures: dict[str, tuple[Callable[[Index], float], str]] = {}
    for target in TARGETS:
        for scope in SCOPES:
            mask = own.scope(scope)
            for predictor in PREDICTORS:
                name = spearman_name(world, predictor, target, scope)
                figures[name] = (_correlation(own, predictor, target, mask), "")
            for better, than in DIFFERENCES:
                one, other = _correlation(own, better, target, mask), _correlation(own, than, target, mask)
                figures[difference_name(world, better, than, target, scope)] = (_minus(one, other), "")
        for predictor, held in (("set-level", "mean"), ("mean", "set-level")):
            figures[partial_name(world, predictor, held, target)] = (_partial(own, predictor, held, target), "")
    for kind in kinds(own):
        mask = own.scope(f"without {kind}")
        one, other = (_correlation(own, predictor, ENERGY, mask) for predictor in ("set-level", "mean"))
        name = difference_name(world, "set-level", "mean", ENERGY, f"without {kind}")
        figures[name] = (_minus(one, other), "")
    for above, below in CONTRASTS:
        for words, values in _by_set(own).items():
            figures[ratio_name(world, words, above, below)] = (_ratio(own, values, above, below), "")
    return figures


def kinds(own: Measured) -> tuple[Kind, ...]:
    """The kinds of sets that there are."""
    return tuple(dict.fromkeys(each.kind for each in own.sets))


def _by_set(own: Measured) -> dict[str, Callable[[Index], Array]]:
    """What is compared between kinds of sets."""
    return {
        "set-level loss": lambda runs: own.predicted("set-level", runs),
        "mean loss": lambda runs: own.predicted("mean", runs),
        ENERGY: lambda runs: own.difficulty(ENERGY, runs),
        LEFT: lambda runs: own.difficulty(LEFT, runs),
    }


def _correlation(own: Measured, predictor: str, target: str, mask: NDArray[np.bool_]) -> Callable[[Index], float]:
    return lambda runs: own.correlation(predictor, target, mask, runs)


def _minus(one: Callable[[Index], float], other: Callable[[Index], float]) -> Callable[[Index], float]:
    return lambda runs: one(runs) - other(runs)


def _partial(own: Measured, predictor: str, held: str, target: str) -> Callable[[Index], float]:
    return lambda runs: own.partial(predictor, held, target, runs)


def _ratio(own: Measured, values: Callable[[Index], Array], above: str, below: str) -> Callable[[Index], float]:
    return lambda runs: own.log_ratio(values, above, below, runs)
