"""Judging a procedure by shadow models: intervals over models, permuted memberships, the verdict with its controls.

The models are the sampled unit, not the (model, record) pairs: a delete-group jackknife over them gives every interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from expunge.evaluation.evidence import CheckResult, Control, Details, Power, RoleValue, Verdict

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Interval = tuple[float, float]
MOST_GROUPS = 32
PERMUTATIONS = 60
MOST_SHRINK = 5


@dataclass(frozen=True)
class Equivalence:
    """A difference from its ideal value 0, its 90 % interval, and the verdict of both against the margin.

    ``models_needed``: the number of models at which an interval of this value would clear the margin; None where the
    verdict is reached, or where no number would do.
    """

    value: float
    interval: Interval
    margin: float
    verdict: Verdict
    models_needed: int | None


def missing_shadows(count: int) -> str:
    """What is missing without shadows, and how to get it."""
    return f"needs shadow models of the whole procedure; `expunge evaluate --shadows {count}` trains them"


def arm_needed(models: int) -> int:
    """Fewest models on each side of a record: three stay when a jackknife group is left out."""
    return 3 + math.ceil(models / MOST_GROUPS)


def usable_columns(trained: Mask, group: Mask, fewest: int) -> Index:
    """Records of the group with at least ``fewest`` models on both sides."""
    inside = trained.sum(axis=0)
    result: Index = np.flatnonzero(group & (np.minimum(inside, len(trained) - inside) >= fewest))
    return result


def over_models(
    statistic: Callable[[Index], Array], models: int, seed: int = 0, confidence: float = 0.90
) -> tuple[Array, Array]:
    """statistic(all rows) [k] and the half-widths [k] of its intervals over models (delete-group jackknife, t).

    ``statistic`` is computed again without one group of models at a time, fits included, so that what the models share
    across records counts once. Each model is a group up to 32 models; more models are divided among 32 groups.
    """
    groups = min(models, MOST_GROUPS)
    order = np.random.default_rng(seed).permutation(models)
    kept = [np.sort(np.delete(order, np.arange(start, models, groups))) for start in range(groups)]
    values = np.array([statistic(rows) for rows in kept])
    spread = ((values - values.mean(axis=0)) ** 2).sum(axis=0)
    factor = float(t.ppf(0.5 + confidence / 2, groups - 1))
    return statistic(np.arange(models)), factor * np.sqrt(spread * (groups - 1) / groups)


def permuted_rows(trained: Mask, seed: int, count: int = PERMUTATIONS) -> Iterator[Mask]:
    """``count`` tables [M, a] in which whole models have swapped memberships: the null of "membership does not show".

    Every record's membership is permuted, and all records of a model together, so what one model shares across its
    records stays; permuted record by record the null would be too narrow.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield trained[rng.permutation(len(trained))]


def equivalence(value: float, half_width: float, margin: float, models: int) -> Equivalence:
    """pass: the whole interval within the margin; fail: wholly outside; else no power, with the models it would take.

    The half-width is taken to shrink with the square root of the number of models. A value so near the margin that more
    than 25 times as many would be needed is not decided by models: no number is named.
    """
    low, high = value - half_width, value + half_width
    if -margin <= low and high <= margin:
        return Equivalence(value, (low, high), margin, "pass", None)
    if low > margin or high < -margin:
        return Equivalence(value, (low, high), margin, "fail", None)
    gap = abs(margin - abs(value))
    shrink = half_width / gap if gap else math.inf
    needed = math.ceil(models * shrink**2) if shrink < MOST_SHRINK else None
    return Equivalence(value, (low, high), margin, "no power", needed)


def gaussian_shift(margin: float) -> float:
    """Shift in standard deviations at which two Gaussians have AUC 1/2 + margin: sqrt(2) Phi^-1(1/2 + margin)."""
    return math.sqrt(2) * float(norm.ppf(min(0.5 + margin, 0.9999)))


@dataclass(frozen=True)
class ShadowJudgement:
    """Verdict over shadow models with its controls; ``null`` holds mean, 5 % and 95 % of the permuted differences.

    models_needed: how many shadows would decide, None where that is not a matter of their number; to_do: what then.
    """

    verdict: Verdict
    reason: str
    controls: dict[str, Control]
    null: tuple[float, float, float]
    p_value: float
    models_needed: int | None = None
    to_do: str = ""


def judge_shadows(after: Equivalence, before: Equivalence | None, null: Array, models: int) -> ShadowJudgement:
    """Verdict on the difference after unlearning. It passes only if the check saw the same models before unlearning.

    Negative control ``original``: before unlearning, must fail. Positive control ``null``: permuted membership, must
    pass (its 5 to 95 % within the margin). p-value: rank of |difference| among the permuted ones, 1 + B of them.
    """
    low, high = (float(q) for q in np.quantile(null, [0.05, 0.95]))
    margin, inside = after.margin, int((np.abs(null) <= after.margin).sum())
    quiet = -margin <= low and high <= margin
    seen = "no outputs before unlearning were given" if before is None else "the same models before unlearning"
    controls = {
        "original": Control(
            expected="fail",
            verdict="no power" if before is None else before.verdict,
            statistic=None if before is None else before.value,
            note=seen,
        ),
        "null": Control(
            expected="pass",
            verdict="pass" if quiet else "fail",
            statistic=float(null.mean()),
            passes=inside,
            of=len(null),
            note=f"{inside} of {len(null)} permuted memberships are within the margin",
        ),
    }
    p_value = (1 + int((np.abs(null) >= abs(after.value) - 1e-12).sum())) / (len(null) + 1)
    verdict, reason, needed, to_do = after.verdict, "", None, ""
    if not quiet:
        needed = max(math.ceil(models * (max(-low, high) / margin) ** 2), after.models_needed or 0)
        verdict = "no power"
        reason = f"memberships without meaning read {low:+.3f} to {high:+.3f}, about {needed} shadows are needed"
    elif verdict == "no power":
        needed = after.models_needed
        reason = f"the interval crosses the margin, about {needed} shadows would decide"
        if needed is None:
            reason = "the difference lies so near the margin that more shadows would hardly decide"
            to_do = "forget more (an earlier rewind point, or retrain): what is left lies at the margin"
    elif verdict == "pass" and not controls["original"].holds:
        verdict = "no power"
        reason = f"{seen}: it is not known whether the check would see what was remembered"
        if before is not None:
            reason = f"the models before unlearning are not seen to remember either ({before.value:+.3f})"
    return ShadowJudgement(verdict, reason, controls, (float(null.mean()), low, high), p_value, needed, to_do)


def no_shadow_power(
    name: str, title: str, margin: float | None, reason: str, details: Details | None = None
) -> CheckResult:
    """A result without numbers that says what is missing."""
    return CheckResult(
        name=name,
        title=title,
        values={role: RoleValue(note=reason) for role in ("original", "unlearned")},
        power=Power(note=reason),
        verdict="no power",
        margin=margin,
        words=f"no power: {reason}",
        details=details or {},
    )
