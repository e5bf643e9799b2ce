"""How is a costly order of the sampled Gaussian evaluated for millions of ratios? By piecewise Chebyshev polynomials.

ln(A - 1) of a non-integer or a large order takes microseconds per value, and a training set has millions of ratios at
one order and rate. As a function of ln r it is smooth, so it is tabulated: intervals are halved until a polynomial of
degree 24 reproduces the function at points it was not fitted to. Where none does (the function's own rounding is
coarser than the tolerance), the function is called itself. The intervals do not depend on the ratios, so a record's
value does not depend on which others are asked for beside it. Chosen here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

Floats = npt.NDArray[np.float64]
LogExcess = Callable[[float, float, Floats], Floats]
Piece = tuple[float, float, Floats | None]

WORTH_A_TABLE = 4096  # values; below, a table costs more than it saves

_DEGREE = 24
_NODES = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))
_CHECKS = np.cos(np.pi * np.arange(1, 26, 2) / 26 + 0.03)  # none of the nodes
_FIT = np.linalg.inv(chebyshev.chebvander(_NODES, _DEGREE))
_TOLERANCE = 3e-13
_WIDTH = 4.0  # of ln r: the intervals that are halved start as [4 k, 4 k + 4)
_ROOTS = range(-6, 6)  # ratios from 4e-11 to 3e10; beyond, squares soon underflow or overflow
_MOST_PIECES = 64  # of one such interval


def interpolated(log_excess: LogExcess, order: float, rate: float, ratio: Floats) -> Floats:
    """log_excess(order, rate, ratio), [m], within 1e-12 of it (relative where it is above 1, else absolute).

    Args:
        log_excess: gives ln(A - 1), which is near 2 ln r for small r. ratio: finite and above 0, [m].
    """
    x = np.log(ratio)
    by_size = np.argsort(x, kind="stable")
    ordered = x[by_size]
    result = np.empty_like(x)
    inside = np.searchsorted(ordered, [_ROOTS.start * _WIDTH, _ROOTS.stop * _WIDTH])
    for outside in (by_size[: inside[0]], by_size[inside[1] :]):
        if len(outside):
            result[outside] = log_excess(order, rate, ratio[outside])
    for root in _ROOTS:
        if np.searchsorted(ordered, root * _WIDTH) == np.searchsorted(ordered, (root + 1) * _WIDTH):
            continue
        for low, high, coefficients in _pieces(log_excess, order, rate, root):
            start, end = np.searchsorted(ordered, [low, high])
            if start == end:
                continue
            chosen = by_size[start:end]
            if coefficients is None:
                result[chosen] = log_excess(order, rate, ratio[chosen])
            else:
                at = (2 * ordered[start:end] - low - high) / (high - low)
                result[chosen] = 2 * ordered[start:end] + chebyshev.chebval(at, coefficients)
    return result


@lru_cache(maxsize=1024)
def _pieces(log_excess: LogExcess, order: float, rate: float, root: int) -> tuple[Piece, ...]:
    """Intervals covering [4 root, 4 root + 4) of ln r, each with Chebyshev coefficients of ln(A - 1) - 2 ln r."""
    waiting = [(root * _WIDTH, (root + 1) * _WIDTH)]
    done: list[Piece] = []
    while waiting:
        if len(done) + len(waiting) > _MOST_PIECES:
            done += [(low, high, None) for low, high in waiting]
            break
        low, high = np.array(waiting).T[:, :, None]
        x = (low + high) / 2 + (high - low) / 2 * np.concatenate([_NODES, _CHECKS])
        values = log_excess(order, rate, np.exp(x).ravel()).reshape(x.shape)
        at_nodes, at_checks = np.split(values - 2 * x, [len(_NODES)], axis=1)
        coefficients = at_nodes @ _FIT.T
        error = np.abs(coefficients @ chebyshev.chebvander(_CHECKS, _DEGREE).T - at_checks)
        good = (error <= _TOLERANCE * np.maximum(1.0, values[:, len(_NODES) :])).all(axis=1)
        halved = []
        for (a, b), row, fits in zip(waiting, coefficients, good, strict=True):
            if fits:
                done.append((a, b, row))
            else:
                halved += [(a, (a + b) / 2), ((a + b) / 2, b)]
        waiting = halved
    return tuple(sorted(done, key=lambda piece: piece[0]))
