"""What did the original remember of a pilot set, and what does a run leave of it? Sharper than one model can show.

METHOD section 7 takes both from runs of the same kind. A calibration has one original, and one model's confidence moves
as a whole: on easy records that noise is many times what was remembered. But every oracle of one pilot set has trained
on the others: all of them together say what training remembers of a set, and in which direction (chosen here).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.influence_estimate import floored_variance, noise_over_floored
from expunge.evaluation.settings import EvaluationSettings

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PilotReference:
    """phi of models that left the set out, and of models that trained on it, reduced to what energies need.

    centre, remembered, weight, noise [m]: mean of the oracles, what training adds to it, 1 / variance of an oracle,
    and the oracle mean's own noise in units of it; energy: S_o/m.
    """

    centre: Array
    remembered: Array
    weight: Array
    noise: Array
    count: int
    energy: float

    @classmethod
    def of(cls, oracles: Array, trained: Array) -> PilotReference:
        """oracles [R, m] and trained [I, m], phi of either kind of model; at least 4 and 2."""
        variance, floor = floored_variance(oracles, EvaluationSettings().variance_floor)
        one = noise_over_floored(oracles.var(axis=0, ddof=1), floor, len(oracles) - 1)
        weight, noise, centre = 1 / variance, one / len(oracles), oracles.mean(axis=0)
        remembered = trained.mean(axis=0) - centre
        own_noise = trained.var(axis=0, ddof=1) / len(trained) * weight
        energy = float((remembered**2 * weight - noise - own_noise).mean())
        return cls(centre, remembered, weight, noise, len(oracles), energy)

    def left(self, runs: Array) -> tuple[float, float]:
        """(influence, excess) of unlearned runs [K, m] of one original; zeros where there was nothing to remember."""
        if self.energy <= 0:
            return 0.0, 0.0
        shift = runs - self.centre
        cross = float((shift * self.remembered * self.weight - self.noise).mean())
        own = float((shift**2 * self.weight - self.noise * (1 + self.count)).mean())
        return cross / self.energy, own / self.energy
