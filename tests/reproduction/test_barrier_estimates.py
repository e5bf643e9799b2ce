"""What is planted in heights is found, and chance is not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from barrier_cases import NULLS, ORIGINALS, RATES, SETS, heights, noise

from expunge.errors import UsageError
from expunge.reproduction.barriers.estimates import (
    COUPLINGS,
    FALLS,
    MEASURES,
    WITH_CHANCE,
    averaged,
    estimates,
    growths,
    overall,
    slope,
    spearman,
)
from expunge.reproduction.barriers.heights import WAYS
from expunge.reproduction.config import EVERYWHERE
from expunge.reproduction.findings import Estimate, over_seeds

GROWTH = "made up: growth of the retain barrier, own seed"
BEYOND = "made up: growth beyond the baseline of the retain barrier, own seed"
FALL = "made up: fall of the retain barrier, own seed"


def test_planted_growth_and_fall_are_found() -> None:
    planted = 0.5 + 0.2 * np.log(RATES) + np.zeros((ORIGINALS, 1))
    made, reasons = estimates(heights(planted, noise(0), left=0.4, left_by_control=0.9, left_by_rewind=0.1))
    assert not reasons
    assert made[GROWTH].value == 1.0 and made[BEYOND].value == pytest.approx(1.0)
    assert made["made up: slope of the retain barrier, own seed"].value == pytest.approx(0.2)
    excess = planted[0, SETS - 2 : SETS].mean() - noise(0)[:, SETS - 2 : SETS].mean()
    assert made["made up: excess over the baseline of the retain barrier, own seed"].value == pytest.approx(excess)
    assert made[FALL].value == pytest.approx(0.6)
    assert made["made up: fall beyond the control of the retain barrier, own seed"].value == pytest.approx(0.5)
    assert made["made up: fall by the rewind of the retain barrier, own seed"].value == pytest.approx(0.9)
    beyond = made["made up: slope beyond the baseline of the retain barrier, own seed"]
    assert beyond.value == pytest.approx(0.2, abs=0.01)


def test_every_measure_has_its_estimates_and_no_baseline_where_there_is_no_chance() -> None:
    made, _ = estimates(heights(noise(1), noise(2)))
    for coupling in COUPLINGS:
        for measure in MEASURES:
            for kind in ("growth", "slope", *FALLS):
                assert f"made up: {kind} of the {measure}, {coupling}" in made
            assert (f"made up: growth beyond the baseline of the {measure}, {coupling}" in made) == (
                coupling in WITH_CHANCE
            )


def test_chance_does_not_grow() -> None:
    """Of 200 made-up worlds without any growth one in twenty has an interval off zero, and hardly one shows .5."""
    found = [growths(heights(noise(2 * k), noise(2 * k + 1)), "retain barrier", "own seed") for k in range(200)]
    for kind in ("growth", "growth beyond the baseline", "slope"):
        ends = np.array([own[kind].interval() for own in found])
        assert 0.01 <= np.mean((ends[:, 0] > 0) | (ends[:, 1] < 0)) <= 0.11
        assert np.mean([own[kind].p_above(0.5) <= 0.025 for own in found]) <= 0.01


def test_what_grows_between_oracles_too_is_no_growth_beyond_them() -> None:
    """Harder records have higher losses off any basin: the original has nothing to do with it."""
    harder = 0.3 * np.log(RATES)
    made, _ = estimates(heights(harder + noise(3), harder + noise(4)))
    assert made[GROWTH].value > 0.9
    low, high = made[BEYOND].interval()
    assert low < 0.3 and high > -0.3 and abs(made[BEYOND].value) < 0.5


def test_training_on_that_lowers_as_much_leaves_no_fall_beyond_it() -> None:
    made, _ = estimates(heights(noise(5), noise(6), left=0.5, left_by_control=0.5))
    assert made[FALL].value == pytest.approx(0.5)
    assert made["made up: fall beyond the control of the retain barrier, own seed"].value == pytest.approx(0.0)


def test_without_a_barrier_there_is_no_fall_but_a_reason() -> None:
    flat = np.zeros((ORIGINALS, SETS + NULLS))
    made, reasons = estimates(heights(flat, flat))
    assert made[GROWTH].value == 0.0
    assert FALL not in made and "no barrier to fall from" in reasons[FALL]
    assert "without alignment" in reasons["made up: share of the retain barrier that alignment removes, own seed"]


def test_a_barrier_that_may_be_zero_is_not_divided_by() -> None:
    once = np.zeros((ORIGINALS, SETS + NULLS))
    once[0] = 0.1
    assert FALL in estimates(heights(once, once))[1]


def test_units_that_cannot_be_reordered_are_judged_as_they_are() -> None:
    found = heights(noise(7), noise(8))
    arrays = {key: value.copy() for key, value in found.arrays.items()}
    for key in ("before", "baseline", "looks", "trained_on", "rewound"):
        arrays[key][..., WAYS.index("aligned"), :] = np.nan
    plain = dataclasses.replace(found, arrays=arrays)
    made, reasons = estimates(plain)
    assert plain.judged == "plain" and found.judged == "aligned"
    assert made[GROWTH].value == estimates(found)[0][GROWTH].value
    assert "cannot be reordered" in reasons["made up: share of the retain barrier that alignment removes, own seed"]


def test_the_mean_over_data_sets_is_of_those_that_have_the_estimate() -> None:
    one, two = over_seeds([0.1, 0.3]), over_seeds([0.5, 0.9])
    name = "growth of the retain barrier, own seed"
    fall = "fall of the retain barrier, own seed"
    made, reasons = overall(
        {f"a: {name}": one, f"b: {name}": two, f"a: {fall}": one}, {f"b: {fall}": "none"}, ["a", "b"]
    )
    assert made[f"{EVERYWHERE}: {name}"].value == pytest.approx(0.45)
    assert made[f"{EVERYWHERE}: {fall}"].value == pytest.approx(0.2)
    nowhere = overall({}, {f"a: {fall}": "flat", f"b: {fall}": "none"}, ["a", "b"])[1]
    assert nowhere == {f"{EVERYWHERE}: {fall}": "a: flat; b: none"} and not reasons


def test_averages_cover_the_truth() -> None:
    """Four data sets of five seeds, of unlike noise: the interval holds the truth in 95 % of 2,000 draws."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        own = [over_seeds(rng.normal(1.0, scale, 5)) for scale in (0.1, 0.5, 1.0, 1.0)]
        low, high = averaged(own).interval()
        held.append(low <= 1.0 <= high)
    assert 0.935 <= np.mean(held) <= 0.97


def test_equal_variances_add_their_degrees() -> None:
    own = [Estimate(value=1.0, standard_error=0.2, degrees=4, seeds=5) for _ in range(4)]
    assert averaged(own).degrees == pytest.approx(16)
    assert averaged(own).standard_error == pytest.approx(0.1)
    with pytest.raises(UsageError):
        averaged([])


def test_rank_correlation_and_slope() -> None:
    assert spearman(np.arange(4.0), np.array([0.0, 0.0, 1.0, 2.0])) == pytest.approx(0.9487, abs=1e-4)
    assert spearman(np.arange(4.0), np.ones(4)) == 0.0
    assert slope(np.exp(np.arange(5.0)), 3.0 * np.arange(5.0) + 1.0) == pytest.approx(3.0)
