"""When is a noisy curve of forgetting below its target? Where its best decreasing fit crosses, not where it stays.

A distance that is estimated at every look leaves its target again by chance alone, so that "from when on does it stay"
(times.staying) reads noise as slowness: the more looks, the later. Forgetting goes one way; the decreasing curve of
least squares (isotonic regression) uses all looks at once, and between looks it is read off a straight line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from expunge.reproduction.times import Energies, Index, Times

Array = NDArray[np.float64]


def falling(values: Array) -> Array:
    """The decreasing curve nearest to `values` [L]."""
    fitted: Array = np.asarray(isotonic_regression(values, increasing=False).x, dtype=np.float64)
    return fitted


def crossing(values: Array, looks: Array, target: float) -> Times:
    """First steps at which the decreasing fit of `values` [L] at `looks` [L] is no more than `target`; scalars."""
    fitted = falling(values)
    below = fitted <= target
    if not below.any():
        return Times(np.array(float(looks[-1])), np.array(True))
    first = int(np.argmax(below))
    if first == 0:
        return Times(np.array(0.0), np.array(False))
    fall = fitted[first - 1] - fitted[first]
    part = (fitted[first - 1] - target) / fall
    return Times(np.array(looks[first - 1] + part * (looks[first] - looks[first - 1])), np.array(False))


def distance_times(found: Energies, runs: Index, looks: Array, target: float) -> Times:
    """Steps until these runs together are within `target` of the oracles, in their variance per record (S_u/m).

    The target is absolute, as a Renyi target rho of METHOD section 6 is: there a distance that decays at one rate for
    all sets takes time in proportion to its logarithm at the start. A share of the set's own distance (influence) would
    take every set the same time under that law, however much it held.
    """
    return crossing(found.energy_left(runs), looks, target)


def share_times(found: Energies, runs: Index, looks: Array, share: float) -> Times:
    """Steps until influence is at most `share`; 0 where the originals hold nothing measurable: nothing to share."""
    if not found.measurable:
        return Times(np.array(0.0), np.array(False))
    return crossing(found.influence(runs), looks, share)
