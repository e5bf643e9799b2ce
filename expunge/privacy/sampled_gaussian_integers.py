"""How are many records and several integer orders of the sampled Gaussian computed at once, and fast?

ln A = ln(1 + SUM_{k=2..a} C(a,k) (1-q)^(a-k) q^k m_k),  m_k = exp(k(k-1) r^2/2) - 1
(Mironov, Talwar, Zhang 2019, arXiv 1908.10530, section 3.3). The m_k do not depend on the order, so all orders share
them, and they follow from exp(r^2) - 1 by products alone: expm1(x + y) = expm1(x) + expm1(y) + expm1(x) expm1(y), all
terms positive, so no digits are lost. Where that would overflow, `log_excess_integer` works in log space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from expunge.privacy.sampled_gaussian_excess import log_excess_integer

Floats = npt.NDArray[np.float64]

_CELLS_PER_CHUNK = 1 << 14  # a handful of arrays of this length stay in the cache
_LARGEST_ORDER = 64  # rounding grows with the square of k: about 1e-13 here
_LARGEST_EXPONENT = 600.0


def log_moment_integers(orders: Sequence[int], rate: float, ratio: Floats) -> Floats:
    """ln A for each order, [orders, m], to about 1e-13 relative.

    Args:
        orders: integers of 2 or more. rate: 0 < q < 1. ratio: finite and above 0, [m].
    """
    result = np.empty((len(orders), len(ratio)))
    squares = ratio * ratio
    for row, order in enumerate(orders):
        if order > _LARGEST_ORDER:
            result[row] = np.logaddexp(0.0, log_excess_integer(order, rate, ratio))
    small = [row for row, order in enumerate(orders) if order <= _LARGEST_ORDER]
    if not small:
        return result
    tables = [_weights(orders[row], rate) for row in small]
    for start in range(0, len(ratio), _CELLS_PER_CHUNK):
        part = slice(start, start + _CELLS_PER_CHUNK)
        _sums(tables, squares[part], result, small, part)
    for row in small:
        top = orders[row]
        large = squares > 2 * _LARGEST_EXPONENT / (top * (top - 1))
        if large.any():
            result[row, large] = np.logaddexp(0.0, log_excess_integer(top, rate, ratio[large]))
    return result


def _sums(tables: list[Floats], squares: Floats, result: Floats, rows: list[int], part: slice) -> None:
    """ln(1 + SUM_k w_k m_k) for one chunk; overflows are computed again by the caller."""
    with np.errstate(over="ignore", invalid="ignore"):
        first = np.expm1(squares)
        step, value = first.copy(), first.copy()  # expm1(j r^2) and m_k, j = k - 1
        work = np.empty_like(first)
        sums = [weights[0] * value for weights in tables]
        for k in range(3, 2 + max(len(weights) for weights in tables)):
            np.multiply(step, first, out=work)
            step += first
            step += work
            np.multiply(value, step, out=work)
            value += step
            value += work
            for total, weights in zip(sums, tables, strict=True):
                if k - 2 < len(weights):
                    np.multiply(value, weights[k - 2], out=work)
                    total += work
        for row, total in zip(rows, sums, strict=True):
            np.log1p(total, out=result[row, part])


@lru_cache(maxsize=4096)
def _weights(order: int, rate: float) -> Floats:
    """C(a,k) (1-q)^(a-k) q^k for k = 2..a; some may underflow to 0, and then so does what they would add."""
    log_rate, log_rest = math.log(rate), math.log1p(-rate)
    logs = [math.log(math.comb(order, k)) + (order - k) * log_rest + k * log_rate for k in range(2, order + 1)]
    weights = np.array([math.exp(x) if x > -700 else 0.0 for x in logs])
    weights.flags.writeable = False
    return weights
