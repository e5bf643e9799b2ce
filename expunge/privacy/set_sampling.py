"""What is a larger forget set's one-step moment, by Monte Carlo? From the sampling itself, or from tilted laws.

METHOD section 5: A = E exp(X) over patterns of who is drawn by which of the a copies. Patterns are drawn from a mixture
of laws with known densities (`set_surrogates`) and weighted, W = exp(X) P / mixture, so that W has mean A; plain Monte
Carlo is the mixture of the sampling P alone. The laws' densities and mean gaps E[X - Y] are known and serve as control
variates (Owen and Zhou 2000, "Safe and effective importance sampling", JASA 95(449)); the laws are chosen here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from expunge.privacy.set_surrogates import Counts, Floats, Surrogate

_CELLS_PER_CHUNK = 1 << 18
_SHARED_EVENLY = 0.2  # of the draws, over all laws, so that none that matters is missed


@dataclass(frozen=True, eq=False)
class Sampled:
    """ln A, its standard error, and the effective sample size (SUM W)^2 / SUM W^2 of the draws.

    heaviest: counts [m] of the pattern with the largest weight, near which more should be drawn.
    """

    log_moment: float
    standard_error: float
    effective_sample_size: float
    heaviest: Counts


def plain_law(records: int, q: float, order: int) -> Surrogate:
    """The sampling itself: Y = 0."""
    return Surrogate(np.zeros((records, order + 1)), np.zeros(records), q)


def sampled_log_moment(gram: Floats, laws: Sequence[Surrogate], draws: int, generator: np.random.Generator) -> Sampled:
    """ln A from patterns drawn from a mixture of `laws`, most of them from those with the largest lower bound.

    Args:
        gram: <g_l, g_m>/s^2, [m, m]. laws: of one q and order, the nearest first.
    """
    moments = np.array([law.log_moment for law in laws])
    gaps = np.array([law.mean_gap(gram) for law in laws])
    shares = np.exp((moments + gaps) - (moments + gaps).max())
    shares = (1 - _SHARED_EVENLY) * shares / shares.sum() + _SHARED_EVENLY / len(laws)
    per_law = np.floor(shares * draws).astype(np.int64)
    per_law[0] += draws - per_law.sum()
    shares = per_law / draws
    exponents, energies, patterns = [], [], []
    rows = max(1, _CELLS_PER_CHUNK // (len(gram) * laws[0].copies))
    for law, many in zip(laws, per_law, strict=True):
        for start in range(0, int(many), rows):
            counts = law.draw_counts(min(rows, int(many) - start), generator)
            exponents.append(_exponents(counts, gram, law.copies, generator))
            energies.append(np.stack([each.energy(counts) for each in laws], axis=1))
            patterns.append(counts.astype(np.uint8 if laws[0].copies < 256 else np.int64))
    x, y = np.concatenate(exponents), np.concatenate(energies)
    return _estimate(x, y, np.concatenate(patterns), shares, moments, gaps)


def _exponents(counts: Counts, gram: Floats, copies: int, generator: np.random.Generator) -> Floats:
    """X of patterns with these counts, [draws]; which copies hold a record is drawn uniformly."""
    draws, records = counts.shape
    pattern = np.zeros((draws, records, copies), dtype=bool)
    some = (counts > 0) & (counts < copies)
    pattern[counts == copies] = True
    many = counts[some]
    order = generator.random((len(many), copies)).argsort(axis=1).argsort(axis=1)
    pattern[some] = order < many[:, None]
    held = pattern.transpose(0, 2, 1).reshape(draws * copies, records).astype(np.float64)
    within = np.einsum("im,im->i", held @ gram, held).reshape(draws, copies).sum(axis=1)
    together = np.einsum("im,im->i", counts @ gram, counts.astype(np.float64))
    result: Floats = (together - within) / 2
    return result


def _estimate(x: Floats, y: Floats, counts: npt.NDArray[Any], shares: Floats, moments: Floats, gaps: Floats) -> Sampled:
    """x [draws]; y [draws, laws]; counts [draws, m]; the laws' shares of the draws, log moments, mean gaps, [laws]."""
    log_density = y - moments  # of each law against the sampling itself
    peak = log_density.max(axis=1, keepdims=True)
    log_mixture = peak[:, 0] + np.log((np.exp(log_density - peak) * shares).sum(axis=1))
    log_weight = x - log_mixture
    top = float(log_weight.max())
    heaviest = counts[int(log_weight.argmax())].astype(np.int64)
    weight = np.exp(log_weight - top)
    size = float(weight.sum() ** 2 / (weight**2).sum())
    ratio = np.exp(log_density - log_mixture[:, None])
    # the gap of the nearest law alone: those of the others are rare and large, and would be fitted to noise
    nearest_gap = ratio[:, 0] * (x - y[:, 0]) - gaps[0]
    controls = np.concatenate([ratio - 1, nearest_gap[:, None]], axis=1)
    centred = controls - controls.mean(axis=0)
    slopes = np.linalg.lstsq(centred, weight - weight.mean(), rcond=1e-10)[0]
    values = weight - controls @ slopes
    mean, spread = float(values.mean()), float(values.std(ddof=min(len(values) - 1, 1 + len(slopes))))
    if not mean > 0:
        return Sampled(-math.inf, math.inf, size, heaviest)
    log_moment = top + math.log(mean)
    # no draw tells of patterns that are rarer than one in all draws
    unseen = -math.expm1(-max(0.0, log_moment)) / len(values)
    return Sampled(log_moment, max(spread / math.sqrt(len(values)) / mean, unseen), size, heaviest)
