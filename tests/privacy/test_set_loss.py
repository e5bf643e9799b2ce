"""Is the set-level loss of a step or a run right, by each estimator, and refused where it cannot be trusted?"""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
from scipy.stats import binom
from set_cases import (
    clusters,
    enumerated_set_divergence,
    identical_set_divergence,
    one_direction_divergence,
    scattered,
)

from expunge.errors import UsageError
from expunge.privacy import (
    checkpoint_widths,
    sampled_gaussian_divergence,
    set_level_loss,
    set_loss_from_grams,
    set_step_loss,
)
from expunge.privacy.set_enumeration import enumerated_log_moment, enumeration_cells

RATE = 0.0213

# pytest.approx also allows 1e-12 absolute, which is much for a loss of 1e-11
approx = partial(pytest.approx, rel=1e-9, abs=0.0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# --- one record: METHOD section 2 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, 8])
@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.0, 3.0])
def test_one_record_is_the_sampled_gaussian(ratio: float, order: int) -> None:
    gram, truth = [[4.0 * ratio**2]], sampled_gaussian_divergence(order, RATE, ratio)
    brute = enumerated_set_divergence(np.array([[ratio, 0.0]]), 1.0, RATE, order)
    assert brute == approx(truth, rel=1e-10)
    for estimator, name in (("auto", "enumeration"), ("importance", "importance")):
        got = set_step_loss(gram, 2.0, RATE, order, estimator=estimator)
        assert got.estimator == name
        assert got.value == approx(truth, rel=1e-10)
        assert got.lower == approx(truth, rel=1e-10) and got.upper == approx(truth, rel=1e-10)


def test_plain_monte_carlo_is_refused_where_it_is_silently_wrong() -> None:
    # METHOD section 5: one record, r = 2, q = .0213, a = 8, exactly 11.6; 100,000 draws gave 1.8 to 4.1 with error .1
    for seed in range(3):
        got = set_step_loss([[4.0]], 1.0, RATE, 8, estimator="monte_carlo", draws=100_000, seed=seed)
        assert got.value is None and got.estimator == "not_estimated"
        assert got.effective_sample_size is not None and got.effective_sample_size < 1000
        assert got.lower == approx(11.6010878, rel=1e-7) and got.upper == approx(11.6010878, rel=1e-7)


def test_monte_carlo_is_refused_where_all_weights_are_near_one_but_the_bounds_know_better() -> None:
    for gram, rate in (([[25.0]], 1e-5), ([[1.0]], RATE)):
        got = set_step_loss(gram, 1.0, rate, 8, estimator="monte_carlo", draws=16_384)
        assert got.effective_sample_size is not None and got.effective_sample_size > 1000
        assert got.value is None and got.estimator == "not_estimated"
        assert got.lower == approx(sampled_gaussian_divergence(8, rate, math.sqrt(gram[0][0])), rel=1e-9)


def test_a_drawn_number_with_an_error_over_five_percent_is_no_estimate() -> None:
    signs = np.r_[np.ones(30), -np.ones(30)]
    gram = np.outer(signs, signs) * 0.01
    few, many = (set_step_loss(gram, 1.0, RATE, 8, estimator="monte_carlo", draws=n) for n in (1500, 60_000))
    assert few.effective_sample_size is not None and few.effective_sample_size >= 1000
    assert few.value is None and few.estimator == "not_estimated"
    assert many.value is not None and many.standard_error < 0.05 * many.value


def test_monte_carlo_is_accepted_where_it_works() -> None:
    gram = scattered(9, 10, 0.5, np.full(9, 0.1), seed=1)
    truth = enumerated_log_moment(gram, 0.1, 4) / 3
    got = set_step_loss(gram, 1.0, 0.1, 4, estimator="monte_carlo")
    assert got.estimator == "monte_carlo" and got.value is not None
    assert 0 < got.standard_error < 0.01 * truth
    assert abs(got.value - truth) < 4 * got.standard_error
    assert got.effective_sample_size is not None and got.effective_sample_size >= 1000


# --- enumeration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("records", "order"), [(1, 2), (2, 2), (3, 2), (4, 2), (2, 3), (3, 3), (2, 4)])
def test_enumeration_is_the_sum_over_all_subsets(records: int, order: int, rng: np.random.Generator) -> None:
    for size, q in itertools.product((0.03, 0.5, 2.0), (0.01, 0.6)):
        gradients = rng.normal(size=(records, 3)) * size
        got = set_step_loss(gradients @ gradients.T, 1.5, q, order)
        assert got.estimator == "enumeration" and got.lower == got.upper == got.value
        assert got.value == approx(enumerated_set_divergence(gradients, 1.5, q, order), rel=1e-9)


def test_enumeration_keeps_its_digits_where_the_loss_is_tiny() -> None:
    gradients = np.array([[1.0, 0.0], [0.5, 0.5], [0.2, 0.9]]) * 1e-4
    for order in (2, 3):
        got = set_step_loss(gradients @ gradients.T, 1.0, 0.01, order).value
        assert got == approx(enumerated_set_divergence(gradients, 1.0, 0.01, order), rel=1e-6)


def test_enumeration_goes_as_far_as_it_says_and_says_what_then() -> None:
    assert [m for m in range(1, 30) if enumeration_cells(m, 8) <= 2e7][-1] == 6
    gram = np.full((5, 5), 0.04)
    got = set_step_loss(gram, 1.0, 0.05, 8)
    assert got.estimator == "enumeration"
    assert got.value == approx(identical_set_divergence(5, 0.2, 0.05, 8), rel=1e-10)
    with pytest.raises(UsageError, match="importance"):
        set_step_loss(np.eye(7), 1.0, 0.05, 8, estimator="enumeration")
    assert enumeration_cells(10_000, 8) == math.inf


# --- importance sampling --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize(("q", "order", "records"), [(0.01, 8, 5), (0.1, 8, 5), (0.1, 3, 9)])
def test_importance_sampling_is_the_enumeration(ratio: float, q: float, order: int, records: int) -> None:
    gram = scattered(records, 10, 0.5, np.linspace(0.5, 1.5, records) * ratio, seed=3)
    truth = enumerated_log_moment(gram, q, order) / (order - 1)
    got = set_step_loss(gram, 1.0, q, order, estimator="importance", draws=8192)
    assert got.estimator == "importance" and got.value is not None
    assert got.lower * (1 - 1e-12) <= truth <= got.upper * (1 + 1e-12)
    assert abs(got.value - truth) <= 5 * got.standard_error + 1e-12 * truth
    assert abs(got.value / truth - 1) < 0.01


def test_importance_sampling_is_a_plain_average_over_draws_where_that_works() -> None:
    gram, rng = scattered(30, 20, 0.3, np.full(30, 0.25), seed=4), np.random.default_rng(9)
    drawn = rng.random((4, 60_000, 30)) < 0.1
    exponent = sum(
        np.einsum("nl,lm,nm->n", drawn[i], gram, drawn[j], optimize=True)
        for i, j in itertools.combinations(range(4), 2)
    )
    weights = np.exp(exponent)
    plain, error = math.log(weights.mean()) / 3, float(weights.std()) / weights.mean() / math.sqrt(60_000) / 3
    got = set_step_loss(gram, 1.0, 0.1, 4)
    assert got.estimator == "importance" and got.value == pytest.approx(plain, abs=4 * error) and error < 0.02 * plain


def test_the_standard_error_is_honest() -> None:
    gram = scattered(5, 10, 0.5, np.linspace(0.5, 1.5, 5) * 0.5, seed=3)
    truth = enumerated_log_moment(gram, 0.1, 8) / 7
    drawn = [set_step_loss(gram, 1.0, 0.1, 8, estimator="importance", draws=2048, seed=i) for i in range(20)]
    z = [(got.value - truth) / got.standard_error for got in drawn if got.value is not None]
    assert len(z) == 20 and 0.5 < np.sqrt(np.mean(np.square(z))) < 2.0


@pytest.mark.parametrize("ratio", [0.03, 0.1, 0.2, 1.0])
def test_sixty_equal_gradients_are_found_on_both_sides_of_the_crossover(ratio: float) -> None:
    truth = identical_set_divergence(60, ratio, RATE, 8)
    got = set_step_loss(np.full((60, 60), ratio**2), 1.0, RATE, 8, draws=4096)
    assert got.estimator == "importance" and got.value == approx(truth, rel=1e-4)
    assert got.lower <= truth * (1 + 1e-10) and truth <= got.upper * (1 + 1e-10)


@pytest.mark.parametrize("ratio", [0.2, 0.35, 0.5])
def test_groups_that_are_rarely_drawn_at_all_are_not_missed(ratio: float) -> None:
    # every group turns from hardly ever drawn to always drawn by itself: 8 modes, 2 to the 6 in the hardest case
    for count in (3, 6):
        truth = count * identical_set_divergence(10, ratio, RATE, 8)
        got = set_step_loss(clusters(count, 10, ratio), 1.0, RATE, 8, draws=4096)
        assert got.value == approx(truth, rel=1e-3)


@pytest.mark.parametrize("ratio", [0.1, 0.3, 1.0])
def test_gradients_that_cancel_in_the_sum_still_cost(ratio: float) -> None:
    signs = np.r_[np.ones(30), -np.ones(30)]
    held = np.arange(31)
    chances = np.outer(*(binom.pmf(held, 30, RATE),) * 2).ravel()
    sums = np.subtract.outer(held, held).ravel() * ratio
    truth = one_direction_divergence(sums[chances > 0], chances[chances > 0], 8)
    got = set_step_loss(np.outer(signs, signs) * ratio**2, 1.0, RATE, 8, draws=8192)
    assert got.value == approx(truth, rel=0.01)
    assert set_level_loss([0.0], 1.0, RATE, [0], 1, 8).value == 0.0  # the leading order sees nothing


def test_orthogonal_gradients_cost_the_sum_and_equal_ones_more() -> None:
    alone = sampled_gaussian_divergence(8, RATE, 0.2)
    assert set_step_loss(0.04 * np.eye(40), 1.0, RATE, 8).value == approx(40 * alone, rel=1e-9)
    together = set_step_loss(np.full((40, 40), 0.04), 1.0, RATE, 8).value
    assert together is not None and together > 1000 * 40 * alone


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    gram = scattered(30, 40, 0.3, np.full(30, 0.3), seed=2)
    first, again, other = (set_step_loss(gram, 1.0, RATE, 8, draws=2048, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.value != other.value and first.value == approx(other.value, rel=0.02)


def test_too_few_effective_draws_give_bounds_only() -> None:
    gram = scattered(9, 10, 0.5, np.full(9, 0.5), seed=1)
    got = set_step_loss(gram, 1.0, 0.1, 4, estimator="importance", draws=200)  # 800 after the second try
    assert got.value is None and got.estimator == "not_estimated" and got.standard_error == 0.0
    truth = enumerated_log_moment(gram, 0.1, 4) / 3
    assert got.lower <= truth <= got.upper < math.inf
    enough = set_step_loss(gram, 1.0, 0.1, 4, estimator="importance", draws=400)  # 1,600 after it
    assert enough.estimator == "importance"


# --- ends of the range, wrong arguments -----------------------------------------------------------------------------


def test_at_full_batch_the_loss_is_exact_at_any_order_and_grows_with_the_square(rng: np.random.Generator) -> None:
    gradients = rng.normal(size=(3, 4))
    total = float(np.linalg.norm(gradients.sum(0)) ** 2)
    got = set_step_loss(gradients @ gradients.T, 2.0, 1.0, 3)
    assert got.estimator == "exact" and got.lower == got.upper == got.value
    assert got.value == approx(enumerated_set_divergence(gradients, 2.0, 1.0, 3), rel=1e-10)
    assert set_step_loss(gradients @ gradients.T, 2.0, 1.0, 2.5).value == approx(2.5 * total / 8)
    one, many = (set_step_loss(np.full((m, m), 0.3), 1.0, 1.0, 4).value for m in (1, 50))
    assert one is not None and many == approx(2500 * one)
    assert set_step_loss(np.eye(3), 1.0, 0.0, 4).value == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gram": np.ones((2, 3))}, r"shape \[m, m\]"),
        ({"gram": np.zeros((0, 0))}, "at least one record"),
        ({"gram": np.array([[np.nan]])}, "not finite"),
        ({"gram": np.array([[1.0, 2.0], [0.0, 1.0]])}, "no Gram matrix"),
        ({"gram": np.array([[1.0, 2.0], [2.0, 1.0]])}, "no Gram matrix"),
        ({"s": 0.0}, "noise scale"),
        ({"q": 1.5}, "q must"),
        ({"order": 1}, "order must"),
        ({"order": 2.5}, "Use 3"),
        ({"estimator": "importanc"}, "Did you mean 'importance'"),
        ({"draws": 1}, "draws"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, object], message: str) -> None:
    arguments = {"gram": np.eye(2), "s": 1.0, "q": 0.1, "order": 4}
    with pytest.raises(UsageError, match=message):
        set_step_loss(**{**arguments, **change})  # type: ignore[arg-type]


# --- over the run ---------------------------------------------------------------------------------------------------


def test_the_steps_of_a_run_are_added_up_by_their_widths() -> None:
    grams = np.stack([scattered(9, 10, 0.5, np.full(9, r), seed=i) for i, r in enumerate((0.2, 0.3, 0.4))])
    s, q, steps = np.array([1.0, 2.0, 1.0]), np.array([0.1, 0.1, 1.0]), [0, 4, 19]
    got = set_loss_from_grams(grams, s, q, steps, 20, 8, draws=4096, seed=5)
    widths = checkpoint_widths(steps, 20)
    assert [step.estimator for step in got.by_checkpoint] == ["importance", "importance", "exact"]
    values = np.array([step.value for step in got.by_checkpoint])
    assert got.estimator == "importance" and got.value == approx(float(widths @ values))
    assert values[2] == approx(8 * grams[2].sum() / 2)
    assert got.lower <= got.value <= got.upper
    errors = [step.standard_error for step in got.by_checkpoint]
    assert got.standard_error == approx(math.hypot(*(widths * errors))) and got.standard_error > 0
    assert got.effective_sample_size == min(step.effective_sample_size or 1e9 for step in got.by_checkpoint)
    assert got == set_loss_from_grams(grams, s, q, steps, 20, 8, draws=4096, seed=5)


def test_where_one_step_is_not_estimated_the_run_is_not() -> None:
    grams = np.stack([0.01 * np.eye(9), scattered(9, 10, 0.5, np.full(9, 0.5), seed=1)])
    got = set_loss_from_grams(grams, 1.0, [1.0, 0.1], [0, 9], 10, 8, draws=100)
    assert got.value is None and got.estimator == "not_estimated"
    assert got.by_checkpoint[0].value == approx(0.36) and got.by_checkpoint[1].value is None
    assert got.lower == approx(5 * (0.36 + got.by_checkpoint[1].lower))
    assert got.upper == approx(5 * (0.36 + got.by_checkpoint[1].upper))


def test_wrong_arguments_of_a_run_are_named() -> None:
    for arguments, message in (
        ((np.eye(2), 1.0, 0.1, [0], 1, 4), "checkpoints, m, m"),
        ((np.ones((2, 1, 1)), 1.0, 0.1, [0], 1, 4), "one step per"),
        ((np.ones((2, 1, 1)), [1.0, 1.0, 1.0], 0.1, [0, 1], 2, 4), "s and q"),
        ((np.ones((1, 1, 1)), 1.0, 0.1, [3], 2, 4), "steps"),
    ):
        with pytest.raises(UsageError, match=message):
            set_loss_from_grams(*arguments)  # type: ignore[arg-type]


# --- from the norm of the sum ---------------------------------------------------------------------------------------


def test_loss_from_the_sum_is_exact_at_full_batch(rng: np.random.Generator) -> None:
    gradients = rng.normal(size=(3, 4))
    norm = float(np.linalg.norm(gradients.sum(0)))
    got = set_level_loss([norm], 2.0, 1.0, [0], 1, 3)
    assert got.estimator == "exact" and got.lower == got.upper == got.value
    assert got.value == approx(enumerated_set_divergence(gradients, 2.0, 1.0, 3), rel=1e-10)
    assert got.value == approx(3 * norm**2 / 8)
    many = set_level_loss([norm, 2 * norm], [2.0, 1.0], 1.0, [0, 9], 10, 3)
    assert many.value == approx(5 * 3 * norm**2 / 8 + 5 * 3 * 4 * norm**2 / 2)


def test_loss_from_the_sum_is_the_leading_order_in_q_and_is_labelled_so() -> None:
    gradients = np.array([[0.2, 0.1, 0.0], [0.15, 0.2, 0.05]])  # they point the same way
    norm = float(np.linalg.norm(gradients.sum(0)))
    errors = []
    for q in (0.1, 0.01, 0.001):
        got = set_level_loss([norm], 1.0, q, [0], 1, 3)
        assert got.estimator == "leading_order" and got.upper == math.inf
        truth = enumerated_set_divergence(gradients, 1.0, q, 3)
        assert got.value is not None and got.value < truth
        assert got.lower == approx(got.value, rel=1e-12)
        errors.append(abs(got.value / truth - 1))
    # what is left as q goes to 0 is of second order in the gradients' norms over s
    assert errors[-1] < np.square(np.linalg.norm(gradients, axis=1)).sum()
    # control: adding the records' own losses is something else
    alone = sum(set_level_loss([float(np.linalg.norm(g))], 1.0, 0.001, [0], 1, 3).value or 0 for g in gradients)
    assert abs(alone / (got.value or 0) - 1) > 0.1
    with pytest.raises(UsageError, match="one value per checkpoint"):
        set_level_loss(np.ones((2, 2)), 1.0, 0.1, [0, 1], 2, 3)
    with pytest.raises(UsageError, match="q must"):
        set_level_loss([1.0], 1.0, 2.0, [0], 1, 3)


@pytest.mark.parametrize("order", [1.5, 2, 2.5, 4])
def test_with_the_records_norms_it_has_bounds_on_both_sides_at_any_order(order: float) -> None:
    for records, ratio in ((5, 0.1), (5, 1.0), (40, 0.3)):
        truth = identical_set_divergence(records, ratio, 0.05, order)
        got = set_level_loss([records * ratio], 1.0, 0.05, [0], 1, order, np.full((records, 1), ratio))
        assert got.lower <= truth <= got.upper * (1 + 1e-9)
        assert got.value is not None and got.lower == approx(got.value * math.floor(order) / order)
        assert got.upper < 3 * order / (order - 1) * math.ceil(order) * truth + 40
    with pytest.raises(UsageError, match="record_norms"):
        set_level_loss([1.0], 1.0, 0.1, [0], 1, 3, np.ones((2, 2)))
