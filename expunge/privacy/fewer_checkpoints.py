"""How much of the ranking is lost when fewer checkpoints are scored? Measured on records scored at all of them.

METHOD section 3 fixes 35 checkpoints; scoring 9 of them costs a quarter and can lose what matters: in one pilot up to
half of the hardest 5 %. So the loss is measured, usually on a random sample of the records, and said. Chosen here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from expunge.errors import UsageError
from expunge.privacy.composition import as_array, compose
from expunge.privacy.rank_correlation import spearman
from expunge.training.schedule import Spacing, spaced

Floats = npt.NDArray[np.float64]

_FEWEST_RECORDS = 100  # five in the hardest 5 %
_FEWEST_IN_TOP = 10  # of the hardest 1 %
_RESAMPLES = 200
_COVERAGE = 0.95


@dataclass(frozen=True)
class TopLoss:
    """How many of the hardest `share` by all checkpoints are not among the hardest by fewer.

    share: 0.05 or 0.01. records: how many that share is. lost: how many of them, as a share. low, high: 95 % interval
    (Clopper-Pearson, the sample's records as independent draws).
    """

    share: float
    records: int
    lost: float
    low: float
    high: float


@dataclass(frozen=True)
class RankLoss:
    """What scoring `kept` of `available` checkpoints does to the ranking of records.

    spearman: rank correlation of the totals by fewer and by all checkpoints; low, high: 95 % bootstrap interval over
    the records. tops: what is lost of the hardest 5 %, and of the hardest 1 % where that is 10 records or more.
    """

    kept: int
    available: int
    records: int
    spearman: float
    low: float
    high: float
    tops: tuple[TopLoss, ...]

    @property
    def words(self) -> str:
        """One line for a reader of scores."""
        lost = "; ".join(
            f"of the hardest {top.share:.0%} it misses {top.lost:.0%} ({top.low:.0%} to {top.high:.0%})"
            for top in self.tops
        )
        return (
            f"Scoring {self.kept} of {self.available} checkpoints ranks records with Spearman {self.spearman:.3f} "
            f"({self.low:.3f} to {self.high:.3f}) to scoring all; {lost}. Measured on {self.records:,} records, 95 % "
            "intervals."
        )


def fewer_columns(available: int, count: int, spacing: Spacing = "even") -> tuple[int, ...]:
    """Which `count` of `available` checkpoints to score: columns, increasing, the first and last among them.

    "even" and "log" are in the index of the checkpoint, so "log" looks most closely at early training.

    Raises:
        UsageError: fewer than two columns, more than there are; an unknown spacing.
    """
    if not 2 <= count <= available:
        raise UsageError(
            f"{count} of {available} checkpoints cannot be chosen.",
            f"Choose from 2 to {available}, both ends included.",
        )
    return tuple(spaced(available, count, spacing))


def rank_loss(
    norms: Any,
    columns: Sequence[int],
    s: float | npt.ArrayLike,
    q: float | npt.ArrayLike,
    steps: Sequence[int] | npt.ArrayLike,
    total_steps: int,
    order: float,
    *,
    seed: int = 0,
) -> RankLoss:
    """Compares the privacy losses by the chosen checkpoints with those by all of them.

    Args:
        norms: gradient norms of some records at ALL checkpoints, [n, c], array or tensor; a random sample of at least
            100 records, 1,000 for the hardest 1 %.
        columns: the checkpoints that would be scored, as columns of `norms`, increasing (`fewer_columns`).
        s, q, steps, total_steps, order: those of `compose`, for all checkpoints.
        seed: of the numpy Generator of the bootstrap.

    Raises:
        UsageError: as `compose`; columns that are not increasing columns of the norms; fewer than 100 records.
    """
    table, at = as_array(norms), np.asarray(steps)
    whole = compose(table, s, q, at, total_steps, order).total
    chosen = np.asarray(columns)
    if (
        chosen.ndim != 1
        or len(chosen) == 0
        or np.any(np.diff(chosen) <= 0)
        or chosen[0] < 0
        or chosen[-1] >= table.shape[1]
    ):
        raise UsageError(f"columns must increase within 0 to {table.shape[1] - 1}; got {list(columns)}.")
    if len(table) < _FEWEST_RECORDS:
        raise UsageError(
            f"{len(table)} records are too few to say what is lost of the hardest 5 %.",
            f"Score at least {_FEWEST_RECORDS} records at all checkpoints; 1,000 say more.",
        )
    noise, rates = (np.broadcast_to(np.asarray(x, dtype=np.float64), at.shape) for x in (s, q))
    part = compose(table[:, chosen], noise[chosen], rates[chosen], at[chosen], total_steps, order).total
    correlation = spearman(whole, part)
    low = high = math.nan
    if not math.isnan(correlation):
        rows = np.random.default_rng(seed).integers(len(whole), size=(_RESAMPLES, len(whole)))
        resampled = [spearman(whole[some], part[some]) for some in rows]
        low, high = np.nanquantile(resampled, [(1 - _COVERAGE) / 2, (1 + _COVERAGE) / 2])
    tops = [_top_loss(whole, part, 0.05, len(whole) // 20)]
    if len(whole) // 100 >= _FEWEST_IN_TOP:
        tops.append(_top_loss(whole, part, 0.01, len(whole) // 100))
    return RankLoss(
        kept=len(chosen),
        available=table.shape[1],
        records=len(whole),
        spearman=correlation,
        low=float(low),
        high=float(high),
        tops=tuple(tops),
    )


def _top_loss(whole: Floats, part: Floats, share: float, many: int) -> TopLoss:
    hardest = np.argsort(-whole, kind="stable")[:many]
    missed = many - len(np.intersect1d(hardest, np.argsort(-part, kind="stable")[:many]))
    tail = (1 - _COVERAGE) / 2
    low = 0.0 if missed == 0 else float(beta.ppf(tail, missed, many - missed + 1))
    high = 1.0 if missed == many else float(beta.ppf(1 - tail, missed + 1, many - missed))
    return TopLoss(share, many, missed / many, low, high)
