"""How long does forgetting take? Steps until a forget set is indistinguishable, from phi along unlearning runs.

METHOD section 7, "Time to unlearn", in two measures:

* `band_times`: the paper's. The mean of phi over the set lies within the band t sd sqrt(1 + 1/R) around the oracles'.
* `influence_times`: ours. Influence and excess lie within a margin; per-record, so that records that moved apart do not
  cancel.

Either counts from the first look from which it holds until the cap: passing through is not forgetting.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from expunge.evaluation.influence_estimate import floored_variance
from expunge.reproduction.findings import jackknife

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.int64]
# Of the median variance over records: EvaluationSettings' default.
FLOOR = 0.5
LEAST_ENERGY = 0.05


@dataclass(frozen=True)
class Times:
    """Steps to unlearn, [...]; where `censored` it did not happen by the cap, which is then the time."""

    steps: Array
    censored: Mask


def staying(inside: Mask, looks: Array) -> Times:
    """First look from which `inside` [..., L] holds at all later looks; looks [L] in steps, increasing."""
    since = np.flip(np.logical_and.accumulate(np.flip(inside, axis=-1), axis=-1), axis=-1)
    censored = ~since[..., -1]
    first = np.argmax(since, axis=-1)
    return Times(np.where(censored, looks[-1], looks[first]), censored)


def entering(inside: Mask, looks: Array) -> Times:
    """First look at which `inside` [..., L] holds, whatever comes after; looks [L] in steps, increasing."""
    censored: Mask = ~np.logical_or.reduce(inside, axis=-1)
    return Times(np.where(censored, looks[-1], looks[np.argmax(inside, axis=-1)]), censored)


def band_times(unlearned: Array, oracles: Array, looks: Array, level: float = 0.95, stay: bool = True) -> Times:
    """The paper's measure, one time a run.

    Args:
        unlearned: phi [runs, L, m] at `looks` [L] steps, the first of them 0 (the original itself).
        oracles: phi [runs, R, m], R >= 2 oracles of each run.
        stay: False counts the first look inside the band. A run of no memory is outside it at one look in twenty, so
            the last such look says little where there are many.
    """
    means = oracles.mean(axis=2)
    count = means.shape[1]
    half = student.ppf((1 + level) / 2, count - 1) * means.std(axis=1, ddof=1) * np.sqrt(1 + 1 / count)
    inside = np.abs(unlearned.mean(axis=2) - means.mean(axis=1)[:, None]) <= half[:, None]
    return staying(inside, looks) if stay else entering(inside, looks)


@dataclass(frozen=True, eq=False)
class Energies:
    """Displacements from the oracles in units of their deviation: unlearned [runs, L, m], original [runs, m].

    Every run has oracles of its own, so that products of displacements of DIFFERENT runs have the energy of METHOD
    section 7 for mean, without any noise to subtract: each figure is a sum over pairs of runs.
    """

    unlearned: Array
    original: Array

    def energy(self, runs: Index) -> float:
        """S_o/m of these runs, the originals' distance from the oracles per record; unbiased, so it may be below 0."""
        return float(_over_pairs(self.original[runs], self.original[runs]))

    @property
    def measurable(self) -> bool:
        """Whether the originals hold something: the lower 95 % bound of S_o/m over runs exceeds .05 (METHOD section 7).

        Decided by all runs, so that leaving one out for an interval does not change it.
        """
        found = jackknife(self.energy, len(self.original))
        return found.interval(0.9)[0] > LEAST_ENERGY

    def cross(self, runs: Index) -> Array:
        """C/m at each look, [L]: S_o/m untouched, 0 forgotten. Unbiased, and defined where nothing was remembered."""
        return _over_pairs(self.unlearned[runs], self.original[runs][:, None, :])

    def energy_left(self, runs: Index) -> Array:
        """S_u/m at each look, [L]: the unlearned models' distance from the oracles per record, whatever way."""
        return _over_pairs(self.unlearned[runs], self.unlearned[runs])

    def influence(self, runs: Index) -> Array:
        """C/S_o at each look, [L]: 1 untouched, 0 forgotten."""
        return self.cross(runs) / self.energy(runs)

    def excess(self, runs: Index) -> Array:
        """S_u/S_o at each look, [L]: 1 untouched, 0 forgotten; counts any distance from the oracles."""
        return self.energy_left(runs) / self.energy(runs)


def _over_pairs(a: Array, b: Array) -> Array:
    """Mean over records and over pairs k != l of a_k b_l, runs first, records last."""
    count = len(a)
    together = a.sum(axis=0) * b.sum(axis=0) - (a * b).sum(axis=0)
    result: Array = together.mean(axis=-1) / (count * (count - 1))
    return result


def energies(unlearned: Array, oracles: Array, original: Array) -> Energies:
    """phi of one forget set: unlearned [runs, L, m], oracles [runs, R, m] of each run, original [runs, m].

    Weights are one over the variance of all oracles, floored (METHOD section 7).

    Raises:
        UsageError: oracles that do not differ.
    """
    everyone = oracles.reshape(-1, oracles.shape[-1])
    scale = np.sqrt(floored_variance(everyone, FLOOR)[0])
    centre = oracles.mean(axis=1)
    return Energies((unlearned - centre[:, None]) / scale, (original - centre) / scale)


def influence_times(found: Energies, runs: Index, looks: Array, margin: float) -> Times:
    """Our measure, one time for these runs together: |influence| and excess stay at most `margin`. Scalars as arrays.

    Where the originals hold nothing measurable there is nothing to forget, and the time is 0.
    """
    if not found.measurable:
        return Times(np.array(0.0), np.array(False))
    inside = (np.abs(found.influence(runs)) <= margin) & (found.excess(runs) <= margin)
    return staying(inside, looks)
