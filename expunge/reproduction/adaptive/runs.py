"""What do the models make of the forget sets? Oracles, retrained ones, and an original after any way of forgetting.

What is kept of a model is its phi on its own forget set, then its held-out accuracy: float64 [m + 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.confidence import phi
from expunge.reproduction.world import Rows, World
from expunge.training import StackedJob, StackedModels, Trajectory, predict, train_stacked
from expunge.training.stacked import stacked_states
from expunge.training.state import TrainingState
from expunge.unlearning.methods import METHODS, Continuation, Procedure
from expunge.unlearning.pilots import Way
from expunge.unlearning.unrolling import Tensors, pushed, without

Array = NDArray[np.float64]
# (which forget set, by which way)
Task = tuple[int, Way]


class Runs:
    """Trains what is asked for, for originals and forget sets that are named by their number.

    Args:
        trajectories: of the originals. sets: rows of `world.train`. seed_of: (purpose, step) -> seed; default the
            world's.
    """

    def __init__(
        self,
        world: World,
        trajectories: Sequence[Trajectory],
        sets: Sequence[Rows],
        seed_of: Callable[[str, int], int] | None = None,
    ) -> None:
        self.world, self.trajectories, self.sets = world, list(trajectories), list(sets)
        self.seed_of = seed_of or world.seed_of
        self.procedure = Procedure.of(self.trajectories[0], world.device)
        self.retain = [world.retain(rows) for rows in self.sets]

    def seen(self, on_train: NDArray[Any], on_held_out: NDArray[Any], number: int) -> Array:
        """[..., m + 1] from logits [..., n, classes] of the training and of the held-out records."""
        rows = self.sets[number]
        own = phi(on_train[..., rows, :], self.world.train.targets[rows])
        right = on_held_out.argmax(axis=-1) == self.world.held_out.targets
        return np.concatenate([own, right.mean(axis=-1)[..., None]], axis=-1)

    def originals(self) -> Array:
        """Every original on every set, [sets, originals, m + 1]."""
        made = [self._logits_of(trajectory) for trajectory in self.trajectories]
        on_train, on_held_out = (np.stack(parts) for parts in zip(*made, strict=True))
        return np.stack([self.seen(on_train, on_held_out, number) for number in range(len(self.sets))])

    def also_trained(self, purpose: str, count: int) -> Array:
        """Further models on all records, on every set: [sets, count, m + 1]."""
        everyone = np.arange(len(self.world.train))
        jobs = [StackedJob(self.seed_of(purpose, i), everyone) for i in range(count)]
        logits = self._trained(self.procedure.config, jobs)
        return np.stack([self.seen(*logits, number) for number in range(len(self.sets))])

    def retrained(self, purpose: str, numbers: Sequence[int], count: int) -> Array:
        """`count` models retrained without each set, [numbers, count, m + 1]; `purpose` names their seeds."""
        jobs = [
            StackedJob(self.seed_of(f"{purpose} {number}", i), self.retain[number])
            for number in numbers
            for i in range(count)
        ]
        on_train, on_held_out = self._trained(self.procedure.config, jobs)
        parts = zip(numbers, np.split(on_train, len(numbers)), np.split(on_held_out, len(numbers)), strict=True)
        return np.stack([self.seen(own, unseen, number) for number, own, unseen in parts])

    def forgotten(self, k: int, tasks: Sequence[Task], purpose: Callable[[Task], str]) -> Array:
        """Original k after each task, [tasks, m + 1].

        Args:
            tasks: ways to keep, retrain, rewind (unrolled or not) or fine-tune. purpose: names the seed of a run; tasks
                of the same name that go on from the same step draw the same batches.
        """
        trajectory = self.trajectories[k]
        pushes = self._pushes(trajectory, tasks)
        kept = self._logits_of(trajectory)
        found = {task: self.seen(*kept, task[0]) for task in tasks if task[1].method == "keep"}
        groups: dict[tuple[str, int], list[Task]] = {}
        for task in dict.fromkeys(tasks):
            if task not in found:
                # Plain and unrolled rewinds to a checkpoint go on from it alike.
                kind = "rewind" if task[1].goes_back else task[1].method
                groups.setdefault((kind, task[1].amount), []).append(task)
        for (method, amount), own in groups.items():
            made = METHODS[method].continuation(trajectory, amount, 0)
            step = made.start[0] if made.start else 0
            jobs = [StackedJob(self.seed_of(purpose(task), step), self.retain[task[0]]) for task in own]
            logits = self._trained(made.config, jobs, self._starts(made, own, pushes))
            for place, task in enumerate(own):
                found[task] = self.seen(logits[0][place], logits[1][place], task[0])
        return np.stack([found[task] for task in tasks])

    def _pushes(self, trajectory: Trajectory, tasks: Sequence[Task]) -> dict[int, dict[int, Tensors]]:
        """What each set moved before each step that one of its tasks takes it back to."""
        points: dict[int, set[int]] = {}
        for number, way in tasks:
            if way.strength is not None:
                points.setdefault(number, set()).add(way.amount)
        return {
            number: pushed(trajectory, self.world.records(self.sets[number]), sorted(own), self.procedure.device)
            for number, own in points.items()
        }

    def _starts(
        self, made: Continuation, tasks: Sequence[Task], pushes: dict[int, dict[int, Tensors]]
    ) -> tuple[int, TrainingState] | tuple[int, StackedModels] | None:
        if made.start is None:
            return None
        step, state = made.start
        if all(way.strength is None for _, way in tasks):
            return made.start
        states = [
            state if way.strength is None else without(state, pushes[number][way.amount], way.strength)
            for number, way in tasks
        ]
        return step, stacked_states(self.procedure.spec, states)

    def _trained(self, config: Any, jobs: list[StackedJob], start: Any = None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Logits of the training and of the held-out records, [jobs, n, classes]."""
        made = train_stacked(
            self.procedure.spec, self.world.train, config, jobs, self.procedure.sampling_rate, start=start,
            device=self.procedure.device,
        )  # fmt: skip
        return made.logits(self.world.train), made.logits(self.world.held_out)

    def _logits_of(self, trajectory: Trajectory) -> tuple[NDArray[Any], NDArray[Any]]:
        state, device = trajectory.state(trajectory.final).model_state(), self.procedure.device
        return (
            predict(self.procedure.spec, state, self.world.train, device),
            predict(self.procedure.spec, state, self.world.held_out, device),
        )
