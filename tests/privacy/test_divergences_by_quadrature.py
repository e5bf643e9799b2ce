"""Is the divergence right to 1e-8 everywhere it is used? Quadrature in extended precision over a broad grid."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from expunge.privacy import sampled_gaussian_divergence

Wide = np.longdouble
RATES = (1e-5, 1e-3, 0.0213, 0.1, 0.5, 0.99)
RATIOS = (1e-6, 1e-4, 1e-2, 0.1, 0.24, 0.26, 0.5, 1.0, 1.2, 2.0, 3.0, 5.0, 10.0, 30.0)


def by_quadrature(order: float, rate: float, ratio: float) -> float:
    """1/(a-1) ln E[(1+y)^a], y = q (e^u - 1): E[(1+y)^a - 1 - a y] by the trapezoid rule, in 80 bits and logarithms.

    The integrand is analytic for |Im z| < pi/r, so spacing min(.05, .5/r) leaves an error near e^-39. Where a y is
    small, (1+y)^a - 1 - a y is its binomial series from the second power on.
    """
    a, q, r = Wide(order), Wide(rate), Wide(ratio)
    spacing = min(Wide(0.05), Wide(0.5) / r)
    z = -14 + spacing * np.arange(int((a * r + 28) / spacing) + 2, dtype=Wide)
    u = r * z - r * r / 2
    with np.errstate(all="ignore"):
        y = q * np.expm1(u)
        power = a * np.where(u > 0, np.logaddexp(np.log1p(-q), np.log(q) + u), np.log1p(y))
        tiny = np.abs(a * y) < Wide(1e-3)
        series, term, coefficient = np.zeros_like(y), np.where(tiny, y, 0) ** 2, a * (a - 1) / 2
        for k in range(2, 14):
            series = series + coefficient * term
            term, coefficient = term * y, coefficient * (a - k) / (k + 1)
        plain = np.log(np.expm1(np.minimum(power, 40)) - a * np.where(power < 40, y, 0))
        huge = power + np.log1p(-np.exp(np.log1p(a * np.minimum(y, Wide("1e4000"))) - power))
        logs = np.where(tiny, np.log(series), np.where(power < 40, plain, huge))
    logs = np.where(np.isnan(logs), -np.inf, logs) - z * z / 2 - np.log(2 * np.pi) / 2 + np.log(spacing)
    peak = logs.max()
    excess = peak + np.log(np.exp(logs - peak).sum())
    return float(np.logaddexp(Wide(0), excess) / (a - 1))


@pytest.mark.skipif(np.finfo(Wide).eps > 1e-18, reason="needs 80-bit long double for an oracle finer than float64")
@pytest.mark.parametrize("order", [1.01, 1.5, 2, 3.7, 8, 64, pytest.param(256, marks=pytest.mark.slow)])
def test_the_divergence_is_the_integral_over_a_broad_grid(order: float) -> None:
    grid = list(itertools.product(RATES, RATIOS))
    expected = [by_quadrature(order, rate, ratio) for rate, ratio in grid]
    rates, ratios = np.array(grid).T
    got = sampled_gaussian_divergence(order, rates, ratios)
    np.testing.assert_allclose(got, expected, rtol=1e-11, atol=0.0)
