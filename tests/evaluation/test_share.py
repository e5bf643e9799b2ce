"""The share of the original's influence in one model: partly forgotten is seen, nothing is read into noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from laws import World

from expunge.evaluation import EvaluationSettings
from expunge.evaluation.share import share_check

SETTINGS = EvaluationSettings()


@pytest.mark.parametrize(
    ("kind", "verdict", "low", "high"),
    [("oracle", "pass", -0.2, 0.2), ("partly", "fail", 0.2, 0.45), ("untouched", "fail", 0.99, 1.01)],
)
def test_known_shares(kind: str, verdict: str, low: float, high: float) -> None:
    result = share_check(World(run_share=0.01).build(kind), SETTINGS)
    assert result.verdict == verdict and result.sound
    assert low <= result.statistic <= high
    assert result.interval[0] < result.statistic < result.interval[1]
    assert result.values["original"].value == pytest.approx(1.0)


def test_over_forgetting_has_a_negative_share() -> None:
    result = share_check(World(run_share=0.01).build("over"), SETTINGS)
    assert result.verdict == "fail" and result.statistic < -0.5 and result.words.startswith("over-forgotten")


def test_oracles_in_the_candidates_place_fail_at_the_level() -> None:
    inputs = World(oracles=40, retain=20, held_out=40, run_share=0.05).build()
    failed = sum(
        share_check(
            replace(inputs, unlearned=inputs.oracles[k], oracles=np.delete(inputs.oracles, k, axis=0)), SETTINGS
        ).p_value
        <= 0.05
        for k in range(40)
    )
    assert 1 <= failed <= 3  # two places of 40 reach .05


def test_an_original_like_the_oracles_is_not_divided_by() -> None:
    world = World(shift=0.0)
    blind = share_check(world.build("untouched"), SETTINGS)
    assert blind.verdict == "no power" and blind.statistic is None and "not divided" in blind.words
    seen = share_check(world.build("untouched", planted=True), SETTINGS)
    assert seen.verdict == "pass" and seen.little_remembered and seen.sound
    inputs = world.build(planted=True)
    moved = share_check(replace(inputs, unlearned=inputs.unlearned * 3), SETTINGS)
    assert moved.verdict == "no power" and "moved elsewhere" in moved.words


def test_few_oracles_are_said_to_be_few() -> None:
    result = share_check(World(oracles=9).build(), SETTINGS)
    assert result.verdict == "no power" and "9 oracles, 19 needed" in result.words
