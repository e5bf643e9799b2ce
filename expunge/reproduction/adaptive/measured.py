"""What was trained on one data set, and what did it show? From the originals to what every arm left."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.reproduction.adaptive.arms import ON_MATCHED, ORIGINAL, RETRAINED, SPENDING, Arms, Scores, at
from expunge.reproduction.adaptive.left import Left, all_sets
from expunge.reproduction.adaptive.options import Options
from expunge.reproduction.adaptive.planner import ROUNDING, Planner, Ways, pilot_sets, points_at, rewinds_to
from expunge.reproduction.adaptive.runs import Runs, Task
from expunge.reproduction.adaptive.sets import ForgetSets, draw_sets
from expunge.reproduction.originals import mean_rank, train_originals
from expunge.reproduction.work import Work
from expunge.reproduction.world import World
from expunge.training import Trajectory
from expunge.unlearning.methods import Procedure
from expunge.unlearning.pilot_energies import PilotReference
from expunge.unlearning.pilots import Way

Array = NDArray[np.float64]
# Calibration sets a part: each is kept as it is finished.
AT_ONCE = 20


@dataclass(frozen=True)
class Measured:
    """One data set's comparison.

    left, matched: what the arms left of the measured sets, and of the label-matched random ones. plans: of each
    original, by arm, for the measured sets. costs: mean over sets and originals, in retrainings, by arm; of the
    matched sets in matched_costs. accuracy_lost: held-out accuracy of the oracles less that of the arm.
    """

    world: World
    options: Options
    sets: ForgetSets
    arms: Arms
    ways: Ways
    plans: list[dict[str, list[Way]]]
    left: Left
    matched: Left
    costs: dict[str, float]
    matched_costs: dict[str, float]
    accuracy_lost: dict[str, float]


def measured(world: World, originals: int, options: Options, work: Work) -> Measured:
    """Train and compare. Raises UsageError for sizes that do not fit the data set."""
    return _Comparison(world, originals, options, work).measured()


class _Comparison:
    def __init__(self, world: World, count: int, options: Options, work: Work) -> None:
        self.world, self.count, self.options, self.work = world, count, options, work
        self.size = max(2, round(options.set_share * len(world.train)))
        self.originals = train_originals(world, work, count)
        self.sets = draw_sets(
            world, mean_rank(self.originals), self.size, options.calibration_sets, options.measured_sets,
            options.matched_sets,
        )  # fmt: skip
        trajectories = [own.trajectory for own in self.originals]
        self.runs = Runs(world, trajectories, self.sets.rows)
        self.budgets, self.ways = budgets_and_ways(trajectories[0], self.runs.procedure, options, self.size)
        work.expect(self._trained + self._for_calibration + self._for_judging)

    def measured(self) -> Measured:
        trained = self.work.get(
            f"{self.world.name}-also-trained", lambda: {"models": self._companions()}, self._trained
        )["models"]
        arms = self._arms(trained)
        plans = [arms.plans(k, self.sets.measured) for k in range(self.count)]
        of_matched = [arms.plans(k, self.sets.matched) for k in range(self.count)]
        own_oracles = [self._oracles(k) for k in range(self.count)]
        models = [self._forgotten(k, plans[k], of_matched[k]) for k in range(self.count)]
        # What training makes of a set: the mean of the original and its companions, of each original its own.
        trained = trained.reshape(len(self.sets.rows), self.count, -1, self.size + 1).mean(axis=2)
        return Measured(
            self.world, self.options, self.sets, arms, self.ways, plans,
            self._left(plans, models, own_oracles, trained, self.sets.measured),
            self._left(of_matched, models, own_oracles, trained, self.sets.matched),
            self._costs(plans), self._costs(of_matched), self._accuracy_lost(plans, models, own_oracles),
        )  # fmt: skip

    @property
    def _trained(self) -> int:
        return self.count * self.options.companions

    @property
    def _for_calibration(self) -> int:
        own, cost = self.options, sum(self.ways.cost(way) for way in self.ways.ways)
        return own.calibration_sets * own.calibration_oracles + round(own.calibrated * own.calibration_sets * cost)

    @property
    def _for_judging(self) -> int:
        return self.count * (self._oracles_each + self._forgotten_each)

    @property
    def _oracles_each(self) -> int:
        return len(self.sets.judged) * self.options.oracles

    @property
    def _forgotten_each(self) -> int:
        """At most: arms often plan the same."""
        spent = sum(self.budgets.values())
        arms = len(SPENDING) * len(self.sets.measured) + len(ON_MATCHED) * len(self.sets.matched)
        return len(self.sets.judged) + round(spent * arms)

    def _companions(self) -> Array:
        """Original k and its companions, one original after the other: [sets, originals (1 + companions), m + 1]."""
        others = self.runs.also_trained("also trained", self._trained)
        others = others.reshape(len(self.sets.rows), self.count, self.options.companions, -1)
        together = np.concatenate([self.runs.originals()[:, :, None], others], axis=2)
        return together.reshape(len(self.sets.rows), -1, self.size + 1)

    def _arms(self, trained: Array) -> Arms:
        """Calibrate, by every score, on the same pilots."""
        references: list[PilotReference] = []
        pilots: list[list[Array]] = [[] for _ in range(self.options.calibrated)]
        rows = list(self.sets.calibration)
        for first in range(0, len(rows), AT_ONCE):
            numbers = rows[first : first + AT_ONCE]
            oracles = self._calibration_oracles(numbers)
            # Its own originals are no companions of a calibration: it asks what OTHER models made of the set.
            references += [
                PilotReference.of(own[:, :-1], trained[n, :, :-1]) for own, n in zip(oracles, numbers, strict=True)
            ]
            for k, parts in enumerate(pilots):
                parts.append(self._pilots(k, numbers))
        phis = [np.concatenate(parts, axis=1)[..., :-1] for parts in pilots]

        def planner(scores: Array) -> Planner:
            return Planner(pilot_sets(self.ways, phis, references, scores), self.ways, self.options.caution)

        scores = Scores.of(self.world, self.originals, self.sets)
        return Arms(self.sets, scores, self.budgets, planner, self.options.calibrated)

    def _calibration_oracles(self, numbers: Sequence[int]) -> Array:
        """[sets, R, m + 1]"""
        count = self.options.calibration_oracles
        return self.work.get(
            f"{self.world.name}-calibration-oracles-{numbers[0]}",
            lambda: {"models": self.runs.retrained("calibration oracle", numbers, count)},
            len(numbers) * count,
        )["models"]

    def _pilots(self, k: int, numbers: Sequence[int]) -> Array:
        """Original k forgets these sets in all ways: [ways, sets, m + 1]."""
        tasks = [(n, way) for way in self.ways.ways for n in numbers]
        models = self.work.get(
            f"{self.world.name}-pilots-{k}-{numbers[0]}",
            lambda: {"models": self.runs.forgotten(k, tasks, lambda task: f"pilot {k} {task[0]}")},
            round(len(numbers) * sum(self.ways.cost(way) for way in self.ways.ways)),
        )["models"]
        return models.reshape(len(self.ways.ways), len(numbers), -1)

    def _oracles(self, k: int) -> dict[int, Array]:
        """Original k's own oracles of every judged set, each [R, m + 1]."""
        numbers = list(self.sets.judged)
        made = self.work.get(
            f"{self.world.name}-oracles-{k}",
            lambda: {"models": self.runs.retrained(f"oracle {k}", numbers, self.options.oracles)},
            self._oracles_each,
        )["models"]
        return dict(zip(numbers, made, strict=True))

    def _forgotten(self, k: int, plans: dict[str, list[Way]], of_matched: dict[str, list[Way]]) -> dict[Task, Array]:
        """Original k after everything that any arm plans, each [m + 1]; arms that plan the same share the run."""
        wanted = [(n, way) for ways in plans.values() for n, way in zip(self.sets.measured, ways, strict=True)]
        for arm in _arms_on_matched(self.budgets):
            wanted += [(n, way) for n, way in zip(self.sets.matched, of_matched[arm], strict=True)]
        tasks = list(dict.fromkeys(wanted))
        # A plan may change with the last digit of a privacy loss: runs belong to the plans they were made for.
        key = hashlib.sha256(repr(tasks).encode()).hexdigest()[:8]
        made = self.work.get(
            f"{self.world.name}-forgotten-{k}-{key}",
            lambda: {"models": self.runs.forgotten(k, tasks, lambda task: f"forgotten {k} {task[0]}")},
            self._forgotten_each,
        )["models"]
        return dict(zip(tasks, made, strict=True))

    def _left(
        self,
        plans: Sequence[dict[str, list[Way]]],
        models: Sequence[dict[Task, Array]],
        oracles: Sequence[dict[int, Array]],
        trained: Array,
        numbers: range,
    ) -> Left:
        names = tuple(plans[0]) if numbers == self.sets.measured else _arms_on_matched(self.budgets)
        unlearned = np.array(
            [
                [[own[n, way][:-1] for n, way in zip(numbers, plan[arm], strict=True)] for arm in names]
                for own, plan in zip(models, plans, strict=True)
            ]
        )
        of_sets = np.array([[own[n][:, :-1] for n in numbers] for own in oracles])
        return Left(names, all_sets(unlearned, of_sets, np.moveaxis(trained[list(numbers), :, :-1], 0, 1)))

    def _costs(self, plans: Sequence[dict[str, list[Way]]]) -> dict[str, float]:
        return {arm: float(np.mean([self.ways.cost(way) for own in plans for way in own[arm]])) for arm in plans[0]}

    def _accuracy_lost(
        self,
        plans: Sequence[dict[str, list[Way]]],
        models: Sequence[dict[Task, Array]],
        oracles: Sequence[dict[int, Array]],
    ) -> dict[str, float]:
        numbers = self.sets.measured
        right = np.mean([own[n][:, -1] for own in oracles for n in numbers])
        return {
            arm: float(right - np.mean([own[n, way][-1] for own, plan in zip(models, plans, strict=True)
                                        for n, way in zip(numbers, plan[arm], strict=True)]))
            for arm in plans[0]
        }  # fmt: skip


def _arms_on_matched(budgets: dict[float, float]) -> tuple[str, ...]:
    return (ORIGINAL, RETRAINED, *(at(arm, budget) for budget in budgets for arm in ON_MATCHED))


def budgets_and_ways(
    trajectory: Trajectory, procedure: Procedure, options: Options, size: int
) -> tuple[dict[float, float], Ways]:
    """What may be spent under each declared budget, and the ways that calibration tries.

    A budget is what an unrolled rewind to the checkpoint nearest to it costs, so that no method is kept from spending
    it by where checkpoints lie.
    """
    total = procedure.config.steps
    empty = Ways(procedure, [], size)
    spent = {
        budget: empty.cost(Way("unrolled_rewind", points_at(trajectory, [budget])[0], options.strengths[0]))
        for budget in options.budgets
    }
    points = points_at(trajectory, options.budgets)
    tuning = [Way("fine_tune", int(own * total + ROUNDING)) for own in spent.values()]
    return spent, Ways(procedure, [*rewinds_to(points, points, options.strengths), *tuning], size)
