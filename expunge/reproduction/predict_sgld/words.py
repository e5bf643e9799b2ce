"""What did `predict-sgld` measure and what came out, in sentences made from the numbers?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from expunge.reproduction.config import EVERYWHERE
from expunge.reproduction.findings import Estimate, Findings
from expunge.reproduction.predict_sgld.estimates import (
    IN_WORDS,
    RIVALS,
    correlation_name,
    labels_name,
    prefix,
    score_name,
    slope_name,
    too_late,
)
from expunge.reproduction.predict_sgld.forgetting import MEASURES, RUN_BY_RUN, Forgetting
from expunge.training.randomness import derived_seed

# The least rank correlation that counts as predicting; the rules in the YAML have it, too.
LEAST = 0.5


def answer(found: Sequence[Forgetting], estimates: Mapping[str, Estimate], pooled: Sequence[str]) -> tuple[str, ...]:
    """Whether time goes with privacy loss, in our measure and the paper's, and by which law."""
    return _predicts(found, estimates), *(_law(estimates, regime) for regime in pooled)


def _predicts(found: Sequence[Forgetting], estimates: Mapping[str, Estimate]) -> str:
    by_regime = {f"{own.world}, {own.regime}": own for own in found}
    told: dict[str, Estimate] = {}
    for name, own in by_regime.items():
        estimate = estimates.get(prefix(own.world, own.regime) + correlation_name("gap"))
        if estimate is not None:
            told[name] = estimate
    shown = [name for name, own in told.items() if own.interval()[0] > LEAST]
    listed = "; ".join(f"{name} {own.told('.2f')}" for name, own in told.items())
    without = [name for name in by_regime if name not in told]
    return (
        f"Rank correlation of privacy loss and time to unlearn in {len(by_regime)} pairs of a data set and a noise; by"
        f" its interval alone it exceeds {LEAST:g} in {len(shown)} (verdicts are corrected for their number):"
        f" {listed or 'none is estimable'}" + (f"; not estimable for {', '.join(without)}." if without else ".")
    )


def _law(estimates: Mapping[str, Estimate], regime: str) -> str:
    begin = prefix(EVERYWHERE, regime)
    band = [
        f"{IN_WORDS[measure]} {own.told('.2f')}" for measure in reversed(RUN_BY_RUN)
        if (own := estimates.get(begin + correlation_name(measure))) is not None
    ]  # fmt: skip
    laws = [
        f"{rival} {own.told('.2g', unit=True)}" for rival in RIVALS
        if (own := estimates.get(begin + score_name(rival, "gap"))) is not None
    ]  # fmt: skip
    return (
        f"{regime}, mean over the data sets, in the paper's own measure: {', '.join(band) or 'not estimable'}. The"
        " logarithmic law's score on sets left out, less another law's (above 0: better):"
        f" {', '.join(laws) or 'not estimable'}."
    )


def words(own: Forgetting, part: Findings, seed: int) -> str:
    """One regime's paragraph; `part` are its estimates."""
    numbers = own.of_kind("by loss")
    accuracy = np.mean([curve.oracles.right.mean() for curve in own.curves])
    text = (
        f"{own.world}, {own.regime}: {len(numbers)} sets of {len(own.sets[0].rows)} records by privacy loss,"
        f" {len(own.everyone)} originals, {own.curves[0].oracles.own.shape[1]} oracles of each run; oracles are right"
        f" on {accuracy:.0%} of held-out records."
    )
    if own.stability is not None:
        text += (
            " Losses are under an assumed noise; under one three times as weak or as strong records rank as before"
            f" (correlation at least {own.stability:.2f})."
        )
    begin = prefix(own.world, own.regime)
    text += f" Rank correlation of loss and time ({IN_WORDS['gap']}): {_said(part, begin + correlation_name('gap'))}"
    if not too_late(own, "gap"):
        chance = own.chance("gap", derived_seed(seed, f"{own.world} {own.regime}"))
        text += f" (times dealt out at random: below {chance:.2f} in 95 % of deals)"
    others = [f"{IN_WORDS[one]} {_said(part, begin + correlation_name(one))}" for one in MEASURES if one != "gap"]
    text += (
        f"; in other measures: {', '.join(others)}. The hardest sets take longer than random ones of their labels by"
        f" {_said(part, begin + labels_name('gap'))}."
    )
    slope = part.estimates.get(begin + slope_name("gap"))
    if slope is None:
        text += f" No law is estimable: {part.not_estimable[begin + slope_name('gap')].rstrip('.')}."
    else:
        against = [
            f"{part.estimates[name].told(unit=True)} above the {rival} law's"
            for rival in RIVALS
            if (name := begin + score_name(rival, "gap")) in part.estimates
        ]
        text += f" The logarithmic law adds {slope.told(unit=True)} per e-fold of loss;"
        text += f" its log score is {', '.join(against)}." if against else " its log score is not estimable."
    half = own.steps("half", numbers, own.everyone)
    holds = np.flatnonzero([own.energies[k].measurable for k in numbers])
    if len(holds) >= 2:
        hard, easy = np.array_split(half[holds], 2)
        text += (
            f" Of the {len(holds)} sets with a measurable distance of records, the harder half lost half of its"
            f" influence in {hard.mean():.0f} steps and the easier in {easy.mean():.0f}: the law is logarithmic where"
            " all decay at one rate."
        )
    return text


def _said(part: Findings, name: str) -> str:
    if name in part.estimates:
        return part.estimates[name].told(unit=True)
    return f"not estimable here ({part.not_estimable[name].rstrip('.')})"
