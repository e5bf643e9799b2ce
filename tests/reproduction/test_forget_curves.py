"""Runs look by look: they begin at the original, share nothing but records, and are what training alone would give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expunge.errors import UsageError
from expunge.evaluation.confidence import phi
from expunge.reproduction.config import WorldConfig
from expunge.reproduction.forget_curves import (
    Curves,
    fine_tuning,
    forget_curves,
    oracle_phi,
    spaced_looks,
    units,
)  # fmt: skip
from expunge.reproduction.originals import Original, final_phi, train_originals
from expunge.reproduction.work import Work
from expunge.reproduction.world import World, open_world
from expunge.training import StackedJob, train_stacked

SETS = [np.arange(0, 8), np.arange(20, 33)]
LOOKS = np.array([0, 2, 5])
BESIDE = np.array([50, 60])


@pytest.fixture(scope="module")
def world() -> World:
    config = {
        "data": {"name": "digits", "train": 100, "held_out": 50},
        "model": {"name": "mlp", "options": {"hidden": [8]}},
        "training": {"steps": 10, "batch_size": 20, "learning_rate": 0.5, "checkpoints": 3,
                     "noise": {"convention": "mean_gradient", "sigma": 0.01}},
    }  # fmt: skip
    return open_world("digits", WorldConfig.model_validate(config), 3)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return Work(tmp_path_factory.mktemp("work"), "curves", {})


@pytest.fixture(scope="module")
def originals(world: World, work: Work) -> tuple[Original, ...]:
    return train_originals(world, work, 2)


@pytest.fixture(scope="module")
def curves(world: World, work: Work, originals: tuple[Original, ...]) -> tuple[Curves, ...]:
    return forget_curves(world, work, "t", originals, SETS, LOOKS, 3, beside=BESIDE)


def test_shapes_and_first_look(world: World, originals: tuple[Original, ...], curves: tuple[Curves, ...]) -> None:
    for rows, found in zip(SETS, curves, strict=True):
        assert found.unlearned.own.shape == (2, 3, len(rows)) and found.oracles.own.shape == (2, 3, len(rows))
        assert found.unlearned.beside.shape == (2, 3, 2) and found.oracles.held_out.shape == (2, 3)
        for k, own in enumerate(originals):
            everyone = final_phi(world, own)
            np.testing.assert_allclose(found.original[k], everyone[rows], rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(found.unlearned.beside[k, 0], everyone[BESIDE], rtol=1e-4, atol=1e-4)


def test_no_two_models_are_the_same(curves: tuple[Curves, ...]) -> None:
    for found in curves:
        models = np.concatenate([found.oracles.own.reshape(6, -1), found.unlearned.own[:, 1:].reshape(4, -1)])
        assert len(np.unique(models.round(6), axis=0)) == 10


def test_run_is_training_continued(world: World, originals: tuple[Original, ...], curves: tuple[Curves, ...]) -> None:
    """The last look is what one call of train_stacked gives, with the same seed, without looking in between."""
    from expunge.reproduction.forget_curves import _seed

    own, rows = originals[1], SETS[0]
    job = StackedJob(_seed(world, "t", "run", rows, own.number), world.retain(rows))
    start = (10, own.trajectory.state(own.trajectory.final))
    made = train_stacked(
        world.spec, world.train, fine_tuning(world, 5), [job], world.sampling_rate, start=start, until=15
    )
    expected = phi(made.logits(world.records(rows))[0], world.train.targets[rows])
    np.testing.assert_allclose(curves[0].unlearned.own[1, -1], expected, rtol=1e-4, atol=1e-4)


def test_a_set_has_the_same_models_in_any_company_and_parts_are_not_made_again(
    world: World, curves: tuple[Curves, ...], tmp_path: Path
) -> None:
    told: list[str] = []
    work = Work(tmp_path, "curves", {}, lambda part, done, total: told.append(part))
    alone = oracle_phi(world, work, "t", 2, SETS[1:], 3)
    np.testing.assert_allclose(alone[0].own, curves[1].oracles.own, rtol=1e-4, atol=1e-4)
    told.clear()
    again = oracle_phi(world, work, "t", 2, SETS[1:], 3)
    assert not told and np.array_equal(again[0].own, alone[0].own)


def test_rewind_starts_at_its_checkpoint(world: World, work: Work, originals: tuple[Original, ...]) -> None:
    found = forget_curves(
        world, work, "rewound", originals, SETS[:1], np.array([0, 10]), 2, start=0, config=world.training
    )
    untrained = originals[0].trajectory.state(originals[0].trajectory.at(0))
    assert np.isfinite(found[0].unlearned.own).all()
    made = train_stacked(
        world.spec, world.train, world.training, [StackedJob(0, np.arange(100))], world.sampling_rate,
        start=(0, untrained), until=0,
    )  # fmt: skip
    expected = phi(made.logits(world.records(SETS[0]))[0], world.train.targets[SETS[0]])
    np.testing.assert_allclose(found[0].original[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("looks", [[1, 2], [0, 2, 2], [0, 11]])
def test_looks_that_cannot_be(world: World, work: Work, originals: tuple[Original, ...], looks: list[int]) -> None:
    with pytest.raises(UsageError, match="Looks must begin with 0"):
        forget_curves(world, work, "bad", originals, SETS, np.array(looks), 2, start=0, config=world.training)


def test_spaced_looks() -> None:
    looks = spaced_looks(600, 20)
    assert looks[0] == 0 and looks[-1] == 600 and len(looks) == 21
    assert (np.diff(looks) > 0).all() and (np.diff(np.diff(looks)) >= -1).all()
    assert spaced_looks(3, 20).tolist() == [0, 1, 2, 3]


def test_units_count_models(world: World) -> None:
    assert units(world, 2, 2, LOOKS, 3) == 2 * (2 * 3 + 1)
