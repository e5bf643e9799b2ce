"""Are areas, times and contrasts of made-up runs what their exponentials say?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_up_curves import LOOKS, RUNS, STEPS, made_up_curves

from expunge.errors import UsageError
from expunge.reproduction.findings import jackknife
from expunge.reproduction.forget_curves import Curves, Seen
from expunge.reproduction.rank_sgd.hardness import Gathered, Unlearned, difference, log_ratio, too_censored

EVERYONE = np.arange(RUNS)
COSTS = LOOKS[LOOKS <= STEPS] / STEPS


def _unlearned(remembered: float, rate: float, seed: int) -> Unlearned:
    return Unlearned.of(made_up_curves(remembered, rate, seed), STEPS)


def test_areas_of_an_exponential() -> None:
    own = _unlearned(3.0, 2.0, 0)
    # by the trapezoid rule over the looks, as the module does it; the exact integral is .432
    mean = float(np.trapezoid(np.exp(-2 * COSTS), COSTS))
    assert own.share_area(1.0)(EVERYONE) == pytest.approx(mean, abs=0.03)
    # the weights are one over the oracles' variance of 1, of 32 oracles and floored: a few percent more on average
    assert own.left_area(1.0)(EVERYONE) == pytest.approx(9 * mean, rel=0.12)
    assert own.share_at(0.5)(EVERYONE) == pytest.approx(math.exp(-1), abs=0.03)


def test_an_oracle_in_the_place_of_the_run_has_nothing_left() -> None:
    null = _unlearned(3.0, 2.0, 1).null
    found = jackknife(lambda some: float(null.influence(some)[0]), RUNS)
    low, high = found.interval()
    assert low < 0 < high and high - low < 0.2


def test_a_harder_set_is_found_and_an_equal_one_is_not() -> None:
    hard, easy, equal = _unlearned(4.0, 1.0, 2), _unlearned(3.0, 1.0, 3), _unlearned(4.0, 1.0, 4)
    ratio = jackknife(log_ratio(hard.left_area(1.0), {"easy": easy.left_area(1.0)}), RUNS)
    # 16/9 is left at every cost
    assert ratio.interval()[0] < math.log(16 / 9) < ratio.interval()[1] and ratio.interval()[0] > 0.3
    same = jackknife(log_ratio(hard.left_area(1.0), {"equal": equal.left_area(1.0)}), RUNS)
    assert abs(same.value) < 0.1
    slow = _unlearned(4.0, 0.2, 5)
    share = jackknife(difference(slow.share_area(1.0), {"hard": hard.share_area(1.0)}), RUNS)
    assert share.interval()[0] > 0.2


def test_intervals_of_equal_sets_hold_zero_as_often_as_they_say() -> None:
    """Of 20 records each, where the noise of the weights is no longer small; 95 % of 200 is 190, give or take 3."""
    held = 0
    for seed in range(200):
        one, other = (Unlearned.of(made_up_curves(4.0, 1.0, 2 * seed + k, 20), STEPS) for k in (0, 1))
        low, high = jackknife(log_ratio(one.left_area(1.0), {"other": other.left_area(1.0)}), RUNS).interval()
        held += low < 0 < high
    assert held >= 180


def test_against_the_best_is_against_the_largest() -> None:
    others = {"small": lambda runs: 1.0, "large": lambda runs: 4.0}
    assert difference(lambda runs: 3.0, others)(EVERYONE) == -1.0
    assert log_ratio(lambda runs: 8.0, others)(EVERYONE) == pytest.approx(math.log(2))
    assert math.isnan(log_ratio(lambda runs: -1.0, others)(EVERYONE))


def test_times_in_trainings() -> None:
    fast, slow = _unlearned(5.0, 8.0, 6), _unlearned(5.0, 0.1, 7)
    # by .5 trainings 2 % is left, in the margin; by .25 14 % is
    assert fast.influence_time(0.1)(EVERYONE) == 0.5 and not fast.influence_censored(0.1)
    assert slow.influence_censored(0.1) and slow.influence_time(0.1)(EVERYONE) == 2.0
    assert fast.censored == 0 and slow.censored == 1
    assert fast.band_time(EVERYONE) <= 0.75 < slow.band_time(EVERYONE) == 2.0
    assert too_censored({"fast": fast}, 0.3) == ""
    assert "slow" in too_censored({"fast": fast, "slow": slow}, 0.3)


def test_two_oracles_are_too_few() -> None:
    curves = made_up_curves(1.0, 1.0, 0)
    few = Seen(*(getattr(curves.oracles, part)[:, :2] for part in ("own", "beside", "held_out", "right")))
    with pytest.raises(UsageError, match="2 oracles"):
        Unlearned.of(Curves(curves.looks, curves.unlearned, few), STEPS)


def test_what_cannot_be_estimated_has_a_reason() -> None:
    numbers = Gathered({}, {})
    numbers.add("given", lambda runs: float(len(runs)), 5, "records")
    numbers.add("nan", lambda runs: math.nan, 5)
    numbers.add("none", lambda runs: 1.0, 5, unless="nothing was remembered")
    assert list(numbers.estimates) == ["given"] and numbers.estimates["given"].unit == "records"
    assert numbers.not_estimable["none"] == "nothing was remembered" and "not finite" in numbers.not_estimable["nan"]
