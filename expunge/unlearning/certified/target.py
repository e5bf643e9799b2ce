"""Which Renyi divergence is small enough for (epsilon, delta), and at which orders is it looked for?"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from expunge.errors import UsageError

# Dense where the best order lies for delta of 1e-3 to 1e-9 and epsilon of 0.05 to 10; a coarser grid only costs steps
ORDERS: tuple[float, ...] = tuple(float(order) for order in np.unique(np.round(1 + np.geomspace(0.25, 4000.0, 40), 3)))


def renyi_target(order: float | npt.NDArray[np.float64], epsilon: float, delta: float) -> npt.NDArray[np.float64]:
    """rho_a: the largest D_a that implies (epsilon, delta)-indistinguishability; 0 or less where none does.

    rho = epsilon - ln((a-1)/a) + (ln delta + ln a)/(a-1), METHOD section 6. Source: Canonne, Kamath, Steinke 2020
    (arXiv 2004.00010), proposition 12.

    Raises:
        UsageError: epsilon not above 0, delta outside (0, 1), order not above 1.
    """
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise UsageError(f"epsilon must be a number above 0; got {epsilon!r}.")
    if not 0 < delta < 1:
        raise UsageError(f"delta must lie between 0 and 1; got {delta!r}.")
    a = np.asarray(order, dtype=np.float64)
    if not np.all(np.isfinite(a) & (a > 1)):
        raise UsageError("Orders must be finite numbers above 1.")
    return epsilon - np.log1p(-1 / a) + (math.log(delta) + np.log(a)) / (a - 1)
