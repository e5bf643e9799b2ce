"""Is the divergence of a sampled Gaussian step right, to 1e-8, against three independent computations?"""

from __future__ import annotations

import itertools
import math
import warnings

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.errors import UsageError
from expunge.privacy import sampled_gaussian_divergence
from expunge.privacy.sampled_gaussian_excess import log_excess_by_quadrature, log_excess_by_series

RATES = (1e-6, 0.0213, 0.5, 1 - 1e-9)


def binomial_sum(order: int, rate: float, ratio: float) -> float:
    """METHOD section 2 as written, in 60 digits or as many as an excess of 1e-30 and exponents of 1e11 need."""
    with mpmath.workdps(60):
        q, r = mpmath.mpf(rate), mpmath.mpf(ratio)
        terms = [
            mpmath.binomial(order, k) * (1 - q) ** (order - k) * q**k * mpmath.exp((k * k - k) * r**2 / 2)
            for k in range(order + 1)
        ]
        return float(mpmath.log(mpmath.fsum(terms)) / (order - 1))


def integral(order: float, rate: float, ratio: float) -> float:
    """1/(a-1) ln E[(1 - q + q e^u)^a] by Gauss-Legendre panels in 40 digits, the -1 taken off under the integral."""
    with mpmath.workdps(40):
        a, q, r = mpmath.mpf(order), mpmath.mpf(rate), mpmath.mpf(ratio)

        def integrand(z: mpmath.mpf) -> mpmath.mpf:
            y = q * mpmath.expm1(r * z - r * r / 2)
            return ((1 + y) ** a - 1 - a * y) * mpmath.npdf(z)

        crossing = r / 2 + mpmath.log((1 - q) / q) / r
        points = {c + d for c in (mpmath.mpf(0), 2 * r, a * r) for d in (-13, -9, -6, -3, 0, 3, 6, 9, 13)}
        if abs(crossing) < a * r + 13:
            points |= {crossing + d / r for d in (-10, -3, 0, 3, 10)}
        return float(mpmath.log1p(mpmath.quad(integrand, sorted(points), maxdegree=5)) / (a - 1))


@pytest.mark.parametrize("order", [2, 3, 8, 64, 512])
@pytest.mark.parametrize("rate", RATES)
def test_integer_orders_are_the_binomial_sum_in_60_digits(order: int, rate: float) -> None:
    ratios = [1e-8, 1e-4, 0.1, 1.2, 10.0, 1e3] if order < 512 else [1e-8, 1.2, 1e3]
    expected = [binomial_sum(order, rate, r) for r in ratios]
    got = sampled_gaussian_divergence(order, rate, np.array(ratios))
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("order", [1.01, 2.5, 7.3])
@pytest.mark.parametrize("rate", [1e-6, 0.0213, 0.9])
@pytest.mark.parametrize("ratio", [1e-2, 0.24, 0.26, 3.0])
def test_other_orders_are_the_integral_in_40_digits(order: float, rate: float, ratio: float) -> None:
    assert sampled_gaussian_divergence(order, rate, ratio) == pytest.approx(
        integral(order, rate, ratio), rel=1e-9, abs=0
    )


@settings(deadline=None, max_examples=150)
@given(
    st.floats(1.01, 512).filter(lambda a: a % 1 > 1e-6),
    st.floats(-6, -1e-6).map(lambda x: 10**x),
    st.floats(0.1, 1.0),
)
def test_quadrature_and_series_agree_where_both_hold(order: float, rate: float, ratio: float) -> None:
    ratios = np.array([ratio])
    quadrature = log_excess_by_quadrature(order, rate, ratios)
    np.testing.assert_allclose(quadrature, log_excess_by_series(order, rate, ratios), rtol=0, atol=3e-10)


@settings(deadline=None, max_examples=100)
@given(st.floats(1.05, 100), st.floats(1e-6, 1.0), st.floats(0, 30))
def test_between_orders_the_divergence_grows_and_never_passes_the_full_batch(
    order: float, rate: float, ratio: float
) -> None:
    low, high = (sampled_gaussian_divergence(a, rate, ratio) for a in (order, order * 1.1))
    assert 0 <= low <= high * (1 + 1e-9)
    assert low <= order * ratio**2 / 2 * (1 + 1e-9)
    assert low <= sampled_gaussian_divergence(order, min(1.0, rate * 1.5), ratio) * (1 + 1e-9)


@settings(deadline=None, max_examples=100)
@given(st.floats(1.01, 100), st.floats(1e-5, 1.0), st.lists(st.floats(0, 30), min_size=2, max_size=20))
def test_a_larger_gradient_never_costs_less(order: float, rate: float, ratios: list[float]) -> None:
    got = sampled_gaussian_divergence(order, rate, np.sort(ratios))
    assert (got >= 0).all() and (got[:-1] <= got[1:] * (1 + 1e-9)).all()


@pytest.mark.parametrize("order", [3, 3.0000001, 2.9999999])
def test_orders_beside_an_integer_are_continuous(order: float) -> None:
    ratios = np.array([1e-3, 0.2, 1.0, 5.0])
    got = sampled_gaussian_divergence(order, 0.02, ratios)
    np.testing.assert_allclose(got, sampled_gaussian_divergence(3, 0.02, ratios), rtol=1e-5)


def theirs_dp_accounting(order: float, rate: float, ratio: float) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the library
        import dp_accounting
        from dp_accounting.rdp import RdpAccountant

        event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(1 / ratio))
        return float(RdpAccountant([order]).compose(event)._rdp[0])


def theirs_opacus(order: float, rate: float, ratio: float) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the library
        from opacus.accountants.analysis.rdp import compute_rdp

        return float(compute_rdp(q=rate, noise_multiplier=1 / ratio, steps=1, orders=float(order)))


@pytest.mark.parametrize("order", [2, 8, 64, 256])
@pytest.mark.parametrize("theirs", [theirs_dp_accounting, theirs_opacus])
def test_agrees_with_other_accountants_at_integer_orders(order: int, theirs) -> None:  # type: ignore[no-untyped-def]
    for rate, ratio in itertools.product((1e-5, 0.0213, 0.5, 1.0), (1e-2, 0.5, 1.0, 3.0, 30.0)):
        ours = sampled_gaussian_divergence(order, rate, ratio)
        # they take ln(A) of A = 1 + excess: right to 1e-14 or so absolute
        assert ours == pytest.approx(theirs(order, rate, ratio), rel=1e-8, abs=1e-14)


@pytest.mark.parametrize("order", [1.5, 8.6, 63.5])
def test_agrees_with_other_accountants_at_other_orders(order: float) -> None:
    for rate, ratio in itertools.product((1e-3, 0.0213, 0.3), (0.5, 1.0, 2.0)):
        ours = sampled_gaussian_divergence(order, rate, ratio)
        assert ours == pytest.approx(theirs_opacus(order, rate, ratio), rel=1e-8, abs=1e-13)
        # dp-accounting adds up the sizes of the series' alternating terms: an upper bound, up to 10 % above at 1.5
        assert theirs_dp_accounting(order, rate, ratio) >= ours * (1 - 1e-10)


def test_the_leading_order_is_exact_where_ln_of_one_plus_tiny_would_be_noise() -> None:
    for order in (1.01, 2, 2.5, 512, 511.5):
        got = sampled_gaussian_divergence(order, 1e-6, 1e-8)
        assert got == pytest.approx(order * 1e-12 * 1e-16 / 2, rel=1e-8, abs=0)
    naive = math.log(1 + 1e-28)  # control: the formula as one would type it
    assert naive == 0.0


def test_large_ratios_do_not_overflow() -> None:
    for order in (2, 2.5, 512, 511.5):
        got = sampled_gaussian_divergence(order, 1e-6, 1e3)
        assert got == pytest.approx(order * 1e6 / 2 + order / (order - 1) * math.log(1e-6), rel=1e-12)
    assert sampled_gaussian_divergence(8, 0.01, 1e100) == pytest.approx(4e200)


def test_ends_of_the_range() -> None:
    assert sampled_gaussian_divergence(3.5, 1.0, 2.0) == pytest.approx(7.0)
    for order in (2, 2.5):
        assert sampled_gaussian_divergence(order, 0.0, 2.0) == 0.0
        assert sampled_gaussian_divergence(order, 0.3, 0.0) == 0.0
        assert sampled_gaussian_divergence(order, 0.3, math.inf) == math.inf
        near_one = sampled_gaussian_divergence(order, 1 - 1e-12, 2.0)
        assert near_one == pytest.approx(sampled_gaussian_divergence(order, 1.0, 2.0), rel=1e-9)


def test_the_kind_of_number_that_goes_in_comes_out() -> None:
    assert type(sampled_gaussian_divergence(2, 0.1, 1.0)) is float
    assert type(sampled_gaussian_divergence(2, 0.1, 1)) is float
    for dtype, expected in ((np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float64)):
        out = sampled_gaussian_divergence(2, 0.1, np.ones((2, 3), dtype))
        assert isinstance(out, np.ndarray) and out.dtype == expected and out.shape == (2, 3)
    for dtype in (torch.float16, torch.float32, torch.float64):
        tensor = sampled_gaussian_divergence(2.5, 0.1, torch.ones(2, 3, dtype=dtype, requires_grad=True))
        assert tensor.dtype == dtype and tensor.shape == (2, 3) and not tensor.requires_grad
        assert tensor.device == torch.device("cpu")
        assert tensor[0, 0].item() == pytest.approx(sampled_gaussian_divergence(2.5, 0.1, 1.0), rel=1e-3)
    assert sampled_gaussian_divergence(2, 0.1, np.zeros(0)).shape == (0,)
    assert sampled_gaussian_divergence(2, 0.1, torch.zeros(0, 4)).shape == (0, 4)


def test_orders_and_rates_broadcast() -> None:
    orders, rates, ratios = (
        np.array([2.0, 2.5, 8.0]),
        np.array([0.1, 1.0, 0.0]),
        np.random.default_rng(0).random((4, 3)),
    )
    got = sampled_gaussian_divergence(orders, rates, ratios)
    for i in range(4):
        for j in range(3):
            assert got[i, j] == sampled_gaussian_divergence(orders[j], rates[j], float(ratios[i, j]))
    tensor = sampled_gaussian_divergence(orders[:, None], 0.1, torch.ones(5))
    assert tensor.shape == (3, 5) and tensor.dtype == torch.float32
    with pytest.raises(UsageError, match="broadcast"):
        sampled_gaussian_divergence(orders, 0.1, np.ones((3, 2)))


@pytest.mark.parametrize(
    ("order", "rate", "ratio", "named"),
    [
        (1.0, 0.1, 1.0, "order"),
        (0.5, 0.1, 1.0, "order"),
        (math.nan, 0.1, 1.0, "order"),
        (math.inf, 0.1, 1.0, "order"),
        ("many", 0.1, 1.0, "order"),
        (2, -0.1, 1.0, "sampling_rate"),
        (2, 1.1, 1.0, "sampling_rate"),
        (2, math.nan, 1.0, "sampling_rate"),
        (2, 0.1, -1.0, "ratio"),
        (2, 0.1, math.nan, "ratio"),
    ],
)
def test_wrong_arguments_are_named(order: float, rate: float, ratio: float, named: str) -> None:
    with pytest.raises(UsageError, match=f"^{named} must"):
        sampled_gaussian_divergence(order, rate, ratio)
    with pytest.raises(UsageError, match=f"^{named} must"):
        sampled_gaussian_divergence(order, rate, np.array([0.5, ratio]))
