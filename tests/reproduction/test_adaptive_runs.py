"""Forget sets, and an original after any way of forgetting: as `apply` makes it, one model after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expunge.errors import UsageError
from expunge.evaluation.confidence import phi
from expunge.reproduction.adaptive.measured import budgets_and_ways
from expunge.reproduction.adaptive.options import Options
from expunge.reproduction.adaptive.planner import KEEP, RETRAIN
from expunge.reproduction.adaptive.runs import Runs
from expunge.reproduction.adaptive.sets import draw_sets
from expunge.reproduction.config import WorldConfig
from expunge.reproduction.originals import mean_rank, train_originals
from expunge.reproduction.work import Work
from expunge.reproduction.world import World, open_world
from expunge.training import predict
from expunge.unlearning.methods import apply, method_of
from expunge.unlearning.pilots import Way

CONFIG = {
    "data": {"name": "digits", "train": 160, "held_out": 60},
    "model": {"name": "mlp", "options": {"hidden": [8]}},
    "training": {
        "steps": 40, "batch_size": 16, "learning_rate": 0.5, "checkpoints": 9,
        "noise": {"convention": "mean_gradient", "sigma": 0.01},
    },
}  # fmt: skip
OPTIONS = Options(
    budgets=(0.2, 0.5), strengths=(0.4, 0.8), calibration_sets=5, calibration_oracles=4, calibrated=1, measured_sets=3,
    matched_sets=2, oracles=2, companions=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def world() -> World:
    return open_world("digits", WorldConfig.model_validate(CONFIG), 3)


@pytest.fixture(scope="module")
def runs(world: World, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    originals = train_originals(world, Work(tmp_path_factory.mktemp("work"), "adaptive", {}), 2)
    rows = draw_sets(world, mean_rank(originals), 6, 5, 3, 2).rows
    return Runs(world, [own.trajectory for own in originals], rows)


def test_sets_of_every_difficulty_share_no_record(world: World) -> None:
    difficulty = np.random.default_rng(0).permutation(len(world.train)).astype(float)
    sets = draw_sets(world, difficulty, 6, 12, 8, 3)
    assert [len(kind) for kind in (sets.calibration, sets.measured, sets.matched)] == [12, 8, 3]
    drawn = np.concatenate([sets.rows[k] for k in (*sets.calibration, *sets.measured)])
    assert len(np.unique(drawn)) == len(drawn) == 20 * 6
    for kind in (sets.calibration, sets.measured):
        means = [difficulty[sets.rows[k]].mean() for k in kind]
        assert means == sorted(means)
    for k, null in zip(list(sets.measured)[-3:], sets.matched, strict=True):
        assert not set(sets.rows[k]) & set(sets.rows[null])
        assert sorted(world.train.targets[sets.rows[k]]) == sorted(world.train.targets[sets.rows[null]])


def test_more_records_than_there_are_is_an_error(world: World) -> None:
    with pytest.raises(UsageError, match="12 and 16 sets of 6 records"):
        draw_sets(world, np.arange(160.0), 6, 12, 16, 1)
    with pytest.raises(UsageError, match="9 sets cannot be matched to 8"):
        draw_sets(world, np.arange(160.0), 6, 12, 8, 9)


def test_ways_cost_what_a_budget_allows(runs: Runs) -> None:
    budgets, ways = budgets_and_ways(runs.trajectories[0], runs.procedure, OPTIONS, 6)
    for name, spent in budgets.items():
        assert abs(spent - name) < 0.15
        same = [way for way in ways.ways if abs(ways.cost(way) - spent) < 1e-9 and way.method == "unrolled_rewind"]
        assert [way.strength for way in same] == [0.4, 0.8]
        tuned = [ways.cost(way) for way in ways.ways if way.method == "fine_tune"]
        assert min(spent - cost for cost in tuned if cost <= spent + 1e-9) < 1 / 40


@pytest.mark.parametrize(
    "way",
    [Way("rewind", 20), Way("unrolled_rewind", 20, 0.7), Way("fine_tune", 7), RETRAIN, KEEP],
    ids=lambda w: w.method,
)
def test_a_stack_of_runs_is_what_one_run_gives(runs: Runs, way: Way, tmp_path: Path) -> None:
    """Beside other tasks, in any order, with its own set and seed."""
    tasks = [(1, Way("unrolled_rewind", 20, 0.2)), (6, way), (2, KEEP), (2, Way("rewind", 20)), (6, way)]
    found = runs.forgotten(1, tasks, lambda task: f"run {task[0]}")
    np.testing.assert_array_equal(found[1], found[4])
    world, trajectory, rows = runs.world, runs.trajectories[1], runs.sets[6]
    step = {"rewind": 20, "unrolled_rewind": 20, "fine_tune": 40, "retrain": 0, "keep": 40}[way.method]
    alone = apply(
        method_of(way.method, way.strength), trajectory, world.records(runs.retain[6]), way.amount,
        world.seed_of("run 6", step), tmp_path, {}, forget=world.records(rows),
    )  # fmt: skip
    state = alone.state(alone.final).model_state()
    logits = predict(world.spec, state, world.train)
    np.testing.assert_allclose(found[1, :-1], phi(logits, world.train.targets)[rows], atol=2e-3)
    right = predict(world.spec, state, world.held_out).argmax(axis=1) == world.held_out.targets
    assert found[1, -1] == pytest.approx(right.mean(), abs=0.02)


def test_runs_of_one_set_draw_the_same_batches(runs: Runs) -> None:
    """Ways are compared on common random numbers: with hardly any push taken back a rewind is the plain one."""
    tasks = [(3, Way("rewind", 20)), (3, Way("unrolled_rewind", 20, 1e-6))]
    plain, unrolled = runs.forgotten(0, tasks, lambda task: f"run {task[0]}")
    np.testing.assert_allclose(plain, unrolled, atol=1e-3)
