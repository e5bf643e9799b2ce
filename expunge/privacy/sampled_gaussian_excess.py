"""How is the excess A - 1 of the sampled Gaussian mechanism computed without losing its digits?

Three ways, each returning ln(A - 1) for ratios of shape [m], given one order a > 1 and one rate 0 < q < 1:
    integer orders          the binomial sum; its k = 0 and k = 1 terms cancel against the -1 exactly
    other orders, small r   the trapezoid rule, which converges geometrically for an analytic integrand on the line
    other orders, large r   the fractional series, its alternating tail summed with a guaranteed rate
Source: Mironov, Talwar, Zhang 2019 (arXiv 1908.10530), section 3.3; alternating tail: Cohen, Rodriguez Villegas, Zagier
2000, "Convergence acceleration of alternating series", Experimental Mathematics 9(1), algorithm 1. Working with the
excess instead of A, and the trapezoid rule, are chosen here.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import erfcx, gammaln, log_ndtr

Floats = npt.NDArray[np.float64]

_CELLS_PER_CHUNK = 1 << 20
_TAIL_TERMS = 24  # the error falls as 5.8^-terms: 5e-19 of the tail
_TAYLOR_TERMS = 30  # ratio of terms at most 1/4, see _log_convex_excess
_REACH = 13.0  # standard deviations kept on each side: the rest weighs e^-84
_NODE_SPACING = 0.25


def log_excess_integer(order: float, rate: float, ratio: Floats) -> Floats:
    """ln SUM_{k=2..a} C(a,k) (1-q)^(a-k) q^k (exp(k(k-1) r^2/2) - 1); every term is positive, so nothing cancels."""
    top = int(order)
    k = np.arange(2, top + 1, dtype=np.float64)
    log_binomial = np.array([math.log(math.comb(top, int(i))) for i in k])
    weight = log_binomial + (top - k) * math.log1p(-rate) + k * math.log(rate)
    growth = k * (k - 1) / 2
    result = np.empty_like(ratio)
    chunk = max(1, _CELLS_PER_CHUNK // len(k))
    for start in range(0, len(ratio), chunk):
        exponent = ratio[start : start + chunk, None] ** 2 * growth
        result[start : start + chunk] = _logsumexp(weight + _log_expm1(exponent))
    return result


def log_excess_by_quadrature(order: float, rate: float, ratio: Floats) -> Floats:
    """ln E[(1+y)^a - 1 - a y] by the trapezoid rule over z in [-13, a r + 13].

    The integrand is analytic in the strip |Im z| < pi/r, at least 12 wide for the ratios this is used for, so spacing
    1/4 is exact to rounding. The upper end follows the exponential tilt: e^(a u) moves the mass to z = a r.
    """
    result = np.empty_like(ratio)
    nodes = 1 + math.ceil((order * float(ratio.max()) + 2 * _REACH) / _NODE_SPACING)
    chunk = max(1, _CELLS_PER_CHUNK // nodes)
    grid = np.linspace(0.0, 1.0, nodes)
    for start in range(0, len(ratio), chunk):
        r = ratio[start : start + chunk, None]
        length = order * r + 2 * _REACH
        z = grid * length - _REACH
        u = r * z - r**2 / 2
        log_density = -(z**2) / 2 + np.log(length / (nodes - 1)) - math.log(2 * math.pi) / 2
        result[start : start + chunk] = _logsumexp(log_density + _log_convex_excess(order, rate, u))
    return result


def log_excess_by_series(order: float, rate: float, ratio: Floats) -> Floats:
    """ln(A - 1) by the two binomial series around z* where (1-q) = q e^u, one on each side of z*.

    On the left SUM_k C(a,k) (1-q)^(a-k) q^k E[e^(k u); z < z*], on the right the same with k replaced by a - k in the
    exponents. The moments are normal tail probabilities; past z* the exponents are combined by hand into
    (1-q)^a e^(-z*^2/2) erfcx(.)/2, because k^2 r^2/2 minus a squared distance would cancel to nothing for large r.
    Beyond k = floor(a)+1 the signs alternate and the terms are moments of a positive measure, which is what the
    accelerated summation needs.
    """
    result = np.empty_like(ratio)
    first_alternating = math.floor(order) + 1
    k = np.arange(first_alternating + _TAIL_TERMS, dtype=np.float64)
    # |C(a,k)|; the sign is carried by the tail weights, and is + for k <= floor(a) + 1
    log_binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(np.abs(order - k + 1))
    beyond = k > first_alternating
    # reflection: |1/Gamma(a-k+1)| = Gamma(k-a) |sin(pi (k-a))| / pi, where a-k+1 < 0
    reflected = gammaln(np.abs(k - order)) + math.log(abs(math.sin(math.pi * (order % 1.0))) / math.pi)
    log_binomial = np.where(beyond, gammaln(order + 1) - gammaln(k + 1) + reflected, log_binomial)
    weights = np.concatenate([np.ones(first_alternating), _alternating_weights(_TAIL_TERMS)])
    chunk = max(1, _CELLS_PER_CHUNK // len(k))
    for start in range(0, len(ratio), chunk):
        r = ratio[start : start + chunk, None]
        result[start : start + chunk] = _series(order, rate, r, k, log_binomial, weights)
    return result


def _series(order: float, rate: float, r: Floats, k: Floats, log_binomial: Floats, weights: Floats) -> Floats:
    """One chunk of log_excess_by_series: r [m, 1], k, log_binomial and weights [terms]; returns [m]."""
    log_q, log_rest = math.log(rate), math.log1p(-rate)
    crossing = r / 2 + (log_rest - log_q) / r
    at_crossing = order * log_rest - crossing**2 / 2

    def log_moment(power: Floats, distance: Floats, plain: Floats) -> Floats:
        """ln of q^power (1-q)^(a-power) E[e^(power u); side], distance = signed distance from the tilted mean to z*."""
        inside = plain + power * (power - 1) * r**2 / 2 + log_ndtr(distance)
        edge = at_crossing + np.log(erfcx(np.maximum(-distance, 0.0) / math.sqrt(2)) / 2)
        return np.where(distance >= 0, inside, edge)

    left = log_binomial + log_moment(k, crossing - k * r, (order - k) * log_rest + k * log_q)
    j = order - k
    right = log_binomial + log_moment(j, j * r - crossing, k * log_rest + j * log_q)
    # k = 0 and 1 on the left meet the -1 - a y of the convex form; written so that small q loses nothing
    zero = _log_convex_excess(order, rate, np.array(-np.inf)) + log_ndtr(crossing)
    one = math.log(order * rate) + _log_minus_expm1((order - 1) * log_rest) + log_ndtr(crossing - r)
    rest = 1 - order * rate
    flat = math.log(abs(rest)) if rest else -math.inf
    logs = np.concatenate(
        [
            left[:, 2:],
            right,
            zero,
            one,
            flat + log_ndtr(-crossing),
            math.log(order * rate) + log_ndtr(r - crossing),
        ],
        axis=1,
    )
    signs = np.concatenate([weights[2:], weights, [1.0, -1.0, -math.copysign(1.0, rest), -1.0]])
    peak = logs.max(axis=1, keepdims=True)
    total = (np.exp(logs - peak) * signs).sum(axis=1)
    result: Floats = peak[:, 0] + np.log(total)
    return result


def _log_convex_excess(order: float, rate: float, u: Floats) -> Floats:
    """ln[(1+y)^a - 1 - a y] at y = q (e^u - 1): a Taylor series where |y| max(1, a) <= 1/4, logs where (1+y)^a is huge.

    u = -inf is allowed (y = -q). y = 0 gives -inf.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        y = rate * np.expm1(u)
        log_one_plus = np.where(u > 0, np.logaddexp(math.log1p(-rate), math.log(rate) + u), np.log1p(y))
        small = np.abs(y) * order <= 0.25
        t = np.where(small, y, 0.0)
        bracket = np.ones_like(t)
        for i in range(_TAYLOR_TERMS, 2, -1):
            bracket = 1 + (order - i + 1) * t / i * bracket
        taylor = 2 * np.log(np.abs(t)) + math.log(order * (order - 1) / 2) + np.log(bracket)
        power = order * log_one_plus
        huge = power > 30
        direct = np.log(np.expm1(np.where(huge, 0.0, power)) - order * np.where(huge, 0.0, y))
        # (1 + a y) e^(-a ln(1+y)) for y too large to be a float: y < 1 + y = e^(log_one_plus)
        linear = np.exp(np.log1p(order * np.minimum(y, 1e300)) - power)
        large = power + np.log1p(-np.where(huge, linear, 0.0))
        result: Floats = np.where(small, taylor, np.where(huge, large, direct))
    return result


@cache
def _alternating_weights(terms: int) -> Floats:
    """Weights c_k with SUM_k (-1)^k b_k ~ SUM_k c_k b_k (signs included), for b_k the moments of a positive measure."""
    scale = (3 + math.sqrt(8)) ** terms
    scale = (scale + 1 / scale) / 2
    weights = np.empty(terms)
    b, c = -1.0, -scale
    for k in range(terms):
        c = b - c
        weights[k] = c / scale
        b *= (k + terms) * (k - terms) / ((k + 0.5) * (k + 1))
    weights.flags.writeable = False
    return weights


def _log_expm1(x: Floats) -> Floats:
    """ln(e^x - 1) for x >= 0, without overflow for large x nor loss for small x."""
    with np.errstate(divide="ignore"):
        result: Floats = np.where(x > 1, x + np.log1p(-np.exp(-x)), np.log(np.expm1(np.minimum(x, 1.0))))
    return result


def _log_minus_expm1(x: float) -> float:
    """ln(1 - e^x) for x < 0."""
    return math.log(-math.expm1(x))


def _logsumexp(logs: Floats) -> Floats:
    """ln SUM exp over the last axis; a row of -inf gives -inf."""
    peak = logs.max(axis=-1, keepdims=True)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        result: Floats = peak[..., 0] + np.log(np.exp(logs - peak).sum(axis=-1))
    return result
