"""The share of the original's memory that is left in this one model: a check of its own, reported by default.

The distance of ``rank.py`` looks in every direction; this looks along the one from the oracles to the original, so it
sees a partly forgotten model that the distance does not, and says how much. The p-value ranks |influence| among the
oracles' own (each left out of its reference), two-sided. Excess, which sees the other directions, stands beside it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.confidence import phi as logit_confidence
from expunge.evaluation.evidence import CheckResult, RoleValue
from expunge.evaluation.influence import model_influence
from expunge.evaluation.influence_estimate import InfluenceEstimate, floored_variance
from expunge.evaluation.inputs import EvaluationInputs, PlantedSet
from expunge.evaluation.settings import MIN_ORACLES, EvaluationSettings
from expunge.evaluation.verdict import Judgement, PlantedStanding, Standing, judge, rank_p, single_model_interval

Array = NDArray[np.float64]
# The line to an original whose own displacement is noise says nothing: no model is far along it, nor near.
UNDIVIDED = Standing(0.0, 1.0)


class _Projection:
    """Position of a model on the line from the oracles' mean (0) to the original (1), weights 1/v."""

    def __init__(self, oracles: Array, original: Array, settings: EvaluationSettings) -> None:
        self.margin = settings.influence_margin
        self.count = len(oracles)
        variance, _ = floored_variance(oracles, settings.variance_floor)
        self.mean = oracles.mean(axis=0)
        direction = (original - self.mean) / variance
        self.weights = direction / float((direction * (original - self.mean)).sum())
        self.own = (oracles - self.mean) @ self.weights * self.count / (self.count - 1)

    def standing(self, model: Array) -> Standing:
        """phi [m] of one model."""
        value = float((model - self.mean) @ self.weights)
        low, high = single_model_interval(value, float(self.own.std(ddof=1)), self.count)
        within = -self.margin <= low and high <= self.margin
        return Standing(value, rank_p(abs(value), np.abs(self.own))[1], within)


def share_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """Influence and excess of the unlearned model (``model_influence``), with controls, power and a rank p-value."""
    oracles, original = inputs.forget_phi("oracles"), inputs.forget_phi("original")
    unlearned = inputs.forget_phi("unlearned")
    title = "Share of the original's influence that is left"
    if len(oracles) < MIN_ORACLES:
        words = f"no power: indicative: {len(oracles)} oracles, {MIN_ORACLES} needed"
        return CheckResult(name="influence_share", title=title, verdict="no power", words=words)
    estimates = {
        "unlearned": model_influence(unlearned, oracles, original, settings=settings),
        "original": model_influence(original, oracles, original, settings=settings),
    }
    if len(inputs.held_back):
        estimates["oracle"] = model_influence(inputs.forget_phi("held_back")[0], oracles, original, settings=settings)
    measured = estimates["original"].influence is not None
    projection = _Projection(oracles, original, settings)

    def standing(model: Array) -> Standing:
        return projection.standing(model) if measured else UNDIVIDED

    place = standing(unlearned)
    judgement = judge(
        place,
        standing(original),
        [standing(model) for model in inputs.forget_phi("held_back")],
        [standing(model) for model in inputs.forget_phi("half_kept")],
        oracles=len(oracles),
        settings=settings,
        planted=_planted(inputs.planted, settings) if inputs.planted else None,
    )
    own = estimates["unlearned"]
    if not measured and own.energy_unlearned_low > settings.influence_margin:
        judgement = Judgement("no power", False, judgement.controls, judgement.power, own.reason)
    return CheckResult(
        name="influence_share",
        title=title,
        statistic=own.influence,
        interval=_interval(own),
        p_value=place.p_value if measured else None,
        values={role: _role(estimate) for role, estimate in estimates.items()},
        controls=judgement.controls,
        power=judgement.power,
        verdict=judgement.verdict,
        little_remembered=judgement.little_remembered,
        margin=settings.influence_margin,
        words=_words(judgement, own),
        details={
            "excess": own.excess,
            "excess_interval": None if own.excess is None else [own.excess_low, own.excess_high],
            "energy": own.energy,
            "energy_interval": [own.energy_low, own.energy_high],
            "energy_unlearned": own.energy_unlearned,
            "energy_unlearned_interval": [own.energy_unlearned_low, own.energy_unlearned_high],
            "estimate_verdict": own.verdict,
            "estimate_reason": own.reason,
            "level": settings.level,
            "negligible": place.negligible,
            "reason": judgement.reason,
            "oracle_projections": projection.own.tolist(),
        },
    )


def _planted(planted: PlantedSet, settings: EvaluationSettings) -> PlantedStanding:
    """The original is 1 by definition on this scale: what shows that the line carries memory is its energy."""
    original = logit_confidence(planted.original, planted.targets)
    oracles = logit_confidence(planted.oracles, planted.targets)
    measured = model_influence(original, oracles, original, settings=settings).influence is not None
    projection = _Projection(oracles, original, settings)
    held_back = [projection.standing(model) for model in logit_confidence(planted.held_back, planted.targets)]
    standing = projection.standing(original) if measured else UNDIVIDED
    return PlantedStanding(standing, held_back, float(standing.fails(settings.level)))


def _interval(estimate: InfluenceEstimate) -> tuple[float, float] | None:
    if estimate.influence_low is None or estimate.influence_high is None:
        return None
    return estimate.influence_low, estimate.influence_high


def _role(estimate: InfluenceEstimate) -> RoleValue:
    note = "" if estimate.influence is not None else f"not divided: {estimate.reason}"
    return RoleValue(value=estimate.influence, interval=_interval(estimate), note=note)


def _words(judgement: Judgement, own: InfluenceEstimate) -> str:
    if own.influence is None:
        figures = f"original's energy {own.energy:.2f} [{own.energy_low:.2f}, {own.energy_high:.2f}]: not divided"
    else:
        bounds = f"[{own.influence_low:.0%}, {own.influence_high:.0%}]"
        figures = f"influence {own.influence:.0%} {bounds}, excess {own.excess:.0%}"
    if judgement.verdict == "no power":
        return f"no power: {judgement.reason} ({figures})"
    if judgement.verdict == "fail":
        return f"{'over-forgotten' if own.influence is not None and own.influence < 0 else 'not forgotten'}: {figures}"
    if judgement.little_remembered:
        return f"little was remembered: {figures}"
    return f"forgotten: {figures}"
