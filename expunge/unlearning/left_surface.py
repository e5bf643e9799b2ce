"""What does a rewind to one point leave, by its strength and the set's difficulty? A surface through what pilots left.

Taking back a share of a push moves influence in a straight line and excess as its square, but for what training does
afterwards: both are taken as quadratic in the strength and, with enough pilots, each term as linear in the logarithm of
the mean privacy loss.
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


def trust(energy: Array | float) -> Array:
    """How much a share of the original's influence measured on a set of this energy says, 0..1.

    Its noise is 1/energy beside what sets differ by themselves, taken as alike at energy 1 (chosen here).
    """
    squared = np.square(np.maximum(energy, 0.0))
    return np.asarray(squared / (1 + squared))


@dataclass(frozen=True)
class Surface:
    """Influence and excess of rewinds to one point (strength 0: a plain one), or of one amount of another method.

    coefficients [2, terms]; misses [pilots, ways]: what was left less what the other pilots predict, nan where a pilot
    did not try; ways: those of the columns.
    """

    ways: tuple[Way, ...]
    curved: bool
    sloped: bool
    coefficients: Array
    misses: Array

    @classmethod
    def through(cls, ways: Sequence[Way], known: Sequence[PilotSet], pilots: int) -> Surface:
        """Through the results of `known`, of which the first `pilots` are calibration's and are left out in turn."""
        rows = [
            (place, way, pilot, candidate)
            for place, pilot in enumerate(known)
            for way in ways
            for candidate in pilot.candidates
            if candidate.way == way
        ]
        strength = np.array([way.strength or 0.0 for _, way, _, _ in rows])
        x = np.log([max(pilot.mean_loss, 1e-12) for _, _, pilot, _ in rows])
        weight = trust(np.array([pilot.energy for _, _, pilot, _ in rows]))
        y = np.array([[c.influence, c.excess] for _, _, _, c in rows])
        place = np.array([own for own, _, _, _ in rows])
        curved = len(set(strength)) > 2
        sloped = len(set(place)) >= ENOUGH_FOR_A_SLOPE and float(np.ptp(x)) > 0
        design = _design(strength, x, curved, sloped)
        misses = np.full((pilots, len(ways)), np.nan)
        for k in range(pilots):
            others = place != k
            if not others.any():
                continue
            told = design @ _solve(design[others], y[others], weight[others]).T
            for row in np.flatnonzero(place == k):
                misses[k, ways.index(rows[row][1])] = left(*y[row]) - left(*told[row])
        return cls(tuple(ways), curved, sloped, _solve(design, y, weight), misses)

    def at(self, strength: float, mean_loss: float) -> tuple[float, float]:
        """(influence, excess) after a rewind of this strength, for a set of this mean loss."""
        x = np.array([math.log(max(mean_loss, 1e-12))])
        influence, excess = self.coefficients @ _design(np.array([strength]), x, self.curved, self.sloped)[0]
        return float(influence), float(excess)


def _design(strength: Array, x: Array, curved: bool, sloped: bool) -> Array:
    ones = np.ones_like(strength)
    columns = [ones, strength] + ([strength**2] if curved else [])
    if sloped:
        columns += [x, x * strength] + ([x * strength**2] if curved else [])
    return np.column_stack(columns)


def _solve(design: Array, y: Array, weight: Array) -> Array:
    """Weighted least squares: [2, terms]; the smallest coefficients where the rows do not fix them."""
    root = np.sqrt(weight)[:, None]
    return np.asarray(np.linalg.lstsq(root * design, root * y, rcond=1e-9)[0].T, dtype=np.float64)
