"""What does each way of spending the budget leave of the originals' influence, all forget sets taken together?

Influence and excess of METHOD section 7, METHOD claim: sums over the records of all sets, over pairs of different
originals, each with oracles of its own, so that no noise is to be subtracted. What training makes of a set is read off
the original and further models on all records, its companions: only means over different models enter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.reproduction.findings import Estimate, jackknife
from expunge.reproduction.times import Energies, energies, pooled
from expunge.unlearning.pilots import left

Array = NDArray[np.float64]
Index = NDArray[np.int64]


def all_sets(unlearned: Array, oracles: Array, trained: Array) -> Energies:
    """All sets as one long set, each record in units of its own oracles' deviation.

    Args:
        unlearned: phi [originals, arms, sets, m]. oracles: phi [originals, sets, R, m], of each original its own.
            trained: phi [originals, sets, m], means of models on all records.
    """
    return pooled([energies(unlearned[:, :, n], oracles[:, n], trained[:, n]) for n in range(trained.shape[1])])


@dataclass(frozen=True)
class Left:
    """What every arm left: estimates over originals, jackknifed.

    arms: names, in the order of `found.unlearned`.
    """

    arms: tuple[str, ...]
    found: Energies

    @property
    def originals(self) -> int:
        """How many there are."""
        return len(self.found.original)

    @property
    def energy(self) -> Estimate:
        """S_o/m, what there was to forget per record."""
        return jackknife(self.found.energy, self.originals)

    @property
    def measurable(self) -> bool:
        """Whether shares of that energy mean anything (METHOD section 7)."""
        return self.found.measurable

    def of(self, arm: str, runs: Index) -> float:
        """The larger of |influence| and excess with these originals: 0 forgotten, 1 untouched."""
        place = self.arms.index(arm)
        return left(float(self.found.influence(runs)[place]), float(self.found.excess(runs)[place]))

    def first(self, records: int) -> Left:
        """The same of the first so many records alone."""
        return Left(self.arms, self.found.of(slice(records)))

    def influence(self, arm: str) -> Estimate:
        """C/S_o."""
        place = self.arms.index(arm)
        return jackknife(lambda runs: float(self.found.influence(runs)[place]), self.originals)

    def excess(self, arm: str) -> Estimate:
        """S_u/S_o."""
        place = self.arms.index(arm)
        return jackknife(lambda runs: float(self.found.excess(runs)[place]), self.originals)

    def left(self, arm: str) -> Estimate:
        """The larger of |influence| and excess."""
        return jackknife(lambda runs: self.of(arm, runs), self.originals)

    def less(self, arms: Sequence[str], others: Sequence[str]) -> Estimate:
        """What is left by `arms` less what is left by `others`, pair by pair, on average over the pairs."""
        return jackknife(
            lambda runs: float(
                np.mean([self.of(a, runs) - self.of(b, runs) for a, b in zip(arms, others, strict=True)])
            ),
            self.originals,
        )
