"""Do the bounds of a forget set's loss hold whatever its gradients, and are they close where they are said to be?"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln, logsumexp
from set_cases import clusters, identical_set_divergence, scattered

from expunge.privacy import sampled_gaussian_divergence
from expunge.privacy.set_bounds import aligned_upper_bound, lower_bound, tilted_laws, upper_bound
from expunge.privacy.set_enumeration import enumerated_log_moment
from expunge.privacy.set_surrogates import Surrogate

# pytest.approx also allows 1e-12 absolute, which is much for a loss of 1e-15
approx = partial(pytest.approx, rel=1e-9, abs=0.0)


@st.composite
def small_sets(draw: st.DrawFn) -> tuple[np.ndarray, float, int]:
    """Gram matrix, rate and order of sets that can be enumerated in an instant."""
    records, order = draw(st.sampled_from([(1, 8), (2, 3), (2, 8), (3, 2), (3, 5), (4, 3), (5, 2)]))
    dimensions = draw(st.integers(1, 4))
    cells = st.lists(st.floats(-1, 1), min_size=records * dimensions, max_size=records * dimensions)
    gradients = np.array(draw(cells)).reshape(records, dimensions) * 10 ** draw(st.floats(-2, 0.7))
    return gradients @ gradients.T, draw(st.floats(1e-4, 0.999)), order


@settings(deadline=None, max_examples=150)
@given(small_sets())
def test_the_truth_lies_between_the_bounds(case: tuple[np.ndarray, float, int]) -> None:
    gram, q, order = case
    truth = enumerated_log_moment(gram, q, order)
    room = 1e-9 * truth + 1e-14
    laws = tilted_laws(gram, q, order)
    assert lower_bound(gram, laws, q, order) <= truth + room
    assert lower_bound(gram, [], q, order) <= truth + room
    norms = np.sqrt(np.diag(gram))
    assert truth <= upper_bound(gram, q, order) + room
    assert upper_bound(gram, q, order) <= aligned_upper_bound(norms, q, order) * (1 + 1e-9) + 1e-14


@settings(deadline=None, max_examples=60)
@given(small_sets())
def test_each_law_bounds_from_below_by_itself(case: tuple[np.ndarray, float, int]) -> None:
    gram, q, order = case
    truth = enumerated_log_moment(gram, q, order)
    for law in tilted_laws(gram, q, order):
        assert law.log_moment + law.mean_gap(gram) <= truth + 1e-9 * abs(truth) + 1e-14


@pytest.mark.parametrize("ratio", [0.01, 0.3, 1.0, 1.25, 3.0])
def test_bounds_meet_for_orthogonal_gradients(ratio: float) -> None:
    gram, truth = ratio**2 * np.eye(30), 30 * 7 * sampled_gaussian_divergence(8, 0.0213, ratio)
    assert lower_bound(gram, tilted_laws(gram, 0.0213, 8), 0.0213, 8) == approx(truth, rel=1e-9)
    assert upper_bound(gram, 0.0213, 8) == approx(truth, rel=1e-9)


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.2, 1.0, 30.0, 3000.0])
def test_bounds_are_close_for_equal_gradients(ratio: float) -> None:
    # a = 8: the upper bound pays at most a/(a-1) for pairs within one copy
    gram = np.full((60, 60), ratio**2)
    low, high = lower_bound(gram, tilted_laws(gram, 0.0213, 8), 0.0213, 8), upper_bound(gram, 0.0213, 8)
    assert low * (1 - 1e-12) <= high <= low * 8 / 7 * 1.01
    if ratio < 3:
        truth = 7 * identical_set_divergence(60, ratio, 0.0213, 8)
        assert low <= truth * (1 + 1e-9) and truth <= high * (1 + 1e-9)


def test_the_lower_bound_knows_more_than_the_leading_order_and_the_largest_term() -> None:
    for gram, q in ((clusters(3, 4, 0.5), 0.05), (scattered(12, 20, 0.3, np.full(12, 0.8), seed=0), 0.05)):
        best = lower_bound(gram, tilted_laws(gram, q, 4), q, 4)
        assert best > 1.05 * lower_bound(gram, [], q, 4)


def test_a_law_along_a_direction_is_exact_where_there_is_no_other() -> None:
    for ratio in (0.3, 1.0, 3.0):
        truth = 7 * sampled_gaussian_divergence(8, 0.0213, ratio)
        for law in tilted_laws(np.array([[ratio**2]]), 0.0213, 8):
            assert law.log_moment == approx(truth, rel=1e-10)
            assert law.mean_gap(np.array([[ratio**2]])) == pytest.approx(0.0, abs=1e-10 * truth)


def test_the_largest_term_is_that_of_the_records_worth_including() -> None:
    expected = 28 * 25 + 8 * np.log(1e-3) + 8 * np.log1p(-1e-3)  # the second record's gradient is too small
    assert lower_bound(np.diag([25.0, 0.01]), [], 1e-3, 8) == approx(expected, rel=1e-12)


def test_bounds_keep_their_digits_where_the_loss_is_tiny() -> None:
    gram, q = np.full((60, 60), 1e-12), 1e-4
    leading = 28 * q**2 * gram.sum()  # 1e-15, of ln of one and that
    high = upper_bound(gram, q, 8)
    assert leading * (1 - 1e-9) <= high <= leading * 8 / 7 * 1.02
    for law in tilted_laws(gram, q, 8):
        assert law.log_moment + law.mean_gap(gram) == approx(leading, rel=1e-3)


def test_a_surrogate_s_moment_is_the_average_over_its_counts() -> None:
    # three records, two copies, all 3^3 counts written out
    rng = np.random.default_rng(0)
    energies = np.c_[np.zeros(3), rng.normal(size=(3, 2)) * 0.5]
    slopes, q = np.array([0.4, -0.9, 1.3]), 0.3
    binomial = np.array([0.49, 0.42, 0.09])
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    chances = binomial[grid].prod(axis=1)
    law = Surrogate(energies, slopes, q)
    y = law.energy(grid)
    np.testing.assert_allclose(y, energies[np.arange(3), grid].sum(1) + (grid @ slopes) ** 2 / 2)
    assert law.log_moment == approx(np.log((chances * np.exp(y)).sum()), rel=1e-12)
    tilted = chances * np.exp(y) / (chances * np.exp(y)).sum()
    np.testing.assert_allclose(law.mean_counts(), tilted @ grid, rtol=1e-12)
    drawn = law.draw_counts(200_000, np.random.default_rng(1))
    seen = np.bincount(drawn @ [9, 3, 1], minlength=27) / 200_000
    assert np.abs(seen - tilted).max() < 5 * np.sqrt(0.25 / 200_000)
    # E[X - Y] over counts, and over which of the two copies hold a record, written out for one pair of copies
    gram = np.array([[1.0, 0.2, 0.1], [0.2, 0.8, -0.3], [0.1, -0.3, 0.5]])
    expected = 0.0
    patterns = np.stack(np.meshgrid(*[np.arange(2)] * 6, indexing="ij"), axis=-1).reshape(-1, 2, 3)
    for first, second in patterns:
        k = first + second
        chance = float(tilted @ (grid == k).all(axis=1)) / 2 ** int((k == 1).sum())
        expected += chance * float(first @ gram @ second - law.energy(k[None])[0])
    assert law.mean_gap(gram) == approx(expected, rel=1e-10)


def test_a_surrogate_with_thousands_of_nodes_leaves_none_out_that_matters() -> None:
    # two far modes of equal weight: everything out, and everything in
    order, records, slope = 8, 40, 2.0
    field = -(slope**2) * order * records / 2  # energy and shared direction cancel where all copies hold all records
    energies = np.outer(np.ones(records), np.arange(order + 1)) * field
    law = Surrogate(energies, np.full(records, slope), 0.5)
    n = order * records
    k = np.arange(n + 1)
    logs = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) - n * np.log(2) + field * k + (slope * k) ** 2 / 2
    assert law.log_moment == approx(logsumexp(logs), rel=1e-12)
    assert 0.4 < law.mean_counts()[0] / order < 0.6
    # near the point where the shared direction takes over, the integrand is broad
    order, records = 1000, 10
    n = order * records
    slope = float(np.sqrt(3.9 / n))
    field = -(slope**2) * n / 2
    broad = Surrogate(np.outer(np.ones(records), np.arange(order + 1)) * field, np.full(records, slope), 0.5)
    k = np.arange(n + 1)
    logs = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) - n * np.log(2) + field * k + (slope * k) ** 2 / 2
    assert broad.log_moment == approx(logsumexp(logs), rel=1e-12)
