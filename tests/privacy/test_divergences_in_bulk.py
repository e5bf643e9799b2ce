"""Are millions of divergences, computed the fast ways, those that are computed one by one?"""

from __future__ import annotations

import math

import numpy as np
import pytest

from expunge.privacy import sampled_gaussian_divergence
from expunge.privacy.sampled_gaussian_integers import log_moment_integers
from expunge.privacy.sampled_gaussian_interpolation import WORTH_A_TABLE, interpolated


@pytest.mark.parametrize("order", [2, 8, 16, 17, 64, 300, 1.1, 2.5, 63.5])
@pytest.mark.parametrize("rate", [1e-6, 0.0213, 0.9])
def test_many_at_once_are_each_by_itself(order: float, rate: float) -> None:
    rng = np.random.default_rng(0)
    ratios = np.r_[0.0, math.inf, 1e-250, 1e-8, 0.25, 1e3, 1e150, rng.lognormal(-1, 2, 2 * WORTH_A_TABLE)]
    some = np.r_[0:200, -50:0]
    with np.errstate(over="ignore"):
        alone = [sampled_gaussian_divergence(order, rate, float(r)) for r in ratios[some]]
        got = sampled_gaussian_divergence(order, rate, ratios)
    np.testing.assert_allclose(got[some], alone, rtol=2e-12, atol=0)
    # whatever else is in the array, a record's value is the same to the last bit
    np.testing.assert_array_equal(sampled_gaussian_divergence(order, rate, ratios[::-1])[::-1], got)


def test_orders_that_share_their_powers_are_each_order_by_itself() -> None:
    ratios = np.random.default_rng(1).lognormal(0, 1.5, 500)
    together = log_moment_integers([2, 3, 8, 16, 64, 65], 0.01, ratios)
    for row, order in zip(together, [2, 3, 8, 16, 64, 65], strict=True):
        expected = (order - 1) * sampled_gaussian_divergence(order, 0.01, ratios)
        np.testing.assert_allclose(row, expected, rtol=1e-12)


def test_what_no_polynomial_fits_is_computed_itself() -> None:
    def rough(order: float, rate: float, ratio: np.ndarray) -> np.ndarray:
        return 2 * np.log(ratio) + np.sin(1e6 * ratio)

    def smooth(order: float, rate: float, ratio: np.ndarray) -> np.ndarray:
        return 2 * np.log(ratio) + np.sin(3 * ratio)

    ratios = np.random.default_rng(2).uniform(0.01, 5, 5000)
    np.testing.assert_array_equal(interpolated(rough, 2.5, 0.1, ratios), rough(2.5, 0.1, ratios))
    got = interpolated(smooth, 2.5, 0.1, ratios)
    np.testing.assert_allclose(got, smooth(2.5, 0.1, ratios), rtol=0, atol=1e-12)
    assert (got != smooth(2.5, 0.1, ratios)).any()  # control: it was interpolated
