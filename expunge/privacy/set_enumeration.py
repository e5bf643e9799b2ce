"""What is a small forget set's one-step moment exactly? The sum over all patterns of who is drawn by which copy.

METHOD section 5, reordered (chosen here) so that the 2^(a m) patterns need not be visited. Let k [m] in {0..j}^m be how
many of the first j copies hold each record, and V_j(k) the sum over their patterns of probability times
exp(-1/2 SUM_i x_i' K x_i). As X = (k' K k - SUM_i x_i' K x_i)/2, V_{j+1} is the convolution of V_j with V_1, and

    A = SUM_k V_{a-1}(k) exp(k' K k / 2) PROD_l (1 - q + q exp((K k)_l)),

the last copy being summed in closed form. The cost is about (2 (a-1))^m, or 2^m where a = 2; it allows for 4 records at
order 16, 6 at order 8, 9 at order 4, 11 at order 3 and 19 at order 2.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MOST_CELLS = 20_000_000  # some seconds
_ROWS_PER_CHUNK = 1 << 16


def enumeration_cells(records: int, order: int) -> float:
    """How many terms are added up: what `enumerated_log_moment` costs. Feasible up to MOST_CELLS."""
    if records * math.log(2 * order) > 100:
        return math.inf
    convolutions = sum(float(2 * (j + 1)) ** records for j in range(1, order - 1))
    return convolutions + max(1, records) * float(order) ** records


def enumerated_log_moment(gram: Floats, q: float, order: int) -> float:
    """ln A, exactly, 0 < q < 1; 1 + tiny keeps about 1e-15 / max K of its relative precision.

    Args:
        gram: <g_l, g_m>/s^2, [m, m]. order: a, an integer of 2 or more.
    """
    records = len(gram)
    log_in, log_out = math.log(q), math.log1p(-q)
    subsets = np.array(list(itertools.product((0, 1), repeat=records)), dtype=np.int64).reshape(-1, records)
    held = subsets.sum(axis=1)
    own = -np.einsum("sl,lm,sm->s", subsets, gram, subsets) / 2
    first = (own + held * log_in + (records - held) * log_out).reshape((2,) * records)
    sums = first
    for copies in range(1, order - 1):
        longer = np.full((copies + 2,) * records, -np.inf)
        for subset in itertools.product((0, 1), repeat=records):
            part = longer[tuple(slice(x, x + copies + 1) for x in subset)]
            np.logaddexp(part, sums + first[subset], out=part)
        sums = longer
    log_binomial = np.array(
        [math.log(math.comb(order - 1, k)) + k * log_in + (order - 1 - k) * log_out for k in range(order)]
    )
    logs, excess = [], 0.0
    for start in range(0, sums.size, _ROWS_PER_CHUNK):
        flat = np.arange(start, min(start + _ROWS_PER_CHUNK, sums.size))
        k = np.stack(np.unravel_index(flat, sums.shape), axis=1) if records else np.zeros((1, 0), dtype=np.int64)
        pull = k @ gram
        chance = log_binomial[k].sum(axis=1)
        # how much a term exceeds the chance of its counts; copies that hold one record in all do not meet
        growth = sums.ravel()[flat] + (pull * k).sum(axis=1) / 2 - chance
        growth[(k.sum(axis=1) <= 1) | (order == 2)] = 0.0
        last = np.logaddexp(log_out, log_in + pull)
        growth += np.where(pull < 1, np.log1p(q * np.expm1(pull.clip(max=1))), last).sum(axis=1)
        logs.append(growth + chance)
        with np.errstate(over="ignore"):
            excess += math.fsum(np.exp(chance) * np.expm1(growth)) if growth.max() < 600 else math.inf
    if excess < 1:
        return math.log1p(excess)
    every = np.concatenate(logs)
    return float(every.max() + math.log(np.exp(every - every.max()).sum()))
