"""Which ways of spending a budget are compared? Adaptive ones, fixed ones, and adaptive ones that know nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.privacy.difficulty import average_gradient_norm
from expunge.reproduction.adaptive.planner import KEEP, RETRAIN, Planner
from expunge.reproduction.adaptive.sets import ForgetSets
from expunge.reproduction.originals import Original
from expunge.reproduction.world import World
from expunge.unlearning.pilots import Way

Array = NDArray[np.float64]
PLANNER, ALLOCATION, GATED = "planner", "allocation", "keep or one way"
BEST, REWIND, TUNING = "best fixed", "plain rewind", "fine-tuning"
SHUFFLED, BY_CHANCE, BY_NORM = "shuffled planner", "shuffled allocation", "gradient norm allocation"
ORIGINAL, RETRAINED = "original", "retraining"
# Those that spend a budget, and which of them are run on the label-matched random sets too.
SPENDING = (PLANNER, ALLOCATION, GATED, BEST, REWIND, TUNING, SHUFFLED, BY_CHANCE, BY_NORM)
ON_MATCHED = (PLANNER, ALLOCATION, BEST)


def at(arm: str, budget: float) -> str:
    """An arm under one of its budgets."""
    return f"{arm} at {budget:g}"


@dataclass(frozen=True)
class Scores:
    """Means over the records of every set, [originals, sets]: what planners go by."""

    loss: Array
    norm: Array
    shuffled: Array

    @classmethod
    def of(cls, world: World, originals: Sequence[Original], sets: ForgetSets) -> Scores:
        """Shuffled: privacy losses dealt out anew among the calibration sets, and among those of either other kind."""

        def means(values: Array) -> Array:
            return np.array([values[rows].mean() for rows in sets.rows])

        loss = np.stack([means(own.loss) for own in originals])
        norm = np.stack([means(average_gradient_norm(own.norms.norms)) for own in originals])
        shuffled = loss.copy()
        for own in originals:
            rng = np.random.default_rng(world.seed_of("shuffled", own.number))
            for kind in (sets.calibration, sets.measured, sets.matched):
                shuffled[own.number, list(kind)] = rng.permutation(loss[own.number, list(kind)])
        return cls(loss, norm, shuffled)


class Arms:
    """Every arm's plan for every original.

    Args:
        budgets: by name (the declared one), what may be spent on average. pilots_by: pilot sets with these scores
            [calibration sets] in place of the mean privacy loss.
    """

    def __init__(
        self,
        sets: ForgetSets,
        scores: Scores,
        budgets: dict[float, float],
        planner: Callable[[Array], Planner],
        calibrated: int,
    ) -> None:
        self.sets, self.scores, self.budgets = sets, scores, budgets
        rows = list(sets.calibration)
        self.planner = planner(scores.loss[:calibrated, rows].mean(axis=0))
        self._by_norm = planner(scores.norm[:calibrated, rows].mean(axis=0))
        # One for each original, so that the luck of a shuffle is part of the spread over originals.
        self._shuffled = [planner(own[rows]) for own in scores.shuffled]
        self.best = {name: self.planner.fixed(budget) for name, budget in budgets.items()}

    def plans(self, k: int, numbers: Sequence[int]) -> dict[str, list[Way]]:
        """Of original k for these sets as one batch of requests: a way for each set, by arm and budget."""
        rows = list(numbers)
        found: dict[str, list[Way]] = {ORIGINAL: [KEEP] * len(rows), RETRAINED: [RETRAIN] * len(rows)}
        for name, budget in self.budgets.items():
            loss = self.scores.loss[k, rows]
            fixed = {
                BEST: self.best[name],
                REWIND: self.planner.dearest("rewind", budget),
                TUNING: self.planner.dearest("fine_tune", budget),
            }
            shuffled, by_chance = self._shuffled[k], self.scores.shuffled[k, rows]
            own = {
                PLANNER: self.planner.plan(loss, budget),
                ALLOCATION: self.planner.allocation(loss, budget),
                GATED: self.planner.gated(loss, budget),
                SHUFFLED: shuffled.plan(by_chance, budget),
                BY_CHANCE: shuffled.allocation(by_chance, budget),
                BY_NORM: self._by_norm.allocation(self.scores.norm[k, rows], budget),
                **{arm: [way] * len(rows) for arm, way in fixed.items()},
            }
            found |= {at(arm, name): own[arm] for arm in SPENDING}
        return found


def methods(plans: Sequence[Way]) -> dict[str, int]:
    """How many sets each method takes."""
    names = [way.method for way in plans]
    return {name: names.count(name) for name in sorted(set(names))}
