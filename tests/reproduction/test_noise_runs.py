"""Do runs that should be equal come out equal, and does a known difference come out as what it is?"""

from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.errors import ExpungeError
from expunge.reproduction.config import WorldConfig
from expunge.reproduction.implicit_noise.arithmetic import PLAIN, Arithmetic, arithmetics, known_name, plain, threads
from expunge.reproduction.implicit_noise.process import Asked, measure_elsewhere, of_place
from expunge.reproduction.implicit_noise.runs import (
    Runner,
    looks_of,
    measure_seeds,
    measure_ways,
    reference_path,
    steps,
)
from expunge.reproduction.work import Part
from expunge.reproduction.world import World, open_world
from expunge.training import Trajectory, train
from expunge.training.sampler import batch_rows

S = 1e-2


def _world(model: str = "mlp") -> World:
    options = {"hidden": [16]} if model == "mlp" else {"width": 4}
    raw = {
        "data": {"name": "digits", "train": 200, "held_out": 100},
        "model": {"name": model, "options": options},
        "training": {
            "steps": 20, "batch_size": 32, "learning_rate": 0.5, "checkpoints": 6, "seed": 3,
            "noise": {"convention": "implicit"},
        },
    }  # fmt: skip
    return open_world("digits", WorldConfig.model_validate(raw), 0)


@pytest.fixture(scope="module")
def world() -> World:
    return _world()


@pytest.fixture(scope="module")
def trajectory(world: World, tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    with threads(1):
        return train(world.spec, world.train, world.training, tmp_path_factory.mktemp("trajectory"))


@pytest.fixture(scope="module")
def measured(world: World, trajectory: Trajectory) -> Part:
    ways = arithmetics(False, 7, known=[S], left_out={"without record 1": 5})
    wanted = [name for name, way in ways.items() if way.environment is None and name != PLAIN]
    with threads(1):
        return measure_ways(world, trajectory, ways, wanted)


def _of(part: Part, name: str, what: str) -> np.ndarray:
    return part[what][part["names"].tolist().index(name)]


def test_the_plain_way_is_the_trainers_bit_for_bit(world: World, trajectory: Trajectory) -> None:
    looks = looks_of(trajectory)
    assert looks[-1] == 20 and 0 not in looks
    with threads(1):
        path = Runner(world, Arithmetic(PLAIN, "repeat", plain)).path(trajectory.config, looks)
    assert (path == reference_path(trajectory)).all()


def test_the_same_settings_again_differ_in_nothing(measured: Part) -> None:
    assert _of(measured, "same again", "same")
    assert not _of(measured, "same again", "divergence").any()
    assert not _of(measured, "same again", "weights").any()


def test_known_noise_is_seen_at_its_size_in_one_step(measured: Part) -> None:
    assert not _of(measured, known_name(S), "same")
    for what in ("weights", "sums"):  # 1,210 weights: two standard errors of a root mean square are 4 %
        assert _of(measured, known_name(S), what) == pytest.approx(S, rel=0.08)


def test_coarser_formats_err_more(measured: Part) -> None:
    sizes = {name: float(_of(measured, name, "sums").mean()) for name in ("backwards", "float64", "bfloat16 autocast")}
    assert 0 < sizes["backwards"] < 1e-2 * sizes["bfloat16 autocast"]
    assert 0 < sizes["float64"] < 1e-2 * sizes["bfloat16 autocast"]
    assert not _of(measured, "bfloat16 by coin", "sums").any()  # it computes the gradient in float32


def test_a_left_out_record_is_missed_where_it_was_drawn_and_nowhere_else(
    world: World, trajectory: Trajectory, measured: Part
) -> None:
    config = trajectory.config
    drawn = [
        5 in batch_rows(config, config.seed, at.step, len(world.train), world.sampling_rate).tolist()
        for at in trajectory.checkpoints
    ]
    assert (_of(measured, "without record 1", "sums") > 0).tolist() == drawn
    assert any(drawn) and not all(drawn)


def test_other_batches_part_runs_less_than_another_start(world: World, trajectory: Trajectory) -> None:
    with threads(1):
        batches, start = measure_seeds(world, trajectory, 99)["divergence"]
    assert 0 < batches[-1] < start[-1]


def test_a_new_process_gives_the_same_bits_and_is_compared_with_this_one(
    world: World, trajectory: Trajectory, tmp_path: Path
) -> None:
    part = of_place(
        measure_elsewhere([Asked(world, (trajectory,), ("same, new process", "backwards"), False)], {}, tmp_path), 0
    )
    here = arithmetics(False, 0)
    with threads(1):
        same = measure_ways(world, trajectory, here, ["backwards"])
    assert part["same"].tolist() == [[True, False]]
    assert not part["weights"][0, 0].any()
    assert (part["divergence"][0, 1] == same["divergence"][0]).all()
    assert (part["weights"][0, 1] == same["weights"][0]).all()


def test_a_process_that_fails_is_an_error(
    world: World, trajectory: Trajectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ExpungeError, match="failed: it said nothing"):
        measure_elsewhere([Asked(world, (trajectory,), ("same, new process",), False)], {}, tmp_path)


def test_convolutions_too(tmp_path: Path) -> None:
    world = _world("small_cnn")
    with threads(1):
        trajectory = train(world.spec, world.train, world.training, tmp_path)
        part = measure_ways(world, trajectory, arithmetics(True, 0), ["same again", "stacked", "channels last"])
    assert part["same"][0]
    assert (part["divergence"][:, -1] < 1e-4).all()  # right up to rounding


def test_weights_of_a_coarse_format_start_on_its_grid(world: World, trajectory: Trajectory) -> None:
    way = arithmetics(False, 0)["bfloat16 throughout"]
    with threads(1):
        found = steps(trajectory, Runner(world, way), way.grid)
    again = torch.from_numpy(found.weights).to(torch.bfloat16).double().numpy()
    assert (again == found.weights).all()
