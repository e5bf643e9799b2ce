"""Train what the comparison of unlearning methods needs: originals with their scores, oracles, every method's runs.

Per data set: 5 originals on the same records, with trajectories on disk and privacy losses; forget sets of every
difficulty, random ones and the hardest; oracles per set, shared by all originals and methods; and each method's phi on
its own forget set, by cost. Calibration sets and measured sets are two draws of one sampler, disjoint within each.
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
from expunge.evaluation.confidence import phi
from expunge.models import build_model
from expunge.privacy.scores import PrivacyLosses
from expunge.privacy.trajectory_scores import score_trajectory, trajectory_losses
from expunge.training import StackedJob, StackedModels, Trajectory, predict, train, train_stacked
from expunge.training.randomness import derived_seed
from expunge.training.stacked import stacked_states
from expunge.training.state import TrainingState
from expunge.training.trainer import train_step
from expunge.unlearning.methods import METHODS, Continuation, Given, Method, Procedure
from expunge.unlearning.pilots import Way
from expunge.unlearning.unrolling import pushed, without

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
        _strata(order, size, counts[0], derived_seed(seed, "calibration sets")),
        _strata(order, size, counts[1], derived_seed(seed, "measured sets")),
        np.random.default_rng(derived_seed(seed, "random sets")).permutation(len(order))[: counts[2] * size],
        order[::-1][: counts[3] * size],
    ]
    ends = np.cumsum([0, *counts])
    made = [tuple(ids[row] for row in sorted(rows)) for own in drawn for rows in np.split(own, max(1, len(own) // size))
            if len(rows)]  # fmt: skip
    return Sets(made, *(range(int(a), int(b)) for a, b in pairwise(ends)))


def _strata(order: Rows, size: int, count: int, seed: int) -> Rows:
    """Rows of `count` disjoint sets, one from each of as many strata of difficulty, easiest first."""
    rng = np.random.default_rng(seed)
    parts = np.array_split(order, count) if count else []
    return np.concatenate([rng.choice(part, size, replace=False) for part in parts]) if count else order[:0]


class Runs:
    """Everything trained for one data set. What is kept of a model: phi on its forget set, then held-out accuracy."""

    def __init__(self, given: Setting, trajectories: list[Trajectory], sets: Sets) -> None:
        self.given, self.trajectories, self.sets = given, trajectories, sets
        self.table = given.both
        self.procedure = Procedure.of(trajectories[0])
        everyone = self.table.rows(given.train.record_ids)
        self.retain = [np.setdiff1d(everyone, self.table.rows(ids)) for ids in sets.ids]

    def seen(self, logits: NDArray[Any], number: int) -> Array:
        """float64 [..., m + 1] from logits [..., n, K]."""
        rows = self.table.rows(self.sets.ids[number])
        own = phi(logits[..., rows, :], self.table.targets[rows])
        unseen = self.table.rows(self.given.held_out.record_ids)
        right = logits[..., unseen, :].argmax(axis=-1) == self.table.targets[unseen]
        return np.concatenate([own, right.mean(axis=-1)[..., None]], axis=-1)

    def of_originals(self) -> Part:
        """originals [sets, ORIGINALS, m + 1]."""
        states = [t.state(t.final).model_state() for t in self.trajectories]
        logits = np.stack([predict(self.procedure.spec, state, self.table) for state in states])
        return {"originals": np.stack([self.seen(logits, number) for number in range(len(self.sets.ids))])}

    def oracles(self) -> Part:
        """oracles [sets, ORACLES, m + 1]: retrained without the set."""
        return {"oracles": self._retrained("oracle", range(len(self.sets.ids)), ORACLES)}

    def retrained(self, numbers: Sequence[int]) -> Part:
        """What a plan to retrain leaves, and what chance does: models [sets, ORIGINALS, m + 1], none an oracle."""
        return {"models": self._retrained("retrained", numbers, ORIGINALS)}

    def trained(self) -> Part:
        """What training makes of every set, whatever the seed: trained [sets, TRAINED, m + 1], none an original."""
        everyone = np.sort(self.table.rows(self.given.train.record_ids))
        jobs = [StackedJob(derived_seed(self.given.seed, "also trained", i), everyone) for i in range(TRAINED)]
        logits = self._stacked(self.procedure.config, jobs)
        return {"trained": np.stack([self.seen(logits, number) for number in range(len(self.sets.ids))])}

    def _retrained(self, purpose: str, numbers: Sequence[int], count: int) -> Array:
        jobs = [
            StackedJob(derived_seed(self.given.seed, f"{purpose} {number}", i), self.retain[number])
            for number in numbers
            for i in range(count)
        ]
        made = np.split(self._stacked(self.procedure.config, jobs), len(numbers))
        return np.stack([self.seen(own, number) for number, own in zip(numbers, made, strict=True)])

    def points(self) -> list[int]:
        """Checkpoints to go back to, cheapest last."""
        total = self.procedure.config.steps
        kept = [c for c in self.trajectories[0].kept if 0 < c.step < total]
        return sorted({min(kept, key=lambda c: abs(total - c.step - cost * total)).step for cost in COSTS})

    def ways(self) -> list[Way]:
        """Every rewind and unrolled rewind."""
        total, points = self.procedure.config.steps, self.points()
        late = [point for point in points if total - point <= DEAREST_UNROLLED * total + 1]
        return [Way("rewind", point) for point in points] + [
            Way("unrolled_rewind", point, strength) for strength in STRENGTHS for point in late
        ]

    def rewinds(self, k: int, numbers: Sequence[int]) -> Part:
        """Original k forgets each set in all `ways`: models [ways, sets, m + 1]."""
        trajectory, ways = self.trajectories[k], self.ways()
        unrolled = sorted({way.amount for way in ways if way.strength is not None})
        pushes = {n: pushed(trajectory, self.given.train.select(self.sets.ids[n]), unrolled) for n in numbers}
        found: dict[Way, Array] = {}
        for point in self.points():
            made = METHODS["rewind"].continuation(trajectory, point, self.given.seed)
            assert made.start is not None
            own = [way for way in ways if way.amount == point]
            starts, jobs = [], []
            for way in own:
                for n in numbers:
                    state = made.start[1]
                    if way.strength is not None:
                        state = without(state, pushes[n][point], way.strength)
                    starts.append(state)
                    seed = derived_seed(self.given.seed, f"{way.method} {way.strength} {k} {n}", point)
                    jobs.append(StackedJob(seed, self.retain[n]))
            logits = self._stacked(made.config, jobs, (point, stacked_states(self.procedure.spec, starts)))
            for way, models in zip(own, np.split(logits, len(own)), strict=True):
                found[way] = self._by_set(models, numbers)
        return {"models": np.stack([found[way] for way in ways])}

    def carried_out(self, k: int, plans: Mapping[int, Way]) -> Part:
        """Original k under the plan of each set, with runs of their own: models [sets, m + 1], the sets in order.

        Kept models are the original's; retrained ones and oracles share no seed.
        """
        trajectory, total = self.trajectories[k], self.procedure.config.steps
        state = trajectory.state(trajectory.final).model_state()
        found = {n: self.seen(predict(self.procedure.spec, state, self.table), n) for n in plans}
        groups: dict[int, list[int]] = {}
        for n, way in plans.items():
            if way.method != "keep":
                groups.setdefault(0 if way.method == "retrain" else way.amount, []).append(n)
        for point, numbers in groups.items():
            jobs = [
                StackedJob(derived_seed(self.given.seed, f"planned {k} {n}", point), self.retain[n]) for n in numbers
            ]
            start = None
            if point:
                begun = trajectory.state(trajectory.at(point))
                states = [self._taken_back(trajectory, begun, n, plans[n]) for n in numbers]
                start = (point, stacked_states(self.procedure.spec, states))
            config = self.procedure.config.model_copy(update={"steps": total})
            for n, model in zip(numbers, self._stacked(config, jobs, start), strict=True):
                found[n] = self.seen(model, n)
        return {"models": np.stack([found[n] for n in plans])}

    def _taken_back(self, trajectory: Trajectory, state: TrainingState, number: int, way: Way) -> TrainingState:
        if way.strength is None:
            return state
        push = pushed(trajectory, self.given.train.select(self.sets.ids[number]), [way.amount])[way.amount]
        return without(state, push, way.strength)

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
                self.procedure.spec, self.table, made.config, jobs, self.procedure.sampling_rate,
                start=made.start if models is None else (first + before, models), until=first + taken,
            )  # fmt: skip
            found.append(self._by_set(models.logits(self.table), numbers))
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
                logits = predict(self.procedure.spec, self._descend(method, made, number), self.table)
                found.append(self.seen(logits, number))
        return {"cost": np.array(costs), "models": np.stack(found).reshape(len(costs), len(numbers), -1)}

    def _descend(self, method: Method, made: Continuation, number: int) -> dict[str, torch.Tensor]:
        assert made.start is not None
        forget = self.table.select(self.sets.ids[number])
        retain = self.given.train.without(self.sets.ids[number])
        objective = method.objective(Given(self.procedure, made, retain, forget))
        model = build_model(self.procedure.spec, 0)
        state = TrainingState.from_tensors(made.start[1].tensors())
        x, y = torch.from_numpy(retain.features), torch.from_numpy(retain.targets)
        for step in range(made.start[0], made.config.steps):
            train_step(model, state, x, y, made.config, step, self.procedure.sampling_rate, objective)
        return state.model_state()

    def _by_set(self, logits: NDArray[Any], numbers: Sequence[int]) -> Array:
        """[sets, m + 1] from one model a set."""
        return np.stack([self.seen(own, number) for number, own in zip(numbers, logits, strict=True)])

    def _stacked(self, config: Any, jobs: list[StackedJob], start: Any = None) -> NDArray[Any]:
        made: StackedModels = train_stacked(
            self.procedure.spec, self.table, config, jobs, self.procedure.sampling_rate, start=start
        )
        return made.logits(self.table)


def workspace() -> tempfile.TemporaryDirectory[str]:
    """Where trajectories lie while they are needed."""
    return tempfile.TemporaryDirectory(prefix="expunge-pareto-")
