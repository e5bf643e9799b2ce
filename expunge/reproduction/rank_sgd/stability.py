"""Does a score rank the records alike under another assumed noise, by another model, from fewer checkpoints?

Each figure is one number per original (or, between originals, a mean over pairs): Spearman over all records, and the
share of the hardest that stays among the hardest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from expunge.privacy.composition import compose
from expunge.privacy.fewer_checkpoints import fewer_columns
from expunge.privacy.implicit import assumed_noise_scale
from expunge.privacy.rank_correlation import spearman
from expunge.reproduction.findings import Estimate, jackknife, over_seeds
from expunge.reproduction.originals import Original
from expunge.reproduction.rank_sgd.sets import hardest, overlap
from expunge.training.schedule import Spacing

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Stability:
    """Two rankings of the same records: Spearman over all, and the share of the hardest that they have in common."""

    spearman: Estimate
    top: Estimate


def loss_at(original: Original, r0: float, columns: Sequence[int] | None = None) -> Array:
    """Privacy loss [n] at a median ||g||/s of `r0`, from some of the checkpoints (default: all).

    The noise is assumed anew from the norms of those checkpoints: who scores fewer has no others.
    """
    chosen = list(range(len(original.norms.steps))) if columns is None else list(columns)
    norms = original.norms.norms[:, chosen]
    steps = [original.norms.steps[column] for column in chosen]
    q = [original.trajectory.checkpoints[column].q for column in chosen]
    scale = assumed_noise_scale(norms, r0)
    return compose(norms, scale, q, steps, original.trajectory.total_steps, original.losses.order).total


def over_noise(originals: Sequence[Original], r0s: Sequence[float], size: int) -> dict[tuple[float, float], Stability]:
    """For every two assumed noises."""
    losses = {r0: [loss_at(original, r0) for original in originals] for r0 in r0s}
    return {(a, b): _agreement(losses[a], losses[b], size) for a, b in combinations(r0s, 2)}


def over_checkpoints(
    originals: Sequence[Original], counts: Sequence[int], r0: float, size: int
) -> dict[tuple[Spacing, int], Stability]:
    """Fewer checkpoints, evenly and logarithmically spaced among those recorded, against all of them."""
    whole = [loss_at(original, r0) for original in originals]
    spacings: tuple[Spacing, ...] = ("even", "log")
    found = {}
    for spacing in spacings:
        for count in counts:
            columns = [fewer_columns(len(own.norms.steps), count, spacing) for own in originals]
            fewer = [loss_at(own, r0, chosen) for own, chosen in zip(originals, columns, strict=True)]
            found[spacing, count] = _agreement(whole, fewer, size)
    return found


def between_models(values: Array, size: int) -> Stability:
    """Between the originals: scores [originals, n]; the mean over pairs, with the jackknife over originals."""
    count = len(values)
    correlation, shared = np.ones((count, count)), np.ones((count, count))
    tops = [hardest(own, size) for own in values]
    for a, b in combinations(range(count), 2):
        correlation[a, b] = correlation[b, a] = spearman(values[a], values[b])
        shared[a, b] = shared[b, a] = overlap(tops[a], tops[b])
    return Stability(_over_pairs(correlation), _over_pairs(shared))


def _over_pairs(table: Array) -> Estimate:
    def mean(some: NDArray[np.int64]) -> float:
        own = table[np.ix_(some, some)]
        return float(own[np.triu_indices(len(some), 1)].mean())

    return jackknife(mean, len(table))


def _agreement(left: Sequence[Array], right: Sequence[Array], size: int) -> Stability:
    pairs = list(zip(left, right, strict=True))
    return Stability(
        over_seeds([spearman(a, b) for a, b in pairs]),
        over_seeds([overlap(hardest(a, size), hardest(b, size)) for a, b in pairs]),
    )
