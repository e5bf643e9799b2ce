"""What privacy loss would a noise be worth if it were Gaussian, and how much is needed for a loss that protects?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from expunge.privacy.composition import compose
from expunge.reproduction.originals import ORDER, Original

Array = NDArray[np.float64]
# Decades around the median gradient norm in which the s of a wanted loss is looked for.
FROM, TO = -6.0, 6.0


def losses_at(original: Original, s: float) -> Array:
    """Privacy loss of every training record for Gaussian noise of deviation `s` on the batch's sum, [n], nats.

    Plain composition at order 8 (METHOD section 3), as everywhere in these scenarios.
    """
    q = [checkpoint.q for checkpoint in original.trajectory.checkpoints]
    norms = original.norms
    return compose(norms.norms, s, q, norms.steps, original.trajectory.total_steps, ORDER).total


def median_loss(original: Original, s: float) -> float:
    """Median over records of `losses_at`; nats."""
    return float(np.median(losses_at(original, s)))


def needed_noise(original: Original, nats: float) -> float:
    """The s for which the median record loses so many nats."""
    centre = np.log10(float(np.median(original.norms.norms)))

    def excess(log_s: float) -> float:
        return float(np.log10(median_loss(original, 10.0**log_s)) - np.log10(nats))

    return float(10.0 ** brentq(excess, centre + FROM, centre + TO, xtol=1e-6))
