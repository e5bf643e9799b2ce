"""How much does training reveal about a whole forget set? From the norm of the SUM of its gradients.

METHOD section 5 (the open problem of Sepahvand et al. 2025, arXiv 2505.18786). Losses of single records do not add:
gradients of a set may align (the loss grows with the square of the size) or cancel. The exact one-step moment is an
expectation over subsets; this module gives the two cases that need only one backward pass per checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from expunge.errors import UsageError
from expunge.privacy.composition import as_array, compose

Estimator = Literal["exact", "leading_order"]


@dataclass(frozen=True)
class SetLoss:
    """Set-level privacy loss in nats.

    estimator "exact": full batch, one run, given the norms. "leading_order": Poisson batches to second order in q, an
    approximation (20 % low in one check at 500 records) and NOT a bound; it must not reach a certified number.
    """

    value: float
    estimator: Estimator


def set_level_loss(
    sum_norms: Any,
    s: float | npt.ArrayLike,
    q: float | npt.ArrayLike,
    steps: Sequence[int] | npt.ArrayLike,
    total_steps: int,
    order: float,
) -> SetLoss:
    """Loss of a forget set S over the run: SUM_c width_c (a/2) q_c^2 ||SUM_{x in S} g_x||^2 / s_c^2.

    At q = 1 a step's divergence is exactly this; below it is the leading order in q.

    Args:
        sum_norms: ||SUM_{x in S} g_x|| at each checkpoint, [c]: the norm of the sum, not the sum of the norms.
        The others are those of `compose`.

    Raises:
        UsageError: as `compose`.
    """
    norms = as_array(sum_norms)
    if norms.ndim != 1:
        raise UsageError(f"sum_norms must have one value per checkpoint; got shape {norms.shape}.")
    rates = np.broadcast_to(np.asarray(q, dtype=np.float64), norms.shape)
    if not np.all((rates >= 0) & (rates <= 1)):
        raise UsageError("q must lie in [0, 1] at every checkpoint.")
    # (a/2) (q r)^2 is the full-batch divergence of gradients scaled by q
    full_batch = compose((norms * rates)[None], s, 1.0, steps, total_steps, order)
    estimator: Estimator = "exact" if np.all(rates == 1) else "leading_order"
    return SetLoss(value=float(full_batch.total[0]), estimator=estimator)
