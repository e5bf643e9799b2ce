"""Train what the comparison of unlearning methods needs: originals with their scores, oracles, every method's runs.

Per data set: 5 originals on the same records, with trajectories on disk and privacy losses; forget sets of every
difficulty, random ones and the hardest; oracles per set, shared by all originals and methods; and each method's phi on
its own forget set, by cost. Calibration sets and measured sets are two draws of one sampler, disjoint within each.
Oracles, rewinds and plans are run as `expunge reproduce adaptive` runs them, tuning and published methods here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evidence_worlds import World
from numpy.typing import NDArray

from expunge.data import RecordTable
from expunge.models import build_model
from expunge.privacy.scores import PrivacyLosses
from expunge.privacy.trajectory_scores import score_trajectory, trajectory_losses
from expunge.reproduction.adaptive.planner import points_at, rewinds_to
from expunge.reproduction.adaptive.runs import Runs
from expunge.reproduction.adaptive.sets import strata
from expunge.reproduction.config import DataChoice, ModelChoice, WorldConfig
from expunge.reproduction.world import World as Records
from expunge.training import StackedJob, Trajectory, predict, train, train_stacked
from expunge.training.randomness import derived_seed
from expunge.training.state import TrainingState
from expunge.training.trainer import train_step
from expunge.unlearning.methods import METHODS, Continuation, Given, Method
from expunge.unlearning.pilots import Way

Rows = NDArray[np.int64]
Array = NDArray[np.float64]
Part = dict[str, NDArray[Any]]
COSTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8)
DEAREST_UNROLLED = 0.5
STRENGTHS = (0.3, 0.6, 0.9)
# They train one by one. On the largest data set they are run at one cost, for time.
PUBLISHED_COSTS: dict[str, tuple[float, ...]] = {"fashion": (0.3,)}
EVERY_PUBLISHED_COST = (0.1, 0.3, 0.8)
PUBLISHED = ("l1_sparse", "neggrad_plus", "scrub")
# Calibration averages two originals inside a set; the planner then plans for all five.
ORIGINALS, CALIBRATED, ORACLES = 5, 2, 10
# Models on all records, beside the originals: a calibration takes its oracles of other sets for them.
TRAINED = 40
CALIBRATION_SETS, MEASURED_SETS, RANDOM_SETS, HARDEST_SETS = 60, 30, 6, 2
ORDER, FLOOR = 8, 1.0
# Records to train on and to hold out, records a forget set (1 to 1.5 %), steps and batch: from 24 to 41 epochs.
SIZES: dict[str, dict[str, int]] = {
    "digits": {"train": 1400, "held_out": 397, "set": 20, "steps": 600, "batch": 64},
    "fashion": {"train": 5000, "held_out": 1000, "set": 50, "steps": 1600, "batch": 128},
    "census": {"train": 3000, "held_out": 1000, "set": 30, "steps": 1200, "batch": 64},
    "fashion-cnn": {"train": 1000, "held_out": 700, "set": 15, "steps": 400, "batch": 64},
}


@dataclass(frozen=True)
class Setting:
    """One data set: its training and held-out records, the forget sets (rows of `train`), and the seed."""

    world: World
    table: RecordTable
    train: RecordTable
    held_out: RecordTable
    seed: int

    @property
    def both(self) -> RecordTable:
        return self.table.select((*self.train.record_ids, *self.held_out.record_ids))

    @property
    def records(self) -> Records:
        """The same as scenarios have it."""
        world = self.world
        config = WorldConfig(
            data=DataChoice(name=world.name, train=world.train, held_out=world.held_out),
            model=ModelChoice(name=world.model, options=world.options), training=world.config,
        )  # fmt: skip
        return Records(world.name, config, self.train, self.held_out, world.spec(self.table), self.seed)


def setting(world: World, cache: Path, seed: int) -> Setting:
    """A random split of the data set, of the sizes of this benchmark."""
    own = SIZES[world.name]
    world = replace(
        world, train=own["train"], held_out=own["held_out"], forget=own["set"], steps=own["steps"], batch=own["batch"]
    )
    table = world.load(cache)
    rows = np.random.default_rng(derived_seed(seed, world.name)).permutation(len(table))
    ids = [table.record_ids[row] for row in rows[: world.train + world.held_out]]
    return Setting(world, table, table.select(ids[: world.train]), table.select(ids[world.train :]), seed)


def originals(given: Setting, folder: Path) -> Iterator[tuple[Trajectory, PrivacyLosses]]:
    """Each with its trajectory below `folder` and the privacy losses of its records."""
    for k in range(ORIGINALS):
        config = given.world.config.model_copy(update={"seed": derived_seed(given.seed, "original", k)})
        trajectory = train(given.world.spec(given.table), given.train, config, folder / f"original-{k}")
        yield trajectory, trajectory_losses(score_trajectory(trajectory, given.train), trajectory, ORDER, FLOOR)


@dataclass(frozen=True)
class Sets:
    """Forget sets by record id, and which of them are of which kind (places in `ids`)."""

    ids: list[tuple[str, ...]]
    calibration: range
    measured: range
    random: range
    hardest: range

    @property
    def judged(self) -> range:
        """All but those that calibrate."""
        return range(self.measured.start, self.hardest.stop)


def forget_sets(losses: list[PrivacyLosses], size: int, seed: int, few: bool = False) -> Sets:
    """Two draws of sets of every difficulty by mean rank of the loss, random sets, and the hardest records.

    few: a check with a handful of sets and no calibration.
    """
    ids = losses[0].record_ids
    ranks = np.mean([np.argsort(np.argsort(own.select(ids).total)) for own in losses], axis=0)
    order = np.argsort(ranks, kind="stable")
    counts = (0, 3, 1, 2) if few else (CALIBRATION_SETS, MEASURED_SETS, RANDOM_SETS, HARDEST_SETS)
    drawn = [
        *strata(order, size, counts[0], derived_seed(seed, "calibration sets")),
        *strata(order, size, counts[1], derived_seed(seed, "measured sets")),
        *_cut(np.random.default_rng(derived_seed(seed, "random sets")).permutation(len(order)), size, counts[2]),
        *_cut(order[::-1], size, counts[3]),
    ]
    ends = np.cumsum([0, *counts])
    made = [tuple(ids[row] for row in sorted(rows)) for rows in drawn]
    return Sets(made, *(range(int(a), int(b)) for a, b in pairwise(ends)))


def _cut(rows: Rows, size: int, count: int) -> list[Rows]:
    """The first `count` times `size` of them, in sets."""
    return np.split(rows[: count * size], count)


class MethodRuns(Runs):
    """Everything trained for one data set: `Runs` of the scenario with this benchmark's sizes, and more methods."""

    def __init__(self, given: Setting, trajectories: list[Trajectory], sets: Sets) -> None:
        self.given, self.ids = given, sets.ids
        rows = [np.sort(given.train.rows(ids)) for ids in sets.ids]
        super().__init__(
            given.records, trajectories, rows, lambda purpose, step: derived_seed(given.seed, purpose, step)
        )

    def oracles(self) -> Part:
        """oracles [sets, ORACLES, m + 1]: retrained without the set."""
        return {"oracles": self.retrained("oracle", range(len(self.ids)), ORACLES)}

    def ways(self) -> list[Way]:
        """Every rewind and unrolled rewind."""
        total, points = self.procedure.config.steps, points_at(self.trajectories[0], COSTS)
        late = [point for point in points if total - point <= DEAREST_UNROLLED * total + 1]
        return rewinds_to(points, late, STRENGTHS)

    def rewinds(self, k: int, numbers: Sequence[int]) -> Part:
        """Original k forgets each set in all `ways`: models [ways, sets, m + 1]."""
        tasks = [(n, way) for way in self.ways() for n in numbers]
        made = self.forgotten(k, tasks, lambda task: f"{task[1].method} {task[1].strength} {k} {task[0]}")
        return {"models": made.reshape(-1, len(numbers), made.shape[-1])}

    def carried_out(self, k: int, plans: Mapping[int, Way]) -> Part:
        """Original k under the plan of each set, with runs of their own: models [sets, m + 1], the sets in order.

        Kept models are the original's; retrained ones and oracles share no seed.
        """
        return {"models": self.forgotten(k, list(plans.items()), lambda task: f"planned {k} {task[0]}")}

    def tuned(self, name: str, k: int, numbers: Sequence[int]) -> Part:
        """Original k fine-tuned (plain or with noise) at `cost` [P], one run looked at on its way."""
        total = self.procedure.config.steps
        made = METHODS[name].continuation(self.trajectories[k], round(max(COSTS) * total), self.given.seed)
        assert made.start is not None
        first, models = made.start[0], None
        jobs = [StackedJob(derived_seed(self.given.seed, f"{name} {k} {n}"), self.retain[n]) for n in numbers]
        steps, found = [round(cost * total) for cost in COSTS], []
        for before, taken in zip([0, *steps], steps, strict=False):
            models = train_stacked(
                self.procedure.spec, self.given.train, made.config, jobs, self.procedure.sampling_rate,
                start=made.start if models is None else (first + before, models), until=first + taken,
            )  # fmt: skip
            logits = models.logits(self.given.train), models.logits(self.given.held_out)
            found.append(np.stack([self.seen(*own, n) for n, *own in zip(numbers, *logits, strict=True)]))
        return {"cost": np.array(steps) / total, "models": np.stack(found)}

    def published(self, method: Method, k: int, numbers: Sequence[int], costs: tuple[float, ...]) -> Part:
        """Original k under a published method at `cost` [P], for some sets: models one after the other."""
        size = self.given.world.forget
        fixed = method.cost(self.procedure, 0, size)
        a_step = method.cost(self.procedure, 1, size) - fixed
        found = []
        for cost in costs:
            for number in numbers:
                seed = derived_seed(self.given.seed, f"{method.name} {k} {number}")
                steps = max(1, round((cost - fixed) / a_step))
                made = method.continuation(self.trajectories[k], steps, seed)
                state = self._descend(method, made, number)
                logits = (predict(self.procedure.spec, state, own) for own in (self.given.train, self.given.held_out))
                found.append(self.seen(*logits, number))
        return {"cost": np.array(costs), "models": np.stack(found).reshape(len(costs), len(numbers), -1)}

    def _descend(self, method: Method, made: Continuation, number: int) -> dict[str, torch.Tensor]:
        assert made.start is not None
        forget = self.given.train.select(self.ids[number])
        retain = self.given.train.without(self.ids[number])
        objective = method.objective(Given(self.procedure, made, retain, forget))
        model = build_model(self.procedure.spec, 0)
        state = TrainingState.from_tensors(made.start[1].tensors())
        x, y = torch.from_numpy(retain.features), torch.from_numpy(retain.targets)
        for step in range(made.start[0], made.config.steps):
            train_step(model, state, x, y, made.config, step, self.procedure.sampling_rate, objective)
        return state.model_state()


def workspace() -> tempfile.TemporaryDirectory[str]:
    """Where trajectories lie while they are needed."""
    return tempfile.TemporaryDirectory(prefix="expunge-pareto-")
