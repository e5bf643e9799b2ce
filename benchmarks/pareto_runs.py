"""Train what the comparison of unlearning methods needs: originals with their scores, oracles, every method's runs.

Per data set: 5 originals on the same records, with trajectories on disk and privacy losses; disjoint forget sets of
every difficulty; oracles per set, shared by all originals and methods; and each method's phi on its own forget set and
on held-out records, by cost. Sets of the first half fit the planner, those of the second half are measured.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evidence_worlds import World
from numpy.typing import NDArray

from expunge.data import RecordTable
from expunge.evaluation.confidence import phi
from expunge.models import build_model
from expunge.privacy.scores import PrivacyLosses
from expunge.privacy.trajectory_scores import score_trajectory, trajectory_losses
from expunge.training import StackedJob, StackedModels, Trajectory, predict, train, train_stacked
from expunge.training.randomness import derived_seed
from expunge.training.state import TrainingState
from expunge.training.trainer import train_step
from expunge.unlearning.methods import METHODS, Continuation, Given, Method, Procedure

Rows = NDArray[np.int64]
Array = NDArray[np.float64]
Part = dict[str, NDArray[Any]]
COSTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8)
PUBLISHED_COSTS = (0.1, 0.3, 0.8)
PUBLISHED = ("l1_sparse", "neggrad_plus", "scrub")
ORIGINALS, ORACLES, SET_SIZE = 5, 10, 40
ORDER, FLOOR = 8, 1.0


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


def setting(world: World, cache: Path, seed: int, train_records: int = 1200) -> Setting:
    """A random split: 1,200 records to train on make 30 disjoint sets of 40."""
    table = world.load(cache)
    world = replace(world, train=train_records)
    rows = np.random.default_rng(derived_seed(seed, world.name)).permutation(len(table))
    ids = [table.record_ids[row] for row in rows[: train_records + world.held_out]]
    return Setting(world, table, table.select(ids[:train_records]), table.select(ids[train_records:]), seed)


def originals(given: Setting, folder: Path) -> Iterator[tuple[Trajectory, PrivacyLosses]]:
    """Each with its trajectory below `folder` and the privacy losses of its records."""
    for k in range(ORIGINALS):
        config = given.world.config.model_copy(update={"seed": derived_seed(given.seed, "original", k)})
        trajectory = train(given.world.spec(given.table), given.train, config, folder / f"original-{k}")
        yield trajectory, trajectory_losses(score_trajectory(trajectory, given.train), trajectory, ORDER, FLOOR)


def forget_sets(losses: list[PrivacyLosses], seed: int) -> list[tuple[str, ...]]:
    """Disjoint sets of 40 from every stratum of three sets by mean rank of the loss, easiest first."""
    ids = losses[0].record_ids
    ranks = np.mean([np.argsort(np.argsort(own.select(ids).total)) for own in losses], axis=0)
    order = np.argsort(ranks, kind="stable")
    rng = np.random.default_rng(derived_seed(seed, "sets"))
    made = []
    for stratum in np.array_split(order, max(1, len(order) // (3 * SET_SIZE))):
        mixed = rng.permutation(stratum)
        made += [mixed[k : k + SET_SIZE] for k in range(0, len(mixed) - SET_SIZE + 1, SET_SIZE)]
    return [tuple(ids[row] for row in sorted(rows)) for rows in made]


class Runs:
    """Everything trained for one data set. What is kept of a model: phi on its forget set, then held-out accuracy."""

    def __init__(self, given: Setting, trajectories: list[Trajectory], sets: list[tuple[str, ...]]) -> None:
        self.given, self.trajectories, self.sets = given, trajectories, sets
        self.table = given.both
        self.procedure = Procedure.of(trajectories[0])
        self.retain = [np.setdiff1d(self.table.rows(given.train.record_ids), self.table.rows(ids)) for ids in sets]

    def seen(self, logits: NDArray[Any], number: int) -> Array:
        """float64 [..., m + 1] from logits [..., n, K]."""
        rows = self.table.rows(self.sets[number])
        own = phi(logits[..., rows, :], self.table.targets[rows])
        unseen = self.table.rows(self.given.held_out.record_ids)
        right = logits[..., unseen, :].argmax(axis=-1) == self.table.targets[unseen]
        return np.concatenate([own, right.mean(axis=-1)[..., None]], axis=-1)

    def of_originals(self) -> Part:
        """originals [sets, ORIGINALS, m + 1]."""
        states = [t.state(t.final).model_state() for t in self.trajectories]
        logits = np.stack([predict(self.procedure.spec, state, self.table) for state in states])
        return {"originals": np.stack([self.seen(logits, number) for number in range(len(self.sets))])}

    def retrained(self) -> Part:
        """oracles [sets, ORACLES, m + 1], and what a plan to retrain leaves: retrained [sets, ORIGINALS, m + 1]."""
        jobs = [
            StackedJob(derived_seed(self.given.seed, f"oracle {number}", i), rows)
            for number, rows in enumerate(self.retain)
            for i in range(ORACLES + ORIGINALS)
        ]
        made = self._stacked(self.procedure.config, jobs)
        found = np.stack([self.seen(own, number) for number, own in enumerate(np.split(made, len(self.sets)))])
        return {"oracles": found[:, :ORACLES], "retrained": found[:, ORACLES:]}

    def rewinds(self, k: int) -> Part:
        """Original k rewound to `points` [P] at `cost` [P]: models [P, sets, m + 1]."""
        trajectory, total = self.trajectories[k], self.procedure.config.steps
        kept = [c for c in trajectory.kept if 0 < c.step < total]
        points = sorted({min(kept, key=lambda c: abs(total - c.step - cost * total)).step for cost in COSTS})
        found = []
        for point in points:
            made = METHODS["rewind"].continuation(trajectory, point, self.given.seed)
            found.append(self._by_set(self._stacked(made.config, self._jobs("rewind", k, point), made.start)))
        return {"points": np.array(points), "cost": 1 - np.array(points) / total, "models": np.stack(found)}

    def tuned(self, name: str, k: int) -> Part:
        """Original k fine-tuned (plain or with noise) at `cost` [P], one run looked at on its way."""
        total = self.procedure.config.steps
        made = METHODS[name].continuation(self.trajectories[k], round(max(COSTS) * total), self.given.seed)
        assert made.start is not None
        first, jobs, models = made.start[0], self._jobs(name, k), None
        steps, found = [round(cost * total) for cost in COSTS], []
        for before, taken in zip([0, *steps], steps, strict=False):
            models = train_stacked(
                self.procedure.spec, self.table, made.config, jobs, self.procedure.sampling_rate,
                start=made.start if models is None else (first + before, models), until=first + taken,
            )  # fmt: skip
            found.append(self._by_set(models.logits(self.table)))
        return {"cost": np.array(steps) / total, "models": np.stack(found)}

    def published(self, method: Method, k: int, numbers: Sequence[int], costs: tuple[float, ...]) -> Part:
        """Original k under a published method at `cost` [P], for some sets: models one after the other."""
        fixed = method.cost(self.procedure, 0, SET_SIZE)
        a_step = method.cost(self.procedure, 1, SET_SIZE) - fixed
        found = []
        for cost in costs:
            for number in numbers:
                seed = derived_seed(self.given.seed, f"{method.name} {k} {number}")
                steps = max(1, round((cost - fixed) / a_step))
                made = method.continuation(self.trajectories[k], steps, seed)
                logits = predict(self.procedure.spec, self._descend(method, made, number), self.table)
                found.append(self.seen(logits, number))
        return {"cost": np.array(costs), "models": np.stack(found).reshape(len(costs), len(numbers), -1)}

    def _descend(self, method: Method, made: Continuation, number: int) -> dict[str, torch.Tensor]:
        assert made.start is not None
        forget = self.table.select(self.sets[number])
        retain = self.given.train.without(self.sets[number])
        objective = method.objective(Given(self.procedure, made, retain, forget))
        model = build_model(self.procedure.spec, 0)
        state = TrainingState.from_tensors(made.start[1].tensors())
        x, y = torch.from_numpy(retain.features), torch.from_numpy(retain.targets)
        for step in range(made.start[0], made.config.steps):
            train_step(model, state, x, y, made.config, step, self.procedure.sampling_rate, objective)
        return state.model_state()

    def _jobs(self, name: str, k: int, point: int = 0) -> list[StackedJob]:
        return [
            StackedJob(derived_seed(self.given.seed, f"{name} {k} {number}", point), rows)
            for number, rows in enumerate(self.retain)
        ]

    def _by_set(self, logits: NDArray[Any]) -> Array:
        """[sets, m + 1] from one model a set."""
        return np.stack([self.seen(own, number) for number, own in enumerate(logits)])

    def _stacked(self, config: Any, jobs: list[StackedJob], start: Any = None) -> NDArray[Any]:
        made: StackedModels = train_stacked(
            self.procedure.spec, self.table, config, jobs, self.procedure.sampling_rate, start=start
        )
        return made.logits(self.table)


def workspace() -> tempfile.TemporaryDirectory[str]:
    """Where trajectories lie while they are needed."""
    return tempfile.TemporaryDirectory(prefix="expunge-pareto-")
