"""Which numbers answer "does privacy loss predict time to unlearn", and how sure are they? Jackknife over originals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.reproduction.config import EVERYWHERE
from expunge.reproduction.findings import Estimate, Findings, jackknife
from expunge.reproduction.predict_sgld.forgetting import MEASURES, Forgetting, Measure
from expunge.reproduction.predict_sgld.laws import MOST_CENSORED, why_not

Figure = Callable[[NDArray[np.int64]], float]
IN_WORDS: dict[Measure, str] = {
    "gap": "gap of means", "band": "staying in the paper's band", "entry": "entering the paper's band",
    "distance": "distance of records", "half": "half of the influence",
}  # fmt: skip
# All of the paper's statistic. Few sets hold much of the distance of records, and a share of the influence is not what
# the law speaks of (smooth_times.distance_times).
WITH_LAWS: tuple[Measure, ...] = ("gap", "band", "entry")
RIVALS = ("constant", "linear", "monotone")


def correlation_name(measure: Measure) -> str:
    """Of the estimate, behind the world and the regime."""
    return f"Spearman of loss and time, {IN_WORDS[measure]}"


def score_name(rival: str, measure: Measure) -> str:
    """Of the estimate, behind the world and the regime."""
    return f"log score, logarithmic minus {rival}, {IN_WORDS[measure]}"


def slope_name(measure: Measure) -> str:
    """Of the estimate, behind the world and the regime."""
    return f"steps per e-fold of loss, {IN_WORDS[measure]}"


def labels_name(measure: Measure) -> str:
    """Of the estimate, behind the world and the regime."""
    return f"steps of the hardest sets minus those of their label-matched, {IN_WORDS[measure]}"


def prefix(world: str, regime: str) -> str:
    """What the names of a regime's estimates begin with."""
    return f"{world}: {regime}: "


def estimated(own: Forgetting) -> Findings:
    """Every estimate of one regime, or why there is none."""
    estimates: dict[str, Estimate] = {}
    missing: dict[str, str] = {}
    begin = prefix(own.world, own.regime)

    def add(name: str, unit: str, figure: Figure, reason: str) -> None:
        if not reason:
            try:
                estimates[begin + name] = jackknife(figure, len(own.everyone), unit)
                return
            except UsageError as error:
                reason = str(error)
        missing[begin + name] = reason

    for measure in MEASURES:
        late = too_late(own, measure)
        add(correlation_name(measure), "", _correlation(own, measure), late)
        add(labels_name(measure), "steps", _labels(own, measure), late)
    for measure in WITH_LAWS:
        reason = why_not(own.observed(measure, own.everyone))
        scores = _scores(own, measure)
        for rival in RIVALS:
            add(score_name(rival, measure), "nats a set", _difference(scores, rival), reason)
        add(slope_name(measure), "steps", _slope(own, measure), reason)
    return Findings(estimates=estimates, not_estimable=missing)


def too_late(own: Forgetting, measure: Measure) -> str:
    """Why times of this measure say nothing, where too many are beyond the cap (METHOD section 6); or nothing."""
    share = float(own.censored(measure, own.of_kind("by loss"), own.everyone).mean())
    if share <= MOST_CENSORED:
        return ""
    return f"{share:.0%} of the sets were not forgotten by the cap, more than {MOST_CENSORED:.0%}"


def over_worlds(found: Sequence[Forgetting], regimes: Sequence[str], parts: Sequence[Findings]) -> Findings:
    """Means over worlds of the estimates of regimes of one name: worlds have equal weight and independent errors.

    One that is missing in a world is missing here: what is left would be the worlds where it went well.
    """
    estimates: dict[str, Estimate] = {}
    missing: dict[str, str] = {}
    for regime in regimes:
        own = [(one.world, part) for one, part in zip(found, parts, strict=True) if one.regime == regime]
        if not own:
            continue
        names = [name for part in (own[0][1],) for name in (*part.estimates, *part.not_estimable)]
        for name in (name.removeprefix(prefix(own[0][0], regime)) for name in names):
            each = [part.estimates.get(prefix(world, regime) + name) for world, part in own]
            without = [world for (world, _), one in zip(own, each, strict=True) if one is None]
            place = prefix(EVERYWHERE, regime) + name
            if without:
                missing[place] = f"there is no such number for {', '.join(without)}"
            else:
                estimates[place] = _mean([one for one in each if one is not None])
    return Findings(estimates=estimates, not_estimable=missing)


def _mean(each: list[Estimate]) -> Estimate:
    """Of independent estimates; degrees of freedom by Welch and Satterthwaite."""
    variances = np.array([one.standard_error**2 for one in each])
    total, below = float(variances.sum()), sum(v**2 / one.degrees for v, one in zip(variances, each, strict=True))
    return Estimate(
        value=float(np.mean([one.value for one in each])), standard_error=math.sqrt(total) / len(each),
        degrees=total**2 / below if below > 0 else min(one.degrees for one in each),
        seeds=min(one.seeds for one in each), unit=each[0].unit,
    )  # fmt: skip


def _correlation(own: Forgetting, measure: Measure) -> Figure:
    return lambda runs: own.correlation(measure, runs)


def _labels(own: Forgetting, measure: Measure) -> Figure:
    matched = own.of_kind("matched")
    hardest = own.of_kind("by loss")[: len(matched)]
    return lambda runs: float((own.steps(measure, hardest, runs) - own.steps(measure, matched, runs)).mean())


def _scores(own: Forgetting, measure: Measure) -> Callable[[tuple[int, ...]], dict[str, float]]:
    """Held-out scores by originals, computed once for all rivals."""
    return cache(lambda runs: dict(own.scores(measure, np.array(runs, dtype=np.int64))))


def _difference(scores: Callable[[tuple[int, ...]], dict[str, float]], rival: str) -> Figure:
    def figure(runs: NDArray[np.int64]) -> float:
        found = scores(tuple(runs.tolist()))
        return found["logarithmic"] - found[rival]

    return figure


def _slope(own: Forgetting, measure: Measure) -> Figure:
    return lambda runs: own.law(measure, runs).coefficients[1]
