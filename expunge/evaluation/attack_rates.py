"""How often is an attack right, and how sure is that? Rates with intervals over records, and intervals over models.

Over records: TPR at a low FPR (Carlini et al. 2022), balanced accuracy at a threshold that was chosen on other
records, AUC with the interval of DeLong et al. 1988. Over models: where the scores come from many models of the same
records, the models are the sampled unit, and a delete-group jackknife over them gives the interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue
from scipy.stats import norm, rankdata

from expunge.errors import UsageError
from expunge.evaluation.confidence import share_interval

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Interval = tuple[float, float]
NEGATIVES_A_FALSE_POSITIVE = 10


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
