"""Gaussian unlearning score: is noise that was once added to training inputs still seen in the model's gradients?

Canaries are records whose features had xi ~ N(0, eps^2 I) added before training (Pawelczyk et al. 2024, arXiv
2406.17216). After unlearning, I = -<grad_x loss(clean x), xi> / (eps ||grad_x||) for each of them. A model that never
used xi is independent of it, so its scores are exactly independent N(0, 1): no reference models are needed. A model
that remembers scores POSITIVE: it lowered the loss at x + xi, so the gradient at x points away from xi, and the minus
turns that round (METHOD section 7).

The score is about a procedure on planted canaries, not about the records of a deletion request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstest, norm, t

from expunge.errors import UsageError
from expunge.evaluation.canary_scores import ROLES
from expunge.evaluation.evidence import CheckResult, Control, Power, RoleValue, Verdict
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.verdict import TOLERANCE

Array = NDArray[np.float64]
NAME = "gus"
TITLE = "Gaussian unlearning score on planted canaries"
POWER_AIMED = 0.8


@dataclass(frozen=True)
class NormalTest:
    """Scores held against N(0, 1): mean and its 90 % interval, z = sqrt(c) mean, and both tests, two-sided.

    p_value: Bonferroni over the two, so it is valid for whichever of them sees a difference.
    """

    count: int
    mean: float
    interval: tuple[float, float]
    z: float
    mean_p: float
    shape_p: float

    @property
    def p_value(self) -> float:
        return min(1.0, 2.0 * min(self.mean_p, self.shape_p))


def normal_test(scores: Array, confidence: float = 0.90) -> NormalTest:
    """z-test of the mean and Kolmogorov-Smirnov test of scores [c] against N(0, 1), whose variance is known.

    The interval uses the scores' own deviation instead, since a model that remembers need not keep it at 1.

    Raises:
        UsageError: fewer than two scores, or scores that are not finite.
    """
    if scores.ndim != 1 or len(scores) < 2 or not np.isfinite(scores).all():
        raise UsageError(f"Scores of shape {scores.shape} cannot be tested.", "Give at least two finite scores.")
    count, mean = len(scores), float(scores.mean())
    half = float(t.ppf(0.5 + confidence / 2, count - 1)) * float(scores.std(ddof=1)) / math.sqrt(count)
    z = math.sqrt(count) * mean
    return NormalTest(
        count=count,
        mean=mean,
        interval=(mean - half, mean + half),
        z=z,
        mean_p=2.0 * float(norm.sf(abs(z))),
        shape_p=float(kstest(scores, "norm").pvalue),
    )


def power_for_mean(mean: float, count: int, level: float) -> float:
    """Chance that the z-test at level / 2 (its Bonferroni share) rejects when the true mean score is `mean`."""
    edge = float(norm.isf(level / 4))
    shift = abs(mean) * math.sqrt(count)
    return float(norm.sf(edge - shift) + norm.cdf(-edge - shift))


def canaries_needed(mean: float, level: float, power: float = POWER_AIMED) -> int | None:
    """Canaries with which a true mean score of `mean` is seen with this power; None where there is nothing to see."""
    if mean <= 0:
        return None
    return math.ceil(((float(norm.isf(level / 4)) + float(norm.ppf(power))) / mean) ** 2)


def gus_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """The unlearned model's scores against N(0, 1), two-sided: remembered noise is positive, over-forgotten negative.

    Controls: the original, trained on the canaries, must fail and on the positive side; the oracle, and fresh noise
    under every model, must pass. Half forgotten is taken as half of the original's mean score (chosen here), at the
    lower 95 % bound of that mean; a pass needs the chance of seeing it to reach ``settings.power_needed``.
    """
    canaries = inputs.canaries
    if canaries is None:
        note = "no power: no canaries were planted (noise must be added to inputs before the original is trained)"
        return CheckResult(name=NAME, title=TITLE, verdict="no power", words=note, details={"reason": "not measured"})
    tests = {role: normal_test(getattr(canaries, role)) for role in ROLES}
    fresh = {role: normal_test(canaries.fresh[role]) for role in ROLES}
    level = settings.level
    unlearned, original = tests["unlearned"], tests["original"]
    controls = {
        "original": _original_control(original, level),
        "oracle": _passing_control([tests["oracle"]], level / 4, "the oracle"),
        "fresh_noise": _passing_control(list(fresh.values()), level / 4, "fresh noise"),
    }
    half = max(0.0, original.interval[0]) / 2
    power = Power(
        pass_given_oracle=1.0 - level,
        not_pass_given_half=power_for_mean(half, unlearned.count, level),
        note="computed from the normal law of the scores, half forgotten as half of the original's lower mean score",
    )
    needed = canaries_needed(half, level)
    verdict, reason = _verdict(unlearned, controls, power, needed, settings)
    return CheckResult(
        name=NAME,
        title=TITLE,
        statistic=unlearned.mean,
        interval=unlearned.interval,
        p_value=unlearned.p_value,
        values={role: _role(tests[role], fresh[role]) for role in ROLES},
        controls=controls,
        power=power,
        verdict=verdict,
        words=_words(verdict, reason, tests, fresh["unlearned"], level),
        details={
            "canaries": {role: test.count for role, test in tests.items()},
            "without_gradient": dict(canaries.without_gradient),
            "canaries_needed": needed,
            "eps": canaries.eps,
            "z": {role: test.z for role, test in tests.items()},
            "mean_p": {role: test.mean_p for role, test in tests.items()},
            "kolmogorov_smirnov_p": {role: test.shape_p for role, test in tests.items()},
            "fresh_noise": {
                role: {"mean": test.mean, "interval": list(test.interval), "p_value": test.p_value}
                for role, test in fresh.items()
            },
            "level": level,
            "negligible": False,
            "reason": reason,
            "scope": "planted canaries: about the procedure, not about the records of this deletion",
        },
    )


def _fails(test: NormalTest, level: float) -> bool:
    return test.p_value <= level + TOLERANCE


def _original_control(test: NormalTest, level: float) -> Control:
    seen = _fails(test, level) and test.mean > 0
    note = "the noise it trained on scores positive" if seen else "its scores do not show the noise it trained on"
    return Control(
        expected="fail", verdict="fail" if seen else "pass", statistic=test.mean, p_value=test.p_value, note=note
    )


def _passing_control(tests: list[NormalTest], level: float, what: str) -> Control:
    """Four of these tests run beside each other (oracle, fresh noise under three models), each at a quarter."""
    worst = min(tests, key=lambda test: test.p_value)
    passes = sum(not _fails(test, level) for test in tests)
    return Control(
        expected="pass",
        verdict="pass" if passes == len(tests) else "fail",
        statistic=worst.mean,
        p_value=worst.p_value,
        passes=passes,
        of=len(tests),
        note=f"{what} is like N(0, 1) in {passes} of {len(tests)}, at level {level:.3g}",
    )


def _verdict(
    unlearned: NormalTest,
    controls: Mapping[str, Control],
    power: Power,
    needed: int | None,
    settings: EvaluationSettings,
) -> tuple[Verdict, str]:
    """(verdict, reason), by the order of ``verdict.judge``: controls that must pass, failing, the original, power."""
    for name in ("oracle", "fresh_noise"):
        if not controls[name].holds:
            return "no power", f"the check cannot be trusted: {controls[name].note}"
    if _fails(unlearned, settings.level):
        return "fail", "unlike a model that never saw the noise"
    if not controls["original"].holds:
        return (
            "no power",
            "the original's scores do not show the noise either: more canaries, or a larger eps, are needed",
        )
    half = power.not_pass_given_half or 0.0
    if half < settings.power_needed - TOLERANCE:
        more = f", {needed} canaries are needed" if needed is not None else ""
        return (
            "no power",
            f"half forgotten would be seen with chance {half:.0%}, {settings.power_needed:.0%} asked{more}",
        )
    return "pass", "like a model that never saw the noise"


def _role(test: NormalTest, fresh: NormalTest) -> RoleValue:
    return RoleValue(
        value=test.mean,
        interval=test.interval,
        p_value=test.p_value,
        note=f"{test.count} canaries, z {test.z:+.2f}; fresh noise {fresh.mean:+.3f}, z {fresh.z:+.2f}",
    )


def _words(verdict: Verdict, reason: str, tests: Mapping[str, NormalTest], fresh: NormalTest, level: float) -> str:
    low, high = tests["unlearned"].interval
    figures = (
        f"mean score {tests['unlearned'].mean:+.2f} [{low:+.2f}, {high:+.2f}] over {tests['unlearned'].count} canaries,"
        f" oracle {tests['oracle'].mean:+.2f}, original {tests['original'].mean:+.2f}, fresh noise {fresh.mean:+.2f}"
    )
    if verdict == "no power":
        return f"no power: {reason} ({figures})"
    if verdict == "pass":
        return f"the canaries' noise is forgotten ({figures})"
    if tests["unlearned"].mean_p > level / 2 + TOLERANCE:
        return f"the canaries' scores are not N(0, 1), though their mean may be 0 ({figures})"
    if tests["unlearned"].mean > 0:
        return f"the canaries' noise is still remembered ({figures})"
    return f"over-forgotten: the model was pushed away from the canaries' noise ({figures})"
