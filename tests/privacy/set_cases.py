"""The reference for set-level loss, by brute force, and forget sets to try it on."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.special import logsumexp
from scipy.stats import binom


def enumerated_set_divergence(gradients: np.ndarray, s: float, q: float, order: int) -> float:
    """METHOD section 5 by enumerating all `order`-tuples of subsets: the reference, for tiny sets only."""
    n = len(gradients)
    subsets = list(itertools.product((0, 1), repeat=n))
    sums = np.array(subsets) @ gradients
    chances = np.array([q ** sum(x) * (1 - q) ** (n - sum(x)) for x in subsets])
    inner = sums @ sums.T / s**2
    excess = 0.0  # probabilities sum to one, so expm1 gives the moment less one without losing it
    for chosen in itertools.product(range(len(subsets)), repeat=order):
        exponent = sum(inner[i, j] for i, j in itertools.combinations(chosen, 2))
        excess += float(np.prod(chances[list(chosen)])) * math.expm1(exponent)
    return math.log1p(excess) / (order - 1)


def one_direction_divergence(sums: np.ndarray, chances: np.ndarray, order: float) -> float:
    """D_a of a mixture of Gaussians N(sums, 1) with these chances against N(0, 1), by quadrature; any order."""
    z = np.arange(order * min(sums.min(), 0) - 12, order * max(sums.max(), 0) + 12, 0.4)
    ratio = logsumexp(np.outer(z, sums) - sums**2 / 2, b=chances, axis=1)
    log_density = -(z**2) / 2 + math.log(0.4 / math.sqrt(2 * math.pi))
    return float(logsumexp(order * ratio + log_density) / (order - 1))


def identical_set_divergence(records: int, ratio: float, q: float, order: float) -> float:
    """D_a of a set of equal gradients of norm ratio * s: a binomial number of them is drawn."""
    held = np.arange(records + 1)
    chances = binom.pmf(held, records, q)
    return one_direction_divergence(held[chances > 0] * ratio, chances[chances > 0], order)


def clusters(count: int, size: int, ratio: float) -> np.ndarray:
    """Gram matrix of `count` orthogonal groups of `size` equal gradients."""
    return np.kron(np.eye(count), np.full((size, size), ratio**2))


def scattered(records: int, dimensions: int, shared: float, ratios: np.ndarray, seed: int) -> np.ndarray:
    """Gram matrix of gradients in random directions around a common one, of the given norms over s."""
    rng = np.random.default_rng(seed)
    gradients = rng.normal(size=(records, dimensions)) + shared * rng.normal(size=dimensions)
    gradients *= (ratios / np.linalg.norm(gradients, axis=1))[:, None]
    return gradients @ gradients.T
