"""Does the conversion from distance to noise give back what was put in?"""

from pathlib import Path

import numpy as np
import pytest

from expunge.reproduction.config import WorldConfig
from expunge.reproduction.implicit_noise.arithmetic import threads
from expunge.reproduction.implicit_noise.calibration import (
    converted,
    equivalent,
    excess_over_proportion,
    growth,
    inject,
)
from expunge.reproduction.world import World, open_world
from expunge.training import Trajectory, train

SCALES = np.array([1e-6, 1e-4, 1e-2])
LOOKS = np.array([1.0, 10.0, 100.0])
CURVE = SCALES[:, None] * np.sqrt(LOOKS)


def test_a_run_in_proportion_is_recovered_exactly() -> None:
    assert equivalent(3e-5 * np.sqrt(LOOKS), SCALES, CURVE) == pytest.approx(np.log10(3e-5))


def test_below_the_smallest_size_it_goes_on_in_proportion_and_above_the_largest_it_stops() -> None:
    assert equivalent(2e-9 * np.sqrt(LOOKS), SCALES, CURVE) == pytest.approx(np.log10(2e-9))
    assert equivalent(5.0 * np.sqrt(LOOKS), SCALES, CURVE) == pytest.approx(-2.0)


def test_no_difference_is_no_noise() -> None:
    assert equivalent(np.zeros(3), SCALES, CURVE) == -np.inf


def test_looks_where_all_noise_parts_runs_equally_far_say_nothing() -> None:
    curve = CURVE.copy()
    curve[:, 1:] = 1.0  # after the first look every run is as far as it gets
    found, weight = converted(np.array([3e-5, 1.0, 1.0]), SCALES, curve)
    assert weight.tolist() == pytest.approx([1.0, 0.0, 0.0])
    assert found[0] == pytest.approx(np.log10(3e-5))
    assert equivalent(np.array([3e-5, 1.0, 1.0]), SCALES, curve) == pytest.approx(np.log10(3e-5))


def test_growth_and_excess_of_made_up_runs() -> None:
    assert growth(1e-9 * np.exp(0.05 * LOOKS), LOOKS) == pytest.approx(0.05)
    assert growth(np.full(3, 1e-9), LOOKS) == pytest.approx(0.0, abs=1e-12)
    assert excess_over_proportion(SCALES, 7 * SCALES) == pytest.approx(0.0)
    assert excess_over_proportion(SCALES, SCALES * [1, 1000, 10]) == pytest.approx(3.0)
    assert excess_over_proportion(SCALES, SCALES * [1, 0.1, 0.01]) == 0.0


@pytest.fixture(scope="module")
def world() -> World:
    raw = {
        "data": {"name": "digits", "train": 200, "held_out": 100},
        "model": {"name": "mlp", "options": {"hidden": [16]}},
        "training": {
            "steps": 20, "batch_size": 32, "learning_rate": 0.5, "checkpoints": 20,
            "noise": {"convention": "implicit"},
        },
    }  # fmt: skip
    return open_world("digits", WorldConfig.model_validate(raw), 0)


@pytest.fixture(scope="module")
def trajectory(world: World, tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    with threads(1):
        return train(world.spec, world.train, world.training, tmp_path_factory.mktemp("trajectory"))


def test_injected_noise_has_its_size_after_the_first_step_and_is_scaled_exactly(
    world: World, trajectory: Trajectory
) -> None:
    found = inject(world, trajectory, [0.0, 1e-9, 2e-9, 1e-9], [1, 1, 1, 2])
    assert not found.divergence[0].any()
    first = found.divergence[:, 0] * 32 / 0.5  # back to the sum of gradients
    assert first[1] == pytest.approx(1e-9, rel=0.08)  # 1,210 weights: two standard errors are 4 %
    assert found.divergence[2] == pytest.approx(2 * found.divergence[1], rel=1e-4)
    assert found.divergence[3, -1] != found.divergence[1, -1]  # another draw
    assert found.accuracy[0] == found.noiseless > 0.3


def test_a_kick_is_one_steps_noise(world: World, trajectory: Trajectory) -> None:
    kick = inject(world, trajectory, [1e-9], [1], kick=True)
    always = inject(world, trajectory, [1e-9], [1])
    assert kick.divergence[0, 0] == always.divergence[0, 0]
    assert kick.divergence[0, -1] < always.divergence[0, -1]


def test_without_kinks_runs_part_in_proportion(world: World, trajectory: Trajectory) -> None:
    sizes = [1e-9, 1e-6, 1e-3]
    found = inject(world, trajectory, sizes, [1, 1, 1], smooth=True)
    assert excess_over_proportion(np.array(sizes), found.divergence[:, -1]) < 0.05


def test_a_float32_run_with_known_noise_is_recovered(world: World, trajectory: Trajectory, tmp_path: Path) -> None:
    from expunge.reproduction.implicit_noise.arithmetic import arithmetics, known_name
    from expunge.reproduction.implicit_noise.runs import measure_ways

    with threads(1):
        run = measure_ways(world, trajectory, arithmetics(False, 5, known=[2e-2]), [known_name(2e-2)])
    scales = np.array([1e-4, 1e-3, 1e-2, 1e-1])
    curve = inject(world, trajectory, np.repeat(scales, 3).tolist(), [1, 2, 3] * 4).divergence
    curve = np.exp(np.log(curve).reshape(4, 3, -1).mean(axis=1))
    assert equivalent(run["divergence"][0], scales, curve) == pytest.approx(np.log10(2e-2), abs=0.3)
