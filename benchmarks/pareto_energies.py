"""What is left of the originals' influence, as sums over records that can be pooled over forget sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from expunge.evaluation.influence_estimate import floored_variance, noise_over_floored
from expunge.evaluation.settings import EvaluationSettings
from expunge.unlearning.pilot_energies import PilotReference

Array = NDArray[np.float64]


def energies(u: Array, o: Array, x: Array) -> Array:
    """C, S_u and S_o of runs that started from the same originals: [..., 1 + K, 3], sums over records.

    u [..., K, m] unlearned, o [R, m] oracles, x [K, m] originals. First over all originals, then with each one left
    out. Unbiased as in ``expunge.evaluation.influence``, with which tests compare.
    """
    runs = len(x)
    weight, noise, centre = _reference(o)
    kept = [np.ones(runs, bool), *(np.arange(runs) != k for k in range(runs))]
    found = []
    for own in kept:
        a, b = u[..., own, :] - centre, x[own] - centre
        count = int(own.sum())
        product = (a.sum(axis=-2) * b.sum(axis=-2) - (a * b).sum(axis=-2)) / (count * (count - 1))
        cross = (product * weight - noise).sum(axis=-1)
        found.append(
            np.stack([cross, _energy(a, weight, noise), np.full_like(cross, _energy(b, weight, noise))], axis=-1)
        )
    return np.stack(found, axis=-2)


def sharp(u: Array, reference: PilotReference) -> Array:
    """`single_set` over all originals, then with each one left out: [..., 1 + K, 3] from u [..., K, m]."""
    runs = u.shape[-2]
    kept = [np.ones(runs, bool), *(np.arange(runs) != k for k in range(runs))]
    return np.stack([single_set(u[..., own, :], reference) for own in kept], axis=-2)


def single_set(u: Array, reference: PilotReference) -> Array:
    """C, S_u and S_o of ONE set, whose few originals say too little: [..., 3] from u [..., K, m].

    What was remembered is that of many other models that trained on the set (``pilot_energies``); S_u is unbiased over
    the runs as above.
    """
    a, weight, noise = u - reference.centre, reference.weight, reference.noise
    cross = (a.mean(axis=-2) * reference.remembered * weight - noise).sum(axis=-1)
    energy = reference.energy * u.shape[-1]
    return np.stack([cross, _energy(a, weight, noise), np.full_like(cross, energy)], axis=-1)


def _reference(o: Array) -> tuple[Array, Array, Array]:
    variance, floor = floored_variance(o, EvaluationSettings().variance_floor)
    noise = noise_over_floored(o.var(axis=0, ddof=1), floor, len(o) - 1) / len(o)
    return 1 / variance, noise, o.mean(axis=0)


def _energy(shift: Array, weight: Array, noise: Array) -> Array:
    """[..., K, m] -> [...]"""
    unbiased = shift.mean(axis=-2) ** 2 - shift.var(axis=-2, ddof=1) / shift.shape[-2]
    total: Array = (unbiased * weight - noise).sum(axis=-1)
    return total


@dataclass(frozen=True)
class Left:
    """Influence and excess over sets, ratios of sums, each with its 95 % interval: jackknife over originals."""

    influence: tuple[float, float, float]
    excess: tuple[float, float, float]

    @property
    def worst(self) -> float:
        return max(abs(self.influence[0]), self.excess[0])


def pooled(parts: Array) -> Left:
    """[sets, 1 + K, 3] -> influence and excess of all sets together."""
    sums = parts.sum(axis=0)
    return Left(*(_with_interval(sums[:, part] / sums[:, 2]) for part in (0, 1)))


def jackknife(values: Array) -> tuple[float, float]:
    """(estimate, half width of its 95 % interval) from [1 + K]: all originals, then each left out."""
    runs = len(values) - 1
    error = np.sqrt((runs - 1) / runs * ((values[1:] - values[1:].mean()) ** 2).sum())
    return float(values[0]), float(t.ppf(0.975, runs - 1) * error)


def _with_interval(values: Array) -> tuple[float, float, float]:
    value, half = jackknife(values)
    return value, value - half, value + half
