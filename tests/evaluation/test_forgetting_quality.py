"""The challenge's forgetting quality: its bias, its bins, its bounds, and the verdict against never-trained models."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, norm
from test_u_lira import INPUTS, shadow_inputs, shadow_phi

from expunge.errors import UsageError
from expunge.evaluation import EvaluationSettings
from expunge.evaluation.forgetting_quality import (
    forgetting_quality,
    forgetting_quality_check,
    margin_of_quality,
    record_epsilon,
    record_worth,
    utility_ratios,
)

SETTINGS = EvaluationSettings()


def two_sides(unlearned: np.ndarray, never: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    phi = np.concatenate([unlearned, never])[:, None]
    return phi, (np.arange(len(phi)) < len(unlearned))[:, None]


def test_identical_laws_have_a_median_epsilon_of_log_four() -> None:
    phi = np.random.default_rng(0).normal(size=(128, 2000))
    side = np.arange(128)[:, None] + np.zeros(2000, dtype=int) < 64
    epsilon = record_epsilon(phi, side, ~side)
    assert np.median(epsilon) == pytest.approx(np.log(4))
    assert 0.2 < record_worth(epsilon).mean() < 0.25  # not 1, though no record can be told


def test_epsilon_is_the_best_threshold_tried_by_hand() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        u, r = rng.normal(0.7, 1, 15).round(1), rng.normal(0, 1, 12).round(1)  # with ties
        best = 0.0
        for threshold in np.concatenate([u, r]):
            for sign in (1, -1):
                fnr = np.mean(sign * u <= sign * threshold)
                fpr = np.mean(sign * r > sign * threshold)
                if fnr == 0 and fpr == 0:
                    best = np.inf
                elif fnr > 0 and fpr > 0:
                    tops = [(1 - fpr) / fnr, (1 - fnr) / fpr]
                    best = max(best, *(np.log(top) for top in tops if top > 0))
        phi, side = two_sides(u, r)
        assert record_epsilon(phi, side, ~side)[0] == pytest.approx(best)


def test_a_record_that_separates_is_infinite_and_counts() -> None:
    phi, side = two_sides(np.arange(5.0), np.arange(10.0, 15.0))
    epsilon = record_epsilon(phi, side, ~side)
    assert np.isinf(epsilon[0]) and np.isinf(record_epsilon(-phi, side, ~side)[0])
    assert record_worth(epsilon)[0] == 2 / 2**14
    mixed = record_worth(np.array([np.inf, 0.0]))
    assert mixed.mean() == pytest.approx((2 / 2**14 + 1) / 2)


def test_bins_are_half_wide_and_numbered_from_one() -> None:
    epsilon = np.array([0.0, 0.49, 0.5, 1.39, 6.0, 6.49, 6.5, 100.0])
    assert np.array_equal(record_worth(epsilon), 2.0 / 2.0 ** np.array([1, 1, 2, 3, 13, 13, 14, 14]))


def test_bounds_are_clopper_pearsons_and_never_claim_what_is_not_there() -> None:
    phi, side = two_sides(np.arange(64.0), np.arange(100.0, 164.0))
    certain = record_epsilon(phi, side, ~side, 0.95)[0]
    upper = beta.ppf(1 - 0.05 / (4 * 127), 1, 64)  # nothing wrong in 64
    assert certain == pytest.approx(np.log((1 - upper) / upper)) and 1.5 < certain < 2.5
    phi, trained = shadow_phi(128, 300, 0.0, 0)
    assert (record_epsilon(phi, trained, ~trained, 0.95) > 0).mean() <= 0.05
    truth = np.log(norm.cdf(1.5) / norm.sf(1.5))  # one threshold in the middle of two Gaussians 3 sd apart
    phi, trained = shadow_phi(128, 300, 3.0, 0)
    low = record_epsilon(phi, trained, ~trained, 0.95)
    assert (low > 0).all() and np.median(low) < truth


def test_the_null_removes_the_bias() -> None:
    deficits = [forgetting_quality(*shadow_phi(128, 60, 0.0, seed)).deficit for seed in range(8)]
    assert abs(np.mean(deficits)) < 3 * np.std(deficits, ddof=1) / np.sqrt(8) + 0.002
    found = forgetting_quality(*shadow_phi(128, 60, 3.0, 0))
    assert found.quality < 0.02 and found.deficit > 0.15 and found.quality_high > found.quality


def test_the_margin_is_the_reading_of_a_known_attack() -> None:
    shift = np.sqrt(2) * norm.ppf(0.6)
    deficits = [forgetting_quality(*shadow_phi(128, 100, shift, seed)).deficit for seed in range(6)]
    assert np.mean(deficits) == pytest.approx(margin_of_quality(32, 0.1), abs=0.012)


def test_utility_leaves_the_forget_set_out() -> None:
    ratios = utility_ratios(INPUTS)
    right = INPUTS.unlearned.argmax(axis=-1) == INPUTS.targets
    oracles = (INPUTS.oracles.argmax(axis=-1) == INPUTS.targets).mean(axis=0)
    assert ratios["retain"] == pytest.approx(right[INPUTS.retain].mean() / oracles[INPUTS.retain].mean())
    assert ratios["held_out"] == pytest.approx(right[INPUTS.held_out].mean() / oracles[INPUTS.held_out].mean())


@pytest.mark.parametrize(
    ("after", "before", "verdict"),
    [(0.0, 2.0, "pass"), (2.0, 2.0, "fail"), (-2.0, 2.0, "fail"), (0.0, 0.0, "no power")],
)
def test_the_check_and_its_controls(after: float, before: float, verdict: str) -> None:
    result = forgetting_quality_check(shadow_inputs(144, 40, after, before), SETTINGS)
    assert result.verdict == verdict, result.words
    assert result.controls["null"].holds and result.sound == (before == 2.0)
    assert result.interval[0] < result.statistic < result.interval[1]
    ratios = result.details["utility_ratios"]
    expected = result.details["quality_all_models"] * ratios["retain"] * ratios["held_out"]
    assert result.details["score"] == pytest.approx(expected)


def test_infinite_epsilons_are_counted_in_finite_evidence() -> None:
    result = forgetting_quality_check(shadow_inputs(128, 25, 8.0, 8.0), SETTINGS)
    assert result.details["infinite_epsilons"] == 25 and result.details["median_epsilon"] is None
    assert result.verdict == "fail" and result.model_dump_json()


def test_too_few_models_say_how_many() -> None:
    result = forgetting_quality_check(shadow_inputs(64, 30, 0.0, 2.0), SETTINGS)
    assert result.words == "no power: 32 models an arm, 64 needed; `expunge evaluate --shadows 128` trains them"
    assert "needs shadow models" in forgetting_quality_check(INPUTS, SETTINGS).words


def test_unusable_arrays_are_refused() -> None:
    phi, trained = shadow_phi(16, 10, 0.0, 0)
    for bad in (trained[:, :5], np.ones_like(trained)):
        with pytest.raises(UsageError):
            record_epsilon(phi, bad, ~bad)
    with pytest.raises(UsageError, match="NaN"):
        record_epsilon(np.where(trained, np.nan, phi), trained, ~trained)
