"""Do the scores find a record that was made hard, and are sets what their scores say?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from expunge.reproduction.config import WorldConfig
from expunge.reproduction.originals import Original, train_originals
from expunge.reproduction.rank_sgd.sets import (
    C_PROXY,
    EL2N,
    PRIVACY_LOSS,
    SCORES,
    difficulty_scores,
    early_column,
    hardest,
    joint_score,
    overlap,
)
from expunge.reproduction.rank_sgd.stability import between_models, loss_at, over_checkpoints, over_noise
from expunge.reproduction.work import Work
from expunge.reproduction.world import World, open_world

WRONG = np.arange(0, 200, 40)


@pytest.fixture(scope="module")
def world() -> World:
    """Digits of which five training records have a wrong label."""
    config = {
        "data": {"name": "digits", "train": 200, "held_out": 50},
        "model": {"name": "mlp", "options": {"hidden": [32]}},
        "training": {"steps": 120, "batch_size": 32, "learning_rate": 0.5, "checkpoints": 20,
                     "noise": {"convention": "implicit"}},
    }  # fmt: skip
    made = open_world("digits", WorldConfig.model_validate(config), 1)
    targets = made.train.targets.copy()
    targets[WRONG] = (targets[WRONG] + 5) % 10
    return replace(made, train=replace(made.train, targets=targets))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return Work(tmp_path_factory.mktemp("work"), "scores", {})


@pytest.fixture(scope="module")
def originals(world: World, work: Work) -> tuple[Original, ...]:
    return train_originals(world, work, 3)


def test_every_score_finds_wrong_labels(world: World, work: Work, originals: tuple[Original, ...]) -> None:
    scores = difficulty_scores(world, work, originals, 0.4)
    assert tuple(scores) == SCORES
    for name, values in scores.items():
        assert values.shape == (3, 200)
        found = overlap(WRONG, hardest(joint_score(name, values), 10))
        assert found >= 0.8, name
    np.testing.assert_array_equal(scores[PRIVACY_LOSS][1], originals[1].loss)


def test_scores_are_read_once(world: World, work: Work, originals: tuple[Original, ...], tmp_path: Path) -> None:
    first = difficulty_scores(world, work, originals, 0.4)
    again = difficulty_scores(world, Work(tmp_path, "anew", {}), originals, 0.4)
    for name in (C_PROXY, EL2N):
        np.testing.assert_allclose(first[name], again[name])


def test_hardest_and_overlap() -> None:
    assert hardest(np.array([0.1, 3.0, 2.0, 3.0]), 2).tolist() == [1, 3]
    assert hardest(np.array([1.0, 1.0, 1.0]), 2).tolist() == [0, 1]
    assert overlap(np.array([1, 2, 3, 4]), np.array([4, 5, 1, 6])) == 0.5


def test_averages_over_seeds_are_of_values_others_of_ranks() -> None:
    values = np.array([[0.0, 1.0, 100.0], [2.0, 1.0, 0.0]])
    assert joint_score(EL2N, values).tolist() == [1.0, 1.0, 50.0]
    assert joint_score(C_PROXY, values).tolist() == [2.0, 2.0, 2.0]


def test_early_column_is_the_nearest() -> None:
    assert early_column((0, 10, 20, 30), 40, 0.3) == 1
    assert early_column((0, 10, 20, 30), 40, 0.0) == 0


def test_all_checkpoints_at_the_recorded_noise_are_the_recorded_loss(originals: tuple[Original, ...]) -> None:
    for original in originals:
        np.testing.assert_allclose(loss_at(original, 1.0), original.loss, rtol=1e-6)
    same = over_checkpoints(originals, (20,), 1.0, 10)
    for found in same.values():
        assert found.spearman.value == pytest.approx(1.0) and found.top.value == 1.0


def test_fewer_checkpoints_agree_less(originals: tuple[Original, ...]) -> None:
    found = over_checkpoints(originals, (2, 10), 1.0, 10)
    assert set(found) == {("even", 2), ("even", 10), ("log", 2), ("log", 10)}
    for spacing in ("even", "log"):
        assert found[spacing, 2].spearman.value < found[spacing, 10].spearman.value <= 1  # type: ignore[index]


def test_every_pair_of_noises(originals: tuple[Original, ...]) -> None:
    found = over_noise(originals, (0.3, 1.0, 3.0), 10)
    assert list(found) == [(0.3, 1.0), (0.3, 3.0), (1.0, 3.0)]
    assert all(one.spearman.seeds == 3 for one in found.values())
    assert found[0.3, 3.0].spearman.value < 1


def test_agreement_between_models_of_known_scores() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=1000)
    same = between_models(np.stack([truth, 2 * truth, truth**3]), 50)
    assert same.spearman.value == pytest.approx(1.0) and same.top.value == 1.0
    none = between_models(rng.normal(size=(4, 1000)), 50)
    assert abs(none.spearman.value) < 0.08 and none.top.value < 0.15
    # truth and noise of equal variance: Pearson 1/2, Spearman of Gaussians 6/pi asin(r/2)
    half = between_models(truth + rng.normal(size=(6, 1000)), 50)
    assert half.spearman.value == pytest.approx(6 / np.pi * np.arcsin(0.25), abs=0.06)
