"""The plain distance of a model from oracles, record by record: what a look during unlearning reads.

It takes few oracles and no controls; the verdict's own distance (``distance``) sees more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.evaluation.evidence import Rank
from expunge.evaluation.influence_estimate import floored_variance
from expunge.evaluation.verdict import rank_p

Array = NDArray[np.float64]


class OracleReference:
    """The oracles' law on one forget set, from phi [R, m]: mean, floored variance, leave-one-out deviations.

    The distance of a model is the root mean over records of (phi - mean)^2 / v; an oracle's own distance uses the mean
    and the variance of the others only (METHOD section 7; the floor, a share of the median variance, is chosen here).

    Raises:
        UsageError: fewer than three oracles.
    """

    def __init__(self, oracles: Array, variance_floor: float = 0.5) -> None:
        count = len(oracles)
        if oracles.ndim != 2 or count < 3:
            raise UsageError(f"{count} oracles have no spread to judge by.", "Give phi [R, m] of at least three.")
        self.count = count
        self.oracles = oracles
        self.mean = oracles.mean(axis=0)
        self.variance, self.floor = floored_variance(oracles, variance_floor)
        centred = oracles - self.mean
        squares = (centred**2).sum(axis=0)
        self.others_mean = (count * self.mean - oracles) / (count - 1)
        rest = (squares - centred**2 * count / (count - 1)) / (count - 2)
        self.others_variance = np.maximum(rest, self.floor)
        self.own_deviations = (oracles - self.others_mean) ** 2 / self.others_variance

    def deviations(self, values: Array) -> Array:
        """Squared deviation of each record in units of the oracles' variance: phi [..., m] -> [..., m]."""
        result: Array = (values - self.mean) ** 2 / self.variance
        return result

    def distance(self, values: Array) -> float:
        """Distance of one model from phi [m], in standard deviations of an oracle."""
        return float(np.sqrt(self.deviations(values).mean()))

    def own_distances(self) -> Array:
        """The oracles' leave-one-out distances [R]."""
        result: Array = np.sqrt(self.own_deviations.mean(axis=1))
        return result

    def rank(self, values: Array) -> Rank:
        """Place of one model (phi [m]) among the oracles."""
        distance = self.distance(values)
        place, p_value = rank_p(distance, self.own_distances())
        return Rank(position=place, of=self.count + 1, p_value=p_value, distance=distance)
