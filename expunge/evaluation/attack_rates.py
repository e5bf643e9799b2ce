"""How often is an attack right, and how sure is that? Rates with intervals over records, and intervals over models.

Over records: TPR at a low FPR (Carlini et al. 2022), balanced accuracy at a threshold that was chosen on other
records, AUC with the interval of DeLong et al. 1988. Over models: where the scores come from many models of the same
records, the models are the sampled unit, and a delete-group jackknife over them gives the interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue
from scipy.stats import norm, rankdata, t

from expunge.errors import UsageError
from expunge.evaluation.confidence import share_interval
from expunge.evaluation.evidence import CheckResult, Control, Details, Power, RoleValue, Verdict

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Interval = tuple[float, float]
NEGATIVES_A_FALSE_POSITIVE = 10
MOST_GROUPS = 32
PERMUTATIONS = 60


@dataclass(frozen=True)
class Rate:
    """TPR at an FPR of at most ``fpr``; value and interval are None where ``note`` says why."""

    fpr: float
    value: float | None
    interval: Interval | None
    positives: int
    negatives: int
    negatives_needed: int
    note: str = ""

    def plain(self) -> dict[str, JsonValue]:
        """As it stands in the details of a check."""
        interval: JsonValue = None if self.interval is None else list(self.interval)
        return {"fpr": self.fpr, "value": self.value, "interval": interval, "note": self.note}


@dataclass(frozen=True)
class Auc:
    """AUC with its interval over records; the interval is None where ``note`` says why."""

    value: float
    interval: Interval | None
    standard_error: float
    positives: int
    negatives: int
    note: str = ""

    def plain(self) -> dict[str, JsonValue]:
        """As it stands in the details of a check."""
        interval: JsonValue = None if self.interval is None else list(self.interval)
        return {"value": self.value, "interval": interval, "note": self.note}


@dataclass(frozen=True)
class BalancedAccuracy:
    """Mean of TPR and TNR; each half of the records was judged at the threshold that was best on the other half."""

    value: float
    interval: Interval
    thresholds: tuple[float, float]


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


def negatives_needed(fpr: float) -> int:
    """Fewest negatives for a rate at this FPR: 10 of them are then false positives (METHOD section 7).

    Raises:
        UsageError: fpr is not between 0 and 1.
    """
    if not 0 < fpr < 1:
        raise UsageError(f"A false positive rate of {fpr} is not between 0 and 1.", "Give for example 0.01.")
    return math.ceil(NEGATIVES_A_FALSE_POSITIVE / fpr - 1e-9)


def tpr_at_fpr(scores: ArrayLike, labels: ArrayLike, fpr: float, confidence: float = 0.95) -> Rate:
    """Share of members that score above the threshold which at most a share ``fpr`` of the others exceeds.

    scores [n], higher for members; labels [n], 1 for members and 0 for others. No interpolation: with ties the
    realised FPR is below ``fpr``. The interval is Clopper and Pearson's, given the threshold. With fewer than 10/fpr
    negatives there is no value, and the note says how many are needed.

    Raises:
        UsageError: shapes, labels other than 0 and 1, NaN, one class missing, fpr outside (0, 1).
    """
    members, others = _two_classes(scores, labels)
    needed = negatives_needed(fpr)
    if len(others) < needed:
        note = f"no power: {len(others)} negatives, a false positive rate of {fpr:g} needs {needed}"
        return Rate(fpr, None, None, len(members), len(others), needed, note)
    caught = int((members > threshold_at_fpr(others, fpr)).sum())
    interval = share_interval(caught, len(members), confidence, "clopper-pearson")
    return Rate(fpr, caught / len(members), interval, len(members), len(others), needed)


def threshold_at_fpr(others: Array, fpr: float) -> float:
    """Smallest threshold that at most a share ``fpr`` of the negatives' scores [n] exceeds."""
    return float(np.sort(others)[len(others) - 1 - math.floor(fpr * len(others) + 1e-9)])


def delong(scores: ArrayLike, labels: ArrayLike, confidence: float = 0.95) -> Auc:
    """AUC and its standard error from the placements of DeLong, DeLong and Clarke-Pearson 1988 (by ranks: Sun and
    Xu 2014). scores [n], labels [n]; the interval is normal, cut at 0 and 1.

    It holds for records that are drawn independently; scores of several models on the same records are not.

    Raises:
        UsageError: shapes, labels other than 0 and 1, NaN, fewer than two records of a class.
    """
    members, others = _two_classes(scores, labels)
    m, n = len(members), len(others)
    if min(m, n) < 2:
        raise UsageError("An interval of an AUC needs two records of each class.", f"There are {m} and {n}.")
    ranks = rankdata(np.concatenate([members, others]))
    of_members = (ranks[:m] - rankdata(members)) / n
    of_others = 1 - (ranks[m:] - rankdata(others)) / m
    value = float(of_members.mean())
    error = math.sqrt(of_members.var(ddof=1) / m + of_others.var(ddof=1) / n)
    if error == 0:
        return Auc(value, None, 0.0, m, n, "no interval: the scores separate completely, or are all equal")
    half = float(norm.ppf(0.5 + confidence / 2)) * error
    return Auc(value, (max(0.0, value - half), min(1.0, value + half)), error, m, n)


def balanced_accuracy(
    scores: ArrayLike, labels: ArrayLike, seed: int = 0, confidence: float = 0.95
) -> BalancedAccuracy:
    """Balanced accuracy with two-fold thresholds: chosen on one half of each class, judged on the other, and back.

    scores [n], labels [n]. A threshold that is chosen and judged on the same records reads above 1/2 on noise. The
    interval adds the binomial variances of TPR and TNR.

    Raises:
        UsageError: shapes, labels other than 0 and 1, NaN, fewer than four records of a class.
    """
    members, others = _two_classes(scores, labels)
    if min(len(members), len(others)) < 4:
        raise UsageError("Two halves of each class need four records of it.", "Give more records.")
    rng = np.random.default_rng(seed)
    halves = [np.array_split(rng.permutation(part), 2) for part in (members, others)]
    thresholds = tuple(_best_threshold(halves[0][k], halves[1][k]) for k in (0, 1))
    tpr = sum(int((halves[0][1 - k] > thresholds[k]).sum()) for k in (0, 1)) / len(members)
    tnr = sum(int((halves[1][1 - k] <= thresholds[k]).sum()) for k in (0, 1)) / len(others)
    error = 0.5 * math.sqrt(tpr * (1 - tpr) / len(members) + tnr * (1 - tnr) / len(others))
    half, value = float(norm.ppf(0.5 + confidence / 2)) * error, (tpr + tnr) / 2
    return BalancedAccuracy(value, (max(0.0, value - half), min(1.0, value + half)), (thresholds[0], thresholds[1]))


def _best_threshold(members: Array, others: Array) -> float:
    candidates = np.sort(np.concatenate([members, others]))
    above = 1 - np.searchsorted(np.sort(members), candidates, side="right") / len(members)
    below = np.searchsorted(np.sort(others), candidates, side="right") / len(others)
    return float(candidates[int(np.argmax(above + below))])


def _two_classes(scores: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if s.ndim != 1 or y.shape != s.shape:
        raise UsageError(f"Scores {s.shape} and labels {y.shape} do not match.", "Give one score and label a record.")
    if not np.isin(y, (0, 1)).all():
        raise UsageError("A label is neither 0 nor 1.", "Members are 1, others 0.")
    if not np.isfinite(s).all():
        raise UsageError("There are NaN or infinite scores.", "A model that outputs NaN has diverged.")
    if y.all() or not y.any():
        raise UsageError("An attack needs members and others, one of them is missing.", "Give records of both.")
    return s[y == 1], s[y == 0]


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

    The half-width is taken to shrink with the square root of the number of models.
    """
    low, high = value - half_width, value + half_width
    if -margin <= low and high <= margin:
        return Equivalence(value, (low, high), margin, "pass", None)
    if low > margin or high < -margin:
        return Equivalence(value, (low, high), margin, "fail", None)
    gap = abs(margin - abs(value))
    shrink = half_width / gap if gap else math.inf
    needed = math.ceil(models * shrink**2) if shrink < 100 else None
    return Equivalence(value, (low, high), margin, "no power", needed)


def gaussian_shift(margin: float) -> float:
    """Shift in standard deviations at which two Gaussians have AUC 1/2 + margin: sqrt(2) Phi^-1(1/2 + margin)."""
    return math.sqrt(2) * float(norm.ppf(min(0.5 + margin, 0.9999)))


@dataclass(frozen=True)
class ShadowJudgement:
    """Verdict over shadow models with its controls; ``null`` holds mean, 5 % and 95 % of the permuted differences."""

    verdict: Verdict
    reason: str
    controls: dict[str, Control]
    null: tuple[float, float, float]
    p_value: float


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
    verdict, reason = after.verdict, ""
    if not quiet:
        needed = math.ceil(models * (max(-low, high) / margin) ** 2)
        verdict = "no power"
        reason = f"memberships without meaning read {low:+.3f} to {high:+.3f}, about {needed} shadows are needed"
    elif verdict == "no power":
        more = f"about {after.models_needed} shadows" if after.models_needed else "far more shadows"
        reason = f"the interval crosses the margin, {more} would decide"
    elif verdict == "pass" and not controls["original"].holds:
        verdict = "no power"
        reason = f"{seen}: it is not known whether the check would see what was remembered"
        if before is not None:
            reason = f"the models before unlearning are not seen to remember either ({before.value:+.3f})"
    return ShadowJudgement(verdict, reason, controls, (float(null.mean()), low, high), p_value)


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
