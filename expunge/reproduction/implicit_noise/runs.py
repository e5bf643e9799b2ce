"""How far does a run come from the plain one when only its arithmetic is another? Along the run, and in one step.

Both start from the same weights and see the same records in the same batches. The reference is an original's own
trajectory, which the trainer wrote with one thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expunge.models import build_model
from expunge.reproduction.implicit_noise.arithmetic import PLAIN, Arithmetic, plain
from expunge.reproduction.work import Part
from expunge.reproduction.world import World
from expunge.training import TrainingConfig, Trajectory
from expunge.training.randomness import derived_seed
from expunge.training.schedule import learning_rate
from expunge.training.state import TrainingState
from expunge.training.trainer import Objective, train_step

Array = NDArray[np.float64]


def flat(tensors: Mapping[str, Tensor]) -> Array:
    """All numbers side by side, by name, [P]."""
    return np.concatenate([tensors[name].detach().cpu().double().numpy().ravel() for name in sorted(tensors)])


def looks_of(trajectory: Trajectory) -> tuple[int, ...]:
    """Steps after which runs are compared: those of the checkpoints after the first, and the last."""
    return (*(c.step for c in trajectory.checkpoints if c.step > 0), trajectory.total_steps)


def reference_path(trajectory: Trajectory) -> Array:
    """The weights at the looks, [looks, P]."""
    return np.stack([flat(trajectory.state(trajectory.at(step)).params) for step in looks_of(trajectory)])


class Runner:
    """One arithmetic at work on one data set: the module and the records where and as it needs them."""

    def __init__(self, world: World, way: Arithmetic) -> None:
        self.world, self.way = world, way
        self._model = build_model(world.spec).to(way.device)
        x = torch.from_numpy(world.train.features).to(way.device)
        self._x = x.to(way.dtype) if x.is_floating_point() else x
        self._y = torch.from_numpy(world.train.targets).to(way.device)

    def path(self, config: TrainingConfig, looks: Sequence[int], start_seed: int | None = None) -> Array:
        """The weights at the looks of a whole run, [looks, P].

        Args:
            config: its seed draws the batches. start_seed: of the initial weights; default: the same.
        """
        seed = config.seed if start_seed is None else start_seed
        start = TrainingState.of(build_model(self.world.spec, derived_seed(seed, "init")))
        state = self.cast(_cast(start, self.way.grid, "cpu"))
        kept = []
        for step in range(config.steps):
            self._step(state, config, step, self.way.gradient)
            if step + 1 in looks:
                kept.append(flat(state.params))
        return np.stack(kept)

    def one_step(self, config: TrainingConfig, start: TrainingState, step: int) -> tuple[Array, Array]:
        """(weights after the step, SUM of the batch's gradients), each [P], from these weights."""
        state = self.cast(start)
        seen: list[Array] = []

        def gradient(model, state, x, y, rows, step):  # type: ignore[no-untyped-def]
            sums, loss = self.way.gradient(model, state, x, y, rows, step)
            seen.append(flat(sums))
            return sums, loss

        self._step(state, config, step, gradient)
        after = flat(state.params)
        return after, seen[0] if seen else np.zeros_like(after)

    def cast(self, state: TrainingState) -> TrainingState:
        """A copy in the format in which they are computed with, on the device."""
        return _cast(state, self.way.dtype, self.way.device)

    def _step(self, state: TrainingState, config: TrainingConfig, step: int, gradient: Objective) -> None:
        with self.way.setting():
            train_step(self._model, state, self._x, self._y, config, step, self.world.sampling_rate, gradient)
            if self.way.store is not None:
                self.way.store(state, step)


@dataclass(frozen=True, eq=False)
class Steps:
    """One step from every checkpoint's weights: the new weights and the SUM of the batch's gradients, [c, P] each."""

    weights: Array
    sums: Array


def steps(trajectory: Trajectory, runner: Runner, grid: torch.dtype) -> Steps:
    """From the checkpoints' weights, rounded to this format first."""
    found = [
        runner.one_step(trajectory.config, _cast(trajectory.state(at), grid, "cpu"), at.step)
        for at in trajectory.checkpoints
    ]
    return Steps(np.stack([weights for weights, _ in found]), np.stack([sums for _, sums in found]))


def plain_steps(world: World, trajectory: Trajectory) -> Steps:
    """`steps` of the plain way."""
    return steps(trajectory, Runner(world, Arithmetic(PLAIN, "repeat", plain)), torch.float32)


def measure_ways(
    world: World,
    trajectory: Trajectory,
    ways: Mapping[str, Arithmetic],
    wanted: Sequence[str],
    plain_from_here: Steps | None = None,
) -> Part:
    """Each of the `wanted` ways against what it is to be compared with.

    Args:
        plain_from_here: `plain_steps` of the process whose trajectory it is; default: of this one.

    Returns names [w]; divergence [w, looks], root mean square over coordinates of the difference in weights; same [w]:
    whether the weights are equal, bit for bit, at every look. Of one step from each checkpoint's weights, root mean
    square over coordinates: weights [w, c], what changed in the new weights as a change of the sum of gradients that
    would have made it (b/eta times); sums [w, c], what changed in the sum of gradients itself.
    """
    looks, config = looks_of(trajectory), trajectory.config
    runners = {name: Runner(world, ways[name]) for name in {PLAIN, *wanted, *(ways[name].against for name in wanted)}}
    paths = {PLAIN: reference_path(trajectory)}
    known = {} if plain_from_here is None else {(PLAIN, torch.float32): plain_from_here}
    to_sum = np.array([config.batch_size / learning_rate(config, at.step) for at in trajectory.checkpoints])
    divergence, on_weights, on_sums = [], [], []
    for name in wanted:
        way, against = ways[name], ways[name].against
        for needed in {against, name} - paths.keys():
            paths[needed] = runners[needed].path(config, looks)
        for key in ((against, way.grid), (name, way.grid)):
            if key not in known:
                known[key] = steps(trajectory, runners[key[0]], key[1])
        own, base = known[name, way.grid], known[against, way.grid]
        divergence.append(_root_mean_square(paths[name] - paths[against]))
        on_weights.append(to_sum * _root_mean_square(own.weights - base.weights))
        on_sums.append(_root_mean_square(own.sums - base.sums))
    return {
        "names": np.array(list(wanted)), "divergence": np.array(divergence), "weights": np.array(on_weights),
        "sums": np.array(on_sums), "same": np.array([not each.any() for each in divergence]),
    }  # fmt: skip


def measure_seeds(world: World, trajectory: Trajectory, other_seed: int) -> Part:
    """The spread of plain SGD itself: divergence [2, looks] of runs with other batches, and with another start too."""
    looks = looks_of(trajectory)
    runner = Runner(world, Arithmetic(PLAIN, "repeat", plain))
    other = trajectory.config.model_copy(update={"seed": other_seed})
    runs = [runner.path(other, looks, start_seed=trajectory.config.seed), runner.path(other, looks)]
    return {"divergence": np.array([_root_mean_square(run - reference_path(trajectory)) for run in runs])}


def _cast(state: TrainingState, dtype: torch.dtype, device: str) -> TrainingState:
    """A copy in that format; integers stay."""
    return TrainingState.from_tensors(
        {name: (t.to(dtype) if t.is_floating_point() else t).to(device) for name, t in state.tensors().items()}
    )


def _root_mean_square(differences: Array) -> Array:
    """Over the last axis."""
    result: Array = np.sqrt((differences**2).mean(axis=-1))
    return result
