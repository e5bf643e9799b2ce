"""Runs of which is known what they remember and how fast they forget it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.reproduction.forget_curves import Curves, Seen

RUNS, ORACLES, RECORDS, STEPS = 8, 4, 60, 100
LOOKS = np.array([0, 10, 25, 50, 75, 100, 150, 200])


def made_up_curves(remembered: float, rate: float, seed: int, records: int = RECORDS) -> Curves:
    """Originals `remembered` deviations from their oracles, exp(-rate) of it left after one training of 100 steps.

    S_o/m is then `remembered`^2 and C/m that times exp(-rate cost), up to the noise of runs.
    """
    rng = np.random.default_rng(seed)
    level = rng.normal(size=records) * 3
    left = remembered * np.exp(-rate * LOOKS / STEPS)
    own = level + left[None, :, None] + rng.normal(size=(RUNS, len(LOOKS), records))
    oracles = level + rng.normal(size=(RUNS, ORACLES, records))
    return Curves(LOOKS, _seen(own), _seen(oracles))


def _seen(own: NDArray[np.float64]) -> Seen:
    shape = own.shape[:-1]
    return Seen(own, np.zeros((*shape, 0)), np.zeros(shape), np.full(shape, 0.9))
