"""How hard was a set to unlearn? Influence left along the runs, its area, the times to unlearn, and contrasts of sets.

A time is censored where the cap comes first; influence left at a given cost never is. Both are given two ways: as a
share of what was remembered, and absolutely (C/m, in variances of the oracles per record), since a set of which more is
remembered has a longer way to go. Intervals are delete-one-original jackknives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.reproduction.findings import Estimate, jackknife, over_seeds
from expunge.reproduction.forget_curves import Curves
from expunge.reproduction.times import Energies, Times, band_times, energies, influence_times

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Figure = Callable[[Index], float]
TRAININGS = "trainings"


@dataclass(frozen=True, eq=False)
class Unlearned:
    """One set's runs [K] at `looks` [L], in units of the original training.

    own: phi [K, L, m] of the runs, the originals first. oracles: phi [K, R, m]. accuracy: of the runs on held-out
    records, mean [L]; retrained: that of the oracles.

    Raises:
        UsageError: fewer than three oracles a run.
    """

    looks: Array
    own: Array
    oracles: Array
    accuracy: Array
    retrained: float

    def __post_init__(self) -> None:
        if self.oracles.shape[1] < 3:
            raise UsageError(
                f"{self.oracles.shape[1]} oracles a run.", "Three at least: one is the null, two have a mean."
            )

    @classmethod
    def of(cls, curves: Curves, steps: int) -> Unlearned:
        """From the runs of a set whose original trained for `steps`."""
        seen, right = curves.unlearned, curves.oracles.right
        return cls(curves.looks / steps, seen.own, curves.oracles.own, seen.right.mean(axis=0), float(right.mean()))

    @cached_property
    def energies(self) -> Energies:
        """Of all runs."""
        return energies(self.own, self.oracles, self.own[:, 0])

    @cached_property
    def band(self) -> Times:
        """The paper's times, in trainings."""
        return band_times(self.own, self.oracles, self.looks)

    @cached_property
    def null(self) -> Energies:
        """With an oracle in each run's place, which forgot everything."""
        return energies(self.oracles[:, :1], self.oracles[:, 1:], self.own[:, 0])

    def left(self, runs: Index) -> Array:
        """Absolute influence left at each look, C/m [L]."""
        return self.energies.cross(runs)

    def remembered(self, runs: Index) -> float:
        """S_o/m, what was remembered before: C/m at the first look."""
        return float(self.left(runs)[0])

    def left_area(self, until: float) -> Figure:
        """Mean of C/m over the costs from 0 to `until`, a look."""
        return lambda runs: self._mean(self.left(runs), until)

    def share_area(self, until: float) -> Figure:
        """Mean of the influence C/S_o over the costs from 0 to `until`, a look, of a set that holds something."""
        return lambda runs: self._mean(self.energies.influence(runs), until)

    def share_at(self, cost: float) -> Figure:
        """Influence at a cost, a look."""
        place = int(np.argmin(np.abs(self.looks - cost)))
        return lambda runs: float(self.energies.influence(runs)[place])

    def band_time(self, runs: Index) -> float:
        """Mean time of the runs in the paper's measure; censored ones count as the cap."""
        return float(self.band.steps[runs].mean())

    def influence_time(self, margin: float) -> Figure:
        """Time of the runs together in our measure; the cap where censored."""
        return lambda runs: float(influence_times(self.energies, runs, self.looks, margin).steps)

    def influence_censored(self, margin: float) -> bool:
        """Whether all runs together do not come inside the margin by the cap."""
        return bool(influence_times(self.energies, self.runs, self.looks, margin).censored)

    @property
    def runs(self) -> Index:
        """All of them."""
        return np.arange(len(self.energies.original))

    @property
    def censored(self) -> float:
        """Share of the runs that do not come inside the band by the cap."""
        return float(self.band.censored.mean())

    def _mean(self, curve: Array, until: float) -> float:
        inside = self.looks <= until + 1e-9
        return float(np.trapezoid(curve[inside], self.looks[inside]) / self.looks[inside][-1])


@dataclass(frozen=True)
class Gathered:
    """Estimates by name, and reasons by the name of what could not be estimated."""

    estimates: dict[str, Estimate]
    not_estimable: dict[str, str]

    def add(self, name: str, figure: Figure, runs: int, unit: str = "", *, unless: str = "") -> None:
        """A figure of several runs with its jackknife; `unless`: why there is none."""
        if unless:
            self.not_estimable[name] = unless
            return
        try:
            self.estimates[name] = jackknife(figure, runs, unit)
        except UsageError:
            self.not_estimable[name] = "the figure is not finite, or not without one of the originals"


def difference(first: Figure, others: Mapping[str, Figure]) -> Figure:
    """`first` minus the largest of the others, which one is chosen anew whenever an original is left out.

    The largest of several noisy figures is above the truth, so this is against the claim that `first` is the largest.
    """
    return lambda runs: first(runs) - max(other(runs) for other in others.values())


def log_ratio(first: Figure, others: Mapping[str, Figure]) -> Figure:
    """ln(first / the largest of the others); not a number where either is not positive."""

    def figure(runs: Index) -> float:
        above, below = first(runs), max(other(runs) for other in others.values())
        return math.log(above / below) if above > 0 and below > 0 else math.nan

    return figure


def too_censored(sets: Mapping[str, Unlearned], most: float) -> str:
    """Why times cannot be compared: a set with a larger share of censored runs than `most`; empty where none has."""
    for name, own in sets.items():
        if own.censored > most:
            return f"{own.censored:.0%} of the runs of {name} are not inside the band by {own.looks[-1]:g} trainings"
    return ""


def per_run(own: Unlearned, unit: str = TRAININGS) -> Estimate:
    """The paper's time, one a run."""
    return over_seeds(own.band.steps, unit)
