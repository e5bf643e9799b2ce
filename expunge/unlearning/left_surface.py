"""What does a way of forgetting leave, by its cost, its strength and the set's difficulty? A surface through pilots.

Taking back a share of a push moves influence in a straight line and excess as its square, but for what training does
afterwards: both are taken as quadratic in the strength, linear in the logarithm of the training that follows, and with
enough pilots each term as linear in the logarithm of the mean privacy loss. One surface for all points of a family says
as much as one for each point, with a quarter of the numbers (measured: benchmarks/pareto.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.unlearning.pilots import PilotSet, Way, left

Array = NDArray[np.float64]
# From this many measurable pilots on, what is left may depend on the loss; of fewer the mean is taken.
ENOUGH_FOR_A_SLOPE = 8
# A share measured on a set of this energy is as uncertain as sets differ by themselves (chosen here, by the error of
# predictions on sets left out).
HALF_TRUSTED = 2.0


def trust(energy: Array | float) -> Array:
    """How much a share of the influence on a set of this energy says, 0..1: the noise of the share is 1/energy."""
    squared = np.square(np.maximum(energy, 0.0))
    return np.asarray(squared / (HALF_TRUSTED**2 + squared))


def family(way: Way) -> str:
    """Ways that lie on one surface: a plain rewind is an unrolled one of no strength."""
    return "rewind" if way.goes_back else way.method


@dataclass(frozen=True)
class _Basis:
    """Which terms a surface has: powers of the strength, the logarithm of training, the logarithm of the loss."""

    strengths: int
    points: bool
    sloped: bool

    def columns(self, strength: Array, share: Array, x: Array) -> Array:
        terms = [strength**power for power in range(self.strengths)]
        if self.points:
            terms += [term * np.log(share) for term in terms]
        if self.sloped:
            terms += [term * x for term in terms]
        return np.column_stack(terms)


@dataclass(frozen=True)
class Surface:
    """Influence and excess of one family of ways.

    coefficients [2, terms]; misses [pilots, ways]: what was left less what the other pilots predict; ways: the columns.
    hardest, easiest: logarithms of the loss within which the slope holds: beyond them a set is taken as one of them.
    """

    ways: tuple[Way, ...]
    basis: _Basis
    easiest: float
    hardest: float
    retrain_steps: int
    coefficients: Array
    misses: Array

    @classmethod
    def through(cls, ways: Sequence[Way], known: Sequence[PilotSet], pilots: int, retrain_steps: int) -> Surface:
        """Through the results of `known`, of which the first `pilots` are calibration's and are left out in turn.

        Of the others any way of the family counts: a run need not have taken one that pilots tried.
        """
        rows = [
            (place, candidate.way, pilot, candidate)
            for place, pilot in enumerate(known)
            for candidate in pilot.candidates
            if candidate.way in ways or (place >= pilots and family(candidate.way) == family(ways[0]))
        ]
        strength = np.array([way.strength or 0.0 for _, way, _, _ in rows])
        share = np.array([way.steps(retrain_steps) / retrain_steps for _, way, _, _ in rows])
        x = np.array([_log(pilot.mean_loss) for _, _, pilot, _ in rows])
        place = np.array([pilot for pilot, _, _, _ in rows])
        own = place < pilots
        # Beyond the pilots' range a run counts as one at its end, as a set that is planned for does.
        x = np.clip(x, x[own].min(), x[own].max())
        basis = _Basis(
            strengths=min(3, len(set(strength))),
            points=len(set(share)) > 1,
            sloped=len(set(place[own])) >= ENOUGH_FOR_A_SLOPE and float(np.ptp(x[own])) > 0,
        )
        weight = trust(np.array([pilot.energy for _, _, pilot, _ in rows]))
        y = np.array([[c.influence, c.excess] for _, _, _, c in rows])
        misses = np.zeros((pilots, len(ways)))
        for k in range(pilots):
            others = place != k
            if not others.any():
                continue
            inside = np.clip(x, x[others].min(), x[others].max())
            design = basis.columns(strength, share, inside - x.max())
            told = design @ _solve(design[others], y[others], weight[others]).T
            for row in np.flatnonzero(place == k):
                misses[k, ways.index(rows[row][1])] = left(*y[row]) - left(*told[row])
        full = _solve(basis.columns(strength, share, x - x.max()), y, weight)
        return cls(tuple(ways), basis, float(x.min()), float(x.max()), retrain_steps, full, misses)

    def at(self, way: Way, mean_loss: float) -> tuple[float, float]:
        """(influence, excess) that `way` should leave of a set of this mean loss."""
        share = np.array([way.steps(self.retrain_steps) / self.retrain_steps])
        strength, x = np.array([way.strength or 0.0]), np.array([np.clip(_log(mean_loss), self.easiest, self.hardest)])
        influence, excess = self.coefficients @ self.basis.columns(strength, share, x - self.hardest)[0]
        return float(influence), float(excess)

    def nearest(self, way: Way) -> int:
        """Column of the way that was tried with the same amount and the nearest strength."""
        return min(
            range(len(self.ways)),
            key=lambda k: (abs(self.ways[k].amount - way.amount), abs(_strength(self.ways[k]) - _strength(way))),
        )


def _strength(way: Way) -> float:
    return way.strength or 0.0


def _log(mean_loss: float) -> float:
    return math.log(max(mean_loss, 1e-12))


def _solve(design: Array, y: Array, weight: Array) -> Array:
    """Weighted least squares: [2, terms]; the smallest coefficients where the rows do not fix them."""
    root = np.sqrt(weight)[:, None]
    return np.asarray(np.linalg.lstsq(root * design, root * y, rcond=1e-9)[0].T, dtype=np.float64)
