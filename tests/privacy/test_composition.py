"""Do step losses add up as METHOD section 3 says, and are the discounted and implicit forms right?"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from expunge.errors import UsageError
from expunge.privacy import (
    assumed_noise_scale,
    checkpoint_widths,
    compose,
    compose_orders,
    compose_runs,
    composition_orders,
    discounted_loss,
    rank_stability,
    sampled_gaussian_divergence,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 400).flatmap(lambda t: st.tuples(st.just(t), st.sets(st.integers(0, t - 1), min_size=1))))
def test_widths_are_positive_and_sum_to_the_run(case: tuple[int, set[int]]) -> None:
    total_steps, steps = case
    widths = checkpoint_widths(sorted(steps), total_steps)
    assert widths.dtype == np.float64 and widths.shape == (len(steps),)
    assert (widths > 0).all()
    assert widths.sum() == pytest.approx(total_steps, rel=1e-12)


def test_widths_are_the_trapezoid_rule_scaled() -> None:
    steps, total = [0, 3, 4, 10], 11
    np.testing.assert_allclose(checkpoint_widths(steps, total), np.array([1.5, 2.0, 3.5, 3.0]) * 11 / 10)
    values = np.array([1.0, 4.0, 2.0, 7.0])
    assert (checkpoint_widths(steps, total) * values).sum() == pytest.approx(np.trapezoid(values, steps) * 11 / 10)
    assert checkpoint_widths([4], 11).tolist() == [11.0]
    assert checkpoint_widths([0], 1).tolist() == [1.0]
    assert checkpoint_widths(range(5), 5).tolist() == [1.0] * 5  # every step stored: the plain sum


@pytest.mark.parametrize("steps", [[], [0, 0], [3, 1], [-1, 2], [0, 11], [0.5, 2], [[0, 1]]])
def test_steps_outside_the_run_or_order_are_refused(steps: list[float]) -> None:
    with pytest.raises(UsageError, match="steps"):
        checkpoint_widths(steps, 11)


def test_orders_grow_from_the_last_step_to_the_first() -> None:
    orders = composition_orders(8.0, 100)
    p = 300
    np.testing.assert_allclose(orders, [1 + 7 * (p / (p - 1)) ** i for i in range(100)], rtol=1e-13)
    assert orders[0] == 8.0
    assert 1.38 * 7 < orders[-1] - 1 < 1.4 * 7


def test_the_weights_and_orders_cancel_as_claimed(rng: np.random.Generator) -> None:
    # METHOD section 3 with one run, written out: (p-1)^i/p^(i+1) ln exp(p (a_i - 1) D_i) / (a-1) = D_i
    order, steps = 4.0, 6
    p = 3 * steps
    norms, orders = rng.random((1, steps)) * 2, composition_orders(order, steps)
    written_out = 0.0
    for i in range(steps):
        loss = sampled_gaussian_divergence(orders[i], 0.1, norms[0, steps - 1 - i] / 1.5)
        written_out += (p - 1) ** i / p ** (i + 1) * (p * (orders[i] - 1) * loss) / (order - 1)
    got = compose(norms, 1.5, 0.1, range(steps), steps, order, weighted=True, round_up=False)
    assert got.total[0] == pytest.approx(written_out, rel=1e-10)
    # controls: the orders in the wrong direction, and unweighted orders, are something else
    norms[0] = np.linspace(0.1, 3, steps)
    right = compose(norms, 1.5, 0.1, range(steps), steps, order, weighted=True, round_up=False).total[0]
    wrong = sum(sampled_gaussian_divergence(orders[t], 0.1, norms[0, t] / 1.5) for t in range(steps))
    assert abs(wrong - right) > 1e-3 * right
    assert compose(norms, 1.5, 0.1, range(steps), steps, order).total[0] < right * (1 - 1e-3)


def test_composition_is_the_cumulative_sum_of_widths_times_divergences(rng: np.random.Generator) -> None:
    norms = rng.random((20000, 3)) * 3  # more than one chunk
    s, q, steps, total = np.array([1.0, 2.0, 0.5]), np.array([0.1, 1.0, 0.2]), [0, 40, 99], 100
    got = compose(norms.astype(np.float32), s, q, steps, total, 4)
    per_step = np.stack([sampled_gaussian_divergence(4, q[c], norms[:, c] / s[c]) for c in range(3)], axis=1)
    np.testing.assert_allclose(got.cumulative, np.cumsum(checkpoint_widths(steps, total) * per_step, 1), rtol=1e-5)
    np.testing.assert_array_equal(got.total, got.cumulative[:, -1])
    assert got.total.dtype == np.float64
    tensor = compose(torch.from_numpy(norms), s, q, steps, total, 4)
    np.testing.assert_allclose(tensor.total, got.total, rtol=1e-5)


def test_orders_rounded_up_never_give_less(rng: np.random.Generator) -> None:
    norms, steps = rng.random((50, 5)) * 4, [0, 10, 20, 30, 39]
    exact = compose(norms, 1.0, 0.02, steps, 40, 3.0, weighted=True, round_up=False).total
    rounded = compose(norms, 1.0, 0.02, steps, 40, 3.0, weighted=True).total
    plain = compose(norms, 1.0, 0.02, steps, 40, 3.0).total
    assert (plain <= exact * (1 + 1e-12)).all() and (exact <= rounded * (1 + 1e-12)).all()
    assert (plain < rounded).any()


def test_full_batch_composition_is_the_divergence_of_two_gaussians(rng: np.random.Generator) -> None:
    # Independent steps of means m_t and noise s: a product of Gaussians, divergence a sum of a m^2/(2 s^2)
    norms = rng.random((4, 7))
    got = compose(norms, 0.7, 1.0, range(7), 7, 5).total
    np.testing.assert_allclose(got, 5 * (norms**2).sum(1) / (2 * 0.49))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norms": np.array([[1.0, np.nan]])}, "row 0, checkpoint 1"),
        ({"norms": np.array([[1.0, np.inf]])}, "not finite"),
        ({"norms": np.array([[1.0, -1.0]])}, "not finite"),
        ({"norms": np.ones(2)}, "shape"),
        ({"norms": np.ones((2, 3))}, "one step per column"),
        ({"s": 0.0}, "noise scale"),
        ({"s": np.ones(3)}, "s has shape"),
        ({"q": np.ones(3)}, "q has shape"),
        ({"q": 1.5}, "sampling_rate"),
        ({"order": 1.0}, "order"),
    ],
)
def test_wrong_arguments_of_compose_are_named(change: dict[str, object], message: str) -> None:
    arguments = {"norms": np.ones((1, 2)), "s": 1.0, "q": 0.1, "steps": [0, 9], "total_steps": 10, "order": 4.0}
    with pytest.raises(UsageError, match=message):
        compose(**{**arguments, **change})


# --- several orders -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [{}, {"weighted": True}, {"weighted": True, "round_up": False}])
def test_several_orders_at_once_are_each_order_by_itself(rng: np.random.Generator, weighted: dict[str, bool]) -> None:
    norms, orders = rng.lognormal(size=(300, 4)) * 2, [2, 2.5, 8, 16, 17, 33.3, 100]
    s, q, steps = np.array([1.0, 2.0, 0.5, 1.0]), np.array([0.02, 0.02, 1.0, 0.3]), [0, 10, 20, 59]
    got = compose_orders(norms, s, q, steps, 60, orders, **weighted)
    assert got.shape == (7, 300) and got.dtype == np.float64
    for row, order in zip(got, orders, strict=True):
        np.testing.assert_allclose(row, compose(norms, s, q, steps, 60, order, **weighted).total, rtol=1e-12)
    assert (np.diff(got, axis=0) > 0).all()


def test_thousands_of_records_get_the_losses_that_each_gets_alone(rng: np.random.Generator) -> None:
    # so many that costly orders are read off a table of polynomials, and in more than one chunk
    norms, orders = rng.lognormal(0, 2, size=(20000, 2)), [2.5, 8, 64, 301.7]
    got = compose_orders(norms, 2.0, 0.01, [0, 9], 10, orders)
    picked = np.r_[0:50, 16380:16390, 19990:20000, norms.max(1).argmax(), norms.min(1).argmin()]
    for row, order in zip(got, orders, strict=True):
        alone = 5 * sampled_gaussian_divergence(order, 0.01, norms[picked] / 2.0).sum(axis=1)
        np.testing.assert_allclose(row[picked], alone, rtol=2e-12)


def test_wrong_arguments_of_several_orders_are_named() -> None:
    for orders, message in (([], "at least one order"), (4.0, "at least one order"), ([4, 1.0], "above 1")):
        with pytest.raises(UsageError, match=message):
            compose_orders(np.ones((1, 2)), 1.0, 0.1, [0, 9], 10, orders)
    with pytest.raises(UsageError, match="sampling_rate"):
        compose_orders(np.ones((1, 2)), 1.0, [0.1, -0.1], [0, 9], 10, [4])


# --- several runs ---------------------------------------------------------------------------------------------------


def test_composition_of_runs_takes_the_expectation_at_every_step(rng: np.random.Generator) -> None:
    steps, order, s, q = 5, 3.0, 1.0, 0.3
    norms = rng.random((4, 2, steps)) * 2
    p, orders = 3 * steps, composition_orders(order, steps)
    for record in range(2):
        expected = 0.0
        for i in range(steps):
            d = sampled_gaussian_divergence(orders[i], q, norms[:, record, steps - 1 - i] / s)
            moment = np.mean(np.exp(p * (orders[i] - 1) * d))
            expected += (p - 1) ** i / p ** (i + 1) * math.log(moment) / (order - 1)
        assert compose_runs(norms, s, q, range(steps), steps, order)[record] == pytest.approx(expected, rel=1e-9)
    same = np.repeat(norms[:1], 3, axis=0)
    one = compose(norms[0], s, q, range(steps), steps, order, weighted=True, round_up=False).total
    np.testing.assert_allclose(compose_runs(same, s, q, range(steps), steps, order), one)
    with pytest.raises(UsageError, match="3 runs"):
        compose_runs(norms[:2], s, q, range(steps), steps, order)


# --- discounted -----------------------------------------------------------------------------------------------------


def test_discounting_weighs_old_steps_less_by_the_learning_rate_still_to_come(rng: np.random.Generator) -> None:
    norms, eta = rng.random((3, 6)) + 0.5, np.linspace(0.3, 0.1, 6)
    got = discounted_loss(norms, 1.0, 0.2, range(6), 6, 4, eta, 0.7)
    expected = np.zeros(3)
    for t in range(6):
        expected += math.exp(-2 * 0.7 * eta[t + 1 :].sum()) * sampled_gaussian_divergence(4, 0.2, norms[:, t])
    np.testing.assert_allclose(got.total, expected)
    plain = compose(norms, 1.0, 0.2, range(6), 6, 4)
    np.testing.assert_allclose(discounted_loss(norms, 1.0, 0.2, range(6), 6, 4, eta, 0.0).cumulative, plain.cumulative)
    assert (got.total < plain.total).all()
    sparse = discounted_loss(norms[:, [0, 5]], 1.0, 0.2, [0, 5], 6, 4, eta[[0, 5]], 0.7)  # linear between checkpoints
    last = 3 * sampled_gaussian_divergence(4, 0.2, norms[:, 5])
    np.testing.assert_allclose(sparse.total - sparse.cumulative[:, 0], last)
    with pytest.raises(UsageError, match="decay"):
        discounted_loss(norms, 1.0, 0.2, range(6), 6, 4, eta, -1.0)


# --- implicit noise -------------------------------------------------------------------------------------------------


def test_the_assumed_noise_puts_the_median_ratio_at_r0(rng: np.random.Generator) -> None:
    norms = rng.lognormal(size=(50, 4))
    for r0 in (0.3, 1.0, 3.0):
        assert np.median(norms / assumed_noise_scale(norms, r0)) == pytest.approx(r0)
    assert assumed_noise_scale(torch.from_numpy(norms)) == pytest.approx(np.median(norms))
    for wrong, message in ((np.zeros((2, 2)), "is 0"), (np.array([np.nan]), "finite"), (np.zeros(0), "empty")):
        with pytest.raises(UsageError, match=message):
            assumed_noise_scale(wrong)
    with pytest.raises(UsageError, match="r0"):
        assumed_noise_scale(norms, 0.0)


def test_rank_stability_is_spearman_between_assumed_scales(rng: np.random.Generator) -> None:
    norms, steps = rng.lognormal(sigma=1.5, size=(200, 4)), [0, 3, 6, 9]
    got = rank_stability(norms, steps, 10, 0.02, 8)
    totals = [compose(norms, assumed_noise_scale(norms, r0), 0.02, steps, 10, 8).total for r0 in (0.3, 1.0, 3.0)]
    assert list(got) == ["0.3 vs 1", "0.3 vs 3", "1 vs 3"]
    for value, (a, b) in zip(got.values(), itertools.combinations(totals, 2), strict=True):
        assert value == pytest.approx(spearmanr(a, b).statistic)
    assert min(got.values()) < 1 - 1e-6
    assert math.isnan(rank_stability(np.ones((5, 2)), [0, 9], 10, 0.1, 4)["0.3 vs 1"])
