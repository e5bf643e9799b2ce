"""Which way does the planner take for each forget set, and which would one fixed budget take for all?

The planner is the one that ships (``expunge.unlearning.predictor``): calibrated on pilot sets, it keeps a model as it
is where the score says that nothing was remembered, and else takes the cheapest way that should meet its target, a
share of the set's influence. Here it is given a budget instead: the strictest target whose plans cost no more on
average. A share says nothing of how much there is to forget; `Planner.allocation` asks the same predictor for that too,
and spends the budget where most of it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expunge.training import Trajectory
from expunge.unlearning.methods import METHODS, Procedure
from expunge.unlearning.pilot_energies import PilotReference
from expunge.unlearning.pilots import PilotCandidate, PilotSet, Way, left
from expunge.unlearning.predictor import BudgetPredictor

Array = NDArray[np.float64]
KEEP, RETRAIN = Way("keep", 0), Way("retrain", 0)
# Budgets are sums of steps: a plan that costs as much counts as within it.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Ways:
    """The ways that are tried, and what any way costs on a set of `size` records, in retrainings."""

    procedure: Procedure
    ways: list[Way]
    size: int

    def cost(self, way: Way) -> float:
        """In retrainings, as `Method.cost` counts."""
        return METHODS[way.method].cost(self.procedure, way.steps(self.procedure.config.steps), self.size)


def points_at(trajectory: Trajectory, costs: Sequence[float]) -> list[int]:
    """Checkpoints to go back to, one for each cost in retrainings (the nearest there is), earliest first."""
    total = trajectory.config.steps
    kept = [c.step for c in trajectory.kept if 0 < c.step < total]
    return sorted({min(kept, key=lambda step: abs(total - step - cost * total)) for cost in costs})


def rewinds_to(points: Sequence[int], unrolled: Sequence[int], strengths: Sequence[float]) -> list[Way]:
    """Plain rewinds to all points, and unrolled ones of each strength to some."""
    return [Way("rewind", point) for point in points] + [
        Way("unrolled_rewind", point, strength) for strength in strengths for point in unrolled
    ]


def pilot_sets(
    ways: Ways, pilots: Sequence[Array], references: Sequence[PilotReference], scores: Array
) -> tuple[PilotSet, ...]:
    """What calibration knows of its sets, several originals averaged inside a set.

    Args:
        pilots: of each original, phi [ways, sets, m]. scores [sets]: the mean privacy loss, or what takes its place.
    """
    total, made = ways.procedure.config.steps, []
    for n, reference in enumerate(references):
        candidates = []
        for k, way in enumerate(ways.ways):
            influence, excess = reference.left(np.stack([own[k, n] for own in pilots]))
            candidates.append(
                PilotCandidate(
                    method=way.method, amount=way.amount, strength=way.strength, steps=way.steps(total),
                    cost=ways.cost(way), excess=excess, influence=influence,
                )
            )  # fmt: skip
        made.append(
            PilotSet(
                name=str(n), size=len(reference.centre), mean_loss=float(scores[n]), energy=reference.energy,
                candidates=tuple(candidates),
            )
        )  # fmt: skip
    return tuple(made)


def chosen(predictor: BudgetPredictor, score: float, caution: float) -> Way:
    """What a plan takes for a set of this mean score, all checkpoints being there, to meet the predictor's target."""
    if score <= predictor.nothing_below:
        return KEEP
    way = predictor.cheapest(score, caution)
    return RETRAIN if way is None else way


@dataclass(frozen=True)
class Offer:
    """A way for one set: its cost, the share of influence that it should leave, and the strictest target it meets."""

    cost: float
    share: float
    meets: float
    way: Way


KEPT, EXACT = Offer(0.0, 1.0, 1.0, KEEP), Offer(1.0, 0.0, -np.inf, RETRAIN)


@dataclass(frozen=True)
class Planner:
    """The predictor of pilot sets, asked under a budget. It knows no trial of the gate: that judges one model."""

    pilots: tuple[PilotSet, ...]
    ways: Ways
    caution: float

    @cached_property
    def predictor(self) -> BudgetPredictor:
        """At a target that plans replace."""
        return BudgetPredictor(target=1.0, retrain_steps=self.ways.procedure.config.steps, pilots=self.pilots)

    def plan(self, scores: Array, budget: float) -> list[Way]:
        """A way for each set, by its score [sets]: at most `budget` retrainings on average.

        The strictest target that can be afforded; where none can, the cheapest way for each set.
        """
        offers = [self._offers(float(score)) for score in scores]
        targets = sorted({offer.meets for own in offers for offer in own})
        low, high = 0, len(targets) - 1
        while low < high:
            middle = (low + high) // 2
            if self._mean(_at(offers, targets[middle])) <= budget + ROUNDING:
                high = middle
            else:
                low = middle + 1
        return [offer.way for offer in _at(offers, targets[low])]

    def allocation(self, scores: Array, budget: float) -> list[Way]:
        """A way for each set, by its score [sets], so that least influence should be left in all: greedily.

        From keeping everything on, the step that forgets most for its cost is taken while the budget lasts. What is
        left of a set is its predicted energy times the share that the way should leave of it.
        """
        energies = [self.predictor.energy_at(float(score)) for score in scores]
        offers = [[KEPT, *self._told(float(score)), EXACT] for score in scores]
        taken, rest = [KEPT] * len(scores), budget * len(scores) + ROUNDING
        while True:
            steps = [
                (energies[n] * (now.share - one.share) / (one.cost - now.cost), n, one)
                for n, now in enumerate(taken)
                for one in offers[n]
                if 0 < one.cost - now.cost <= rest and energies[n] * (now.share - one.share) > 0
            ]
            if not steps:
                return [one.way for one in taken]
            _, n, one = max(steps, key=lambda step: step[0])
            rest -= one.cost - taken[n].cost
            taken[n] = one

    def dearest(self, method: str, budget: float) -> Way:
        """The way of this method that spends most of `budget` retrainings."""
        within = [way for way in self.ways.ways if way.method == method and self.ways.cost(way) <= budget + ROUNDING]
        return max(within, key=self.ways.cost)

    def fixed(self, budget: float, above: bool = False) -> Way:
        """The way of at most `budget` retrainings that left least of the pilots, all taken together.

        above: count the pilots alone whose score is above "nothing to forget"; then retraining is among the ways.
        """
        pilots = [p for p in self.pilots if not above or p.mean_loss > self.predictor.nothing_below]
        if above and budget + ROUNDING >= 1:
            return RETRAIN
        among = [k for k, way in enumerate(self.ways.ways) if self.ways.cost(way) <= budget + ROUNDING]
        return self.ways.ways[min(among, key=lambda k: pooled_left(pilots, k))]

    def gated(self, scores: Array, budget: float) -> list[Way]:
        """Keep where the score says "nothing to forget"; one and the same way for all others, within the budget."""
        kept = scores <= self.predictor.nothing_below
        if kept.all():
            return [KEEP] * len(scores)
        way = self.fixed(budget * len(scores) / int((~kept).sum()), above=True)
        return [KEEP if own else way for own in kept]

    def _offers(self, score: float) -> list[Offer]:
        """All ways for a set of this score, in the order in which a plan for a target takes them."""
        if score <= self.predictor.nothing_below:
            return [Offer(0.0, 0.0, -np.inf, KEEP)]
        return [*sorted(self._told(score), key=lambda offer: (offer.cost, offer.share)), EXACT]

    def _told(self, score: float) -> list[Offer]:
        """Of every way what it should leave: all, where pilots held nothing and nothing is known of it."""
        told = [
            (cost, self.predictor.expected(way, score, self.caution), way) for way, cost in self.predictor.ways.items()
        ]
        return [Offer(c, e.value, e.cautious, way) if e else Offer(c, 1.0, 1.0, way) for c, e, way in told]

    @staticmethod
    def _mean(offers: Sequence[Offer]) -> float:
        return float(np.mean([offer.cost for offer in offers]))


def _at(offers: Sequence[Sequence[Offer]], target: float) -> list[Offer]:
    """Of each set the first, which is the cheapest, that meets the target."""
    return [next(offer for offer in own if offer.meets <= target) for own in offers]


def pooled_left(pilots: Sequence[PilotSet], place: int) -> float:
    """What the way at this place left of all pilots together: the larger of |influence| and excess, ratios of sums."""
    energy = np.array([max(0.0, pilot.energy) for pilot in pilots])
    found = np.array([(p.candidates[place].influence, p.candidates[place].excess) for p in pilots])
    total = energy.sum()
    return left(*(found * energy[:, None]).sum(axis=0) / total) if total > 0 else 0.0
