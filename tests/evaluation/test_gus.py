"""The Gaussian unlearning score: exact under the null, positive for memory, and honest about how many canaries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from laws import World
from scipy.stats import norm

from expunge.errors import UsageError
from expunge.evaluation import CheckResult, EvaluationInputs, EvaluationSettings
from expunge.evaluation.canary_scores import ROLES, CanaryScores
from expunge.evaluation.gus import canaries_needed, gus_check, normal_test, power_for_mean

SETTINGS = EvaluationSettings()


def scores(unlearned: float = 0.0, original: float = 0.8, oracle: float = 0.0, count: int = 200, spread: float = 1.0,
           seed: int = 1, fresh: float = 0.0) -> CanaryScores:  # fmt: skip
    """Scores with these means; fresh noise scores N(fresh, 1)."""
    rng = np.random.default_rng(seed)
    means = {"original": original, "oracle": oracle}
    return CanaryScores(
        **{role: mean + rng.normal(size=count) for role, mean in means.items()},
        unlearned=unlearned + spread * rng.normal(size=count),
        fresh={role: fresh + rng.normal(size=count) for role in ROLES},
        eps=0.3,
    )


@pytest.fixture(scope="module")
def inputs() -> EvaluationInputs:
    return World(forget=24, retain=40, held_out=60, oracles=19).build()


def check(
    inputs: EvaluationInputs, canaries: CanaryScores | None, settings: EvaluationSettings = SETTINGS
) -> CheckResult:
    result = gus_check(replace(inputs, canaries=canaries), settings)
    assert CheckResult.model_validate_json(result.model_dump_json()) == result
    assert result.name == "gus"
    return result


def test_the_test_is_calibrated_and_its_interval_covers() -> None:
    rng = np.random.default_rng(1)
    null = [normal_test(rng.normal(size=60)) for _ in range(500)]
    assert np.mean([t.mean_p <= 0.05 for t in null]) == pytest.approx(0.05, abs=0.03)
    assert 0.02 < np.mean([t.p_value <= 0.05 for t in null]) < 0.075
    assert np.mean([t.interval[0] <= 0 <= t.interval[1] for t in null]) == pytest.approx(0.90, abs=0.035)
    one = normal_test(np.array([0.5, 1.5, 1.0, 1.0]))
    assert one.mean == 1.0 and one.z == 2.0 and one.mean_p == pytest.approx(2 * norm.sf(2.0))
    # The mean is right and the law is not: the second test sees it.
    narrow = normal_test(0.2 * rng.normal(size=60))
    assert narrow.mean_p > 0.05 and narrow.p_value < 0.001


def test_the_power_is_what_a_simulation_gives() -> None:
    mean, count, level = 0.25, 100, 0.05
    z = np.sqrt(count) * np.random.default_rng(1).normal(mean, 1, (20000, count)).mean(axis=1)
    found = 2 * norm.sf(np.abs(z)) <= level / 2
    assert power_for_mean(mean, count, level) == pytest.approx(found.mean(), abs=0.015)
    assert power_for_mean(0.0, count, level) == pytest.approx(level / 2)
    needed = canaries_needed(mean, level)
    assert needed is not None
    assert power_for_mean(mean, needed, level) >= 0.8 > power_for_mean(mean, needed - 3, level)
    assert canaries_needed(0.0, level) is None


def test_forgotten_passes_and_everything_else_does_not(inputs: EvaluationInputs) -> None:
    forgotten = check(inputs, scores())
    assert forgotten.verdict == "pass" and forgotten.sound
    assert forgotten.interval is not None and forgotten.interval[0] < 0 < forgotten.interval[1]
    assert forgotten.controls["original"].verdict == "fail" and forgotten.controls["fresh_noise"].of == 3
    assert "fresh noise" in forgotten.words and "fresh noise" in forgotten.values["oracle"].note
    remembered = check(inputs, scores(unlearned=0.4))
    assert remembered.verdict == "fail" and "still remembered" in remembered.words
    over = check(inputs, scores(unlearned=-0.4))
    assert over.verdict == "fail" and "over-forgotten" in over.words
    other = check(inputs, scores(spread=0.2))
    assert other.verdict == "fail" and "not N(0, 1)" in other.words


def test_the_controls_are_asked(inputs: EvaluationInputs) -> None:
    """An original that scores negative is a sign error, not memory; an oracle or fresh noise that is seen is a leak."""
    for canaries, control in (
        (scores(original=0.0), "original"),
        (scores(original=-0.8), "original"),
        (scores(oracle=0.8), "oracle"),
        (scores(fresh=0.8), "fresh_noise"),
    ):
        result = check(inputs, canaries)
        assert result.verdict == "no power" and not result.controls[control].holds
        assert sum(not c.holds for c in result.controls.values()) == 1
    assert "cannot be trusted" in check(inputs, scores(oracle=0.8, unlearned=0.8)).words


def test_a_pass_needs_enough_canaries_to_see_half(inputs: EvaluationInputs) -> None:
    few = check(inputs, scores(count=30))
    assert few.verdict == "no power" and "canaries are needed" in few.words
    needed = few.details["canaries_needed"]
    assert isinstance(needed, int) and needed > 30
    enough = check(inputs, scores(count=2 * needed, seed=2))
    assert enough.verdict == "pass" and (enough.power.not_pass_given_half or 0) > 0.8
    asked_less = check(inputs, scores(count=30), EvaluationSettings(power_needed=0.1))
    assert asked_less.verdict == "pass"


def test_without_canaries_it_says_what_is_missing(inputs: EvaluationInputs) -> None:
    result = check(inputs, None)
    assert result.verdict == "no power" and "no canaries were planted" in result.words and result.statistic is None


def test_scores_that_cannot_be_judged_are_refused() -> None:
    good = scores()
    for change in (
        {"original": np.array([1.0])},
        {"unlearned": np.array([1.0, np.nan])},
        {"oracle": np.ones((2, 2))},
        {"fresh": {"original": good.original}},
        {"eps": 0.0},
    ):
        with pytest.raises(UsageError):
            replace(good, **change)
    with pytest.raises(UsageError):
        normal_test(np.array([1.0]))
