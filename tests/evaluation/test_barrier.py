"""The loss barrier: its height, its rank among the oracles' own, and that it claims nothing it cannot show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from laws import World

from expunge.errors import UsageError
from expunge.evaluation import CheckResult, EvaluationInputs, EvaluationSettings
from expunge.evaluation.barrier import barrier_check, barrier_warning
from expunge.evaluation.loss_paths import BarrierPaths, PathLosses, barrier_height
from expunge.evaluation.signatures import BARRIER

SETTINGS = EvaluationSettings()
POINTS = 25
T = np.linspace(0, 1, POINTS)


def test_the_height_is_the_largest_excess_over_the_chord() -> None:
    rng = np.random.default_rng(0)
    path = rng.random((4, 3, POINTS))
    expected = [
        [max(p[k] - ((1 - t) * p[0] + t * p[-1]) for k, t in enumerate(T)) for p in anchors] for anchors in path
    ]
    np.testing.assert_allclose(barrier_height(path), expected)
    assert barrier_height(1 + 2 * T) == pytest.approx(0.0, abs=1e-12)  # a straight line
    assert barrier_height((T - 0.3) ** 2) == 0.0  # convex: the ends give the maximum
    bump = 0.2 + 0.5 * T + 0.7 * 4 * T * (1 - T)
    assert barrier_height(bump) == pytest.approx(0.7)
    with pytest.raises(UsageError, match="three points"):
        barrier_height([1.0, 2.0])


def bumps(rng: np.random.Generator, height: float, *shape: int) -> np.ndarray:
    """Paths [*shape, points] of about this height."""
    size = height * np.exp(0.2 * rng.normal(size=(*shape, 1)))
    return 0.3 + 0.1 * rng.random((*shape, 1)) * T + 4 * size * T * (1 - T)


def paths(
    *, unlearned: float = 0.2, original: float = 0.2, half: float = 0.2, pairs: int = 19, aligned: bool = True,
    seed: int = 0, models: int = 10,
) -> BarrierPaths:  # fmt: skip
    rng = np.random.default_rng(seed)

    def losses() -> dict[str, PathLosses]:
        return {
            group: PathLosses(
                original=bumps(rng, original, 2),
                unlearned=bumps(rng, unlearned, 2),
                baseline=bumps(rng, 0.2, pairs, 2),
                held_back=bumps(rng, 0.2, 3, 2),
                half_kept=bumps(rng, half, models, 2),
            )
            for group in ("retain", "forget")
        }

    records = {"retain": 2000, "forget": 64}
    reason = "" if aligned else "it has a skip connection"
    return BarrierPaths(losses(), losses() if aligned else None, reason, records, {"retain": 5000, "forget": 64})


@pytest.fixture(scope="module")
def inputs() -> EvaluationInputs:
    return World(forget=24, retain=40, held_out=60, oracles=19).build()


def check(inputs: EvaluationInputs, barriers: BarrierPaths | None) -> CheckResult:
    result = barrier_check(replace(inputs, barriers=barriers), SETTINGS)
    assert CheckResult.model_validate_json(result.model_dump_json()) == result
    assert result.name == "loss_barrier"
    return result


def test_a_barrier_above_the_oracles_own_fails(inputs: EvaluationInputs) -> None:
    result = check(inputs, paths(unlearned=0.8))
    assert result.verdict == "fail" and result.p_value == pytest.approx(1 / 20)
    assert "another basin" in result.words and "aligned" in result.words
    assert result.statistic is not None and result.statistic > max(result.values["oracle"].interval or (9, 9))
    assert result.controls["oracle"].holds and result.controls["oracle"].of == 3
    assert result.details["records"] == {"retain": 2000, "forget": 64}


def test_near_the_oracles_says_nothing_where_the_original_is_near_too(inputs: EvaluationInputs) -> None:
    """Nothing about forgetting can be concluded, and that is said."""
    result = check(inputs, paths())
    assert result.verdict == "no power" and not result.controls["original"].holds
    assert "the original's barrier is no higher than the oracles' own" in result.words


def test_a_pass_needs_an_original_and_half_kept_models_in_another_basin(inputs: EvaluationInputs) -> None:
    result = check(inputs, paths(original=0.9, half=0.9))
    assert result.verdict == "pass" and result.sound and result.power.not_pass_given_half == 1.0
    assert check(inputs, paths(original=0.9, half=0.2)).verdict == "no power"
    unknown = check(inputs, paths(original=0.9, models=0))
    assert unknown.verdict == "no power" and "no half-kept models" in unknown.words
    assert unknown.power.not_pass_given_half is None


def test_a_low_barrier_is_never_a_failure(inputs: EvaluationInputs) -> None:
    result = check(inputs, paths(unlearned=0.001))
    assert result.verdict != "fail" and result.p_value == 1.0


def test_too_few_pairs_say_how_many_are_needed(inputs: EvaluationInputs) -> None:
    for pairs, words in ((6, "6 oracle pairs"), (1, "1 oracle pair,")):
        result = check(inputs, paths(unlearned=0.8, pairs=pairs))
        assert result.verdict == "no power" and words in result.words and "needs 19" in result.words
        assert result.p_value == pytest.approx(1 / (pairs + 1)) and result.details["pairs_needed"] == 19


def test_without_paths_or_without_alignment(inputs: EvaluationInputs) -> None:
    missing = check(inputs, None)
    assert missing.verdict == "no power" and missing.statistic is None and "weights of oracles" in missing.words
    plain = paths(unlearned=0.8, aligned=False)
    result = check(inputs, plain)
    assert result.verdict == "fail" and "not aligned: it has a skip connection" in result.words
    assert result.statistic == pytest.approx(float(plain.plain["retain"].heights("unlearned")))
    assert result.details["judged"] == "plain"
    both = paths(unlearned=0.8)
    judged = check(inputs, both)
    assert both.aligned is not None
    assert judged.statistic == pytest.approx(float(both.aligned["retain"].heights("unlearned")))
    figures: Any = judged.details["forget"]
    assert set(figures) == {"plain", "aligned"} and len(figures["plain"]["curves"]["oracles"]) == POINTS


def test_a_true_oracle_fails_at_the_level() -> None:
    """Exchangeable heights, also through a shared anchor: p <= .05 in 5 % of the cases, not more."""
    rng = np.random.default_rng(3)
    inputs = World(forget=24, retain=40, held_out=60, oracles=19).build()
    failed = 0
    for _ in range(400):
        anchor = np.exp(0.5 * rng.normal(size=(1, 2, 1)))  # an anchor may be far from everyone
        own = np.exp(0.3 * rng.normal(size=(24, 1, 1)))
        all_paths = 0.3 + 4 * T * (1 - T) * anchor * own * np.exp(0.1 * rng.normal(size=(24, 2, 1)))
        losses = PathLosses(all_paths[0], all_paths[1], all_paths[5:], all_paths[2:5], all_paths[:0])
        groups = {"retain": losses, "forget": losses}
        barriers = BarrierPaths(groups, None, "test", {"retain": 9, "forget": 9}, {"retain": 9, "forget": 9})
        result = barrier_check(replace(inputs, barriers=barriers), SETTINGS)
        failed += result.p_value is not None and result.p_value <= 0.05 + 1e-9
    assert 0.02 < failed / 400 < 0.085


def test_the_warning_names_its_own_chance() -> None:
    warning = barrier_warning(paths(unlearned=0.8, pairs=6))
    assert warning is not None and warning.name == BARRIER and warning.numbers["pairs"] == 6
    assert warning.numbers["chance"] == pytest.approx(1 / 7) and "1 time in 7" in warning.words
    assert barrier_warning(paths(unlearned=0.1)) is None and barrier_warning(None) is None


def test_paths_that_cannot_be_judged_are_refused() -> None:
    good = paths().plain["retain"]
    for message, change in {
        "NaN": {"unlearned": np.full((2, POINTS), np.nan)},
        "must be a baseline": {"baseline": good.baseline[:0]},
        "every anchor|every|path to": {"held_back": good.held_back[:, :1]},
        "3 or more": {"original": good.original[:, :5]},
    }.items():
        with pytest.raises(UsageError, match=message):
            replace(good, **change)
    with pytest.raises(UsageError, match="reason"):
        replace(paths(), aligned=None)
    with pytest.raises(UsageError, match="retain and on the forget"):
        replace(paths(), plain={"retain": good})
