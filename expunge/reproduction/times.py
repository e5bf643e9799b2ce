"""How long does forgetting take? Steps until a forget set is indistinguishable, from phi along unlearning runs.

METHOD section 7, "Time to unlearn", in two measures:

* `band_times`: the paper's. The mean of phi over the set lies within the band t sd sqrt(1 + 1/R) around the oracles'.
* `influence_times`: ours. Influence and excess lie within a margin; per-record, so that records that moved apart do not
  cancel.

Either counts from the first look from which it holds until the cap: passing through is not forgetting.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """Displacements from the oracles: unlearned [runs, L, m], original [runs, m], of oracles [runs, R, m], all in phi.

    Every run has oracles of its own, so that products of displacements of DIFFERENT runs have the energy of METHOD
    section 7 for mean, without any noise to subtract: each figure is a sum over pairs of runs. Records are weighed by
    one over the variance of these runs' oracles, at least `floor` [m]; without a run its oracles do not weigh either,
    so that an interval over runs holds the noise of the weights, the floor's apart. The same oracles stand in the
    displacements and in the weights, which for five oracles in all biases a null's energy by +.09, for 16 by +.01.
    """

    unlearned: Array
    original: Array
    oracles: Array
    floor: Array

    def weights(self, runs: Index) -> Array:
        """One over the variance, [m]."""
        everyone = self.oracles[runs].reshape(-1, self.oracles.shape[-1])
        found: Array = 1 / np.maximum(everyone.var(axis=0, ddof=1), self.floor)
        return found

    def energies(self, runs: Index) -> Array:
        """Each record's part of S_o of these runs, [m]; a mean over pairs, so it may be below 0."""
        return self.weights(runs) * _over_pairs(self.original[runs], self.original[runs])

    def energy(self, runs: Index) -> float:
        """S_o/m of these runs, the originals' distance from the oracles per record."""
        return float(self.energies(runs).mean())

    @property
    def measurable(self) -> bool:
        """Whether the originals hold something: the lower 95 % bound of S_o/m over runs exceeds .05 (METHOD section 7).

        Decided by all runs, so that leaving one out for an interval does not change it.
        """
        found = jackknife(self.energy, len(self.original))
        return found.interval(0.9)[0] > LEAST_ENERGY

    def cross(self, runs: Index) -> Array:
        """C/m at each look, [L]: S_o/m untouched, 0 forgotten. Defined where nothing was remembered, too."""
        found: Array = _over_pairs(self.unlearned[runs], self.original[runs][:, None, :]) @ self.weights(runs)
        return found / self.oracles.shape[-1]

    def energy_left(self, runs: Index) -> Array:
        """S_u/m at each look, [L]: the unlearned models' distance from the oracles per record, whatever way."""
        found: Array = _over_pairs(self.unlearned[runs], self.unlearned[runs]) @ self.weights(runs)
        return found / self.oracles.shape[-1]

    def influence(self, runs: Index) -> Array:
        """C/S_o at each look, [L]: 1 untouched, 0 forgotten."""
        return self.cross(runs) / self.energy(runs)

    def excess(self, runs: Index) -> Array:
        """S_u/S_o at each look, [L]: 1 untouched, 0 forgotten; counts any distance from the oracles."""
        return self.energy_left(runs) / self.energy(runs)

    def of(self, records: slice) -> Energies:
        """Of some of the records alone, by the same floors."""
        return Energies(*(own[..., records] for own in (self.unlearned, self.original, self.oracles, self.floor)))


def _over_pairs(a: Array, b: Array) -> Array:
    """Mean over pairs k != l of a_k b_l, runs first: what is left is [..., m]."""
    count = len(a)
    result: Array = (a.sum(axis=0) * b.sum(axis=0) - (a * b).sum(axis=0)) / (count * (count - 1))
    return result


def energies(unlearned: Array, oracles: Array, original: Array) -> Energies:
    """phi of one forget set: unlearned [runs, L, m], oracles [runs, R, m] of each run, original [runs, m].

    The floor is that of METHOD section 7, a share of the median variance over the set's records by all oracles.

    Raises:
        UsageError: oracles that do not differ.
    """
    _, floor = floored_variance(oracles.reshape(-1, oracles.shape[-1]), FLOOR)
    centre = oracles.mean(axis=1)
    floors = np.full(oracles.shape[-1], floor)
    return Energies(unlearned - centre[:, None], original - centre, oracles, floors)


def pooled(each: Sequence[Energies]) -> Energies:
    """Several sets, forgotten by the same runs, as one long set: every record by its own set's oracles and floor."""

    def joined(arrays: Sequence[Array]) -> Array:
        return np.concatenate(arrays, axis=-1)

    return Energies(
        joined([own.unlearned for own in each]), joined([own.original for own in each]),
        joined([own.oracles for own in each]), joined([own.floor for own in each]),
    )  # fmt: skip


def influence_times(found: Energies, runs: Index, looks: Array, margin: float) -> Times:
    """Our measure, one time for these runs together: |influence| and excess stay at most `margin`. Scalars as arrays.

    Where the originals hold nothing measurable there is nothing to forget, and the time is 0.
    """
    if not found.measurable:
        return Times(np.array(0.0), np.array(False))
    inside = (np.abs(found.influence(runs)) <= margin) & (found.excess(runs) <= margin)
    return staying(inside, looks)
