"""How much does training reveal about a whole forget set? Its privacy loss over the run.

METHOD section 5 (the open problem of Sepahvand et al. 2025, arXiv 2505.18786). Losses of single records do not add:
gradients of a set may align (the loss grows with the square of the size) or cancel. Two ways: from the norm of the SUM
of the set's gradients, one ordinary backward pass per checkpoint (`set_level_loss`: exact at full batch, else the
leading order in q, with bounds); or from their Gram matrices (`set_loss_from_grams`), by the estimators of
`set_step_loss`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from expunge.errors import UsageError
from expunge.privacy.composition import as_array, compose
from expunge.privacy.set_bounds import aligned_upper_bound
from expunge.privacy.set_loss_step import Estimator, SetLoss, Wanted, set_step_loss
from expunge.privacy.step_widths import checkpoint_widths

__all__ = ["SetLoss", "set_level_loss", "set_loss_from_grams"]


def set_level_loss(
    sum_norms: Any,
    s: float | npt.ArrayLike,
    q: float | npt.ArrayLike,
    steps: Sequence[int] | npt.ArrayLike,
    total_steps: int,
    order: float,
    record_norms: Any = None,
) -> SetLoss:
    """Loss of a forget set S over the run: SUM_c width_c (a/2) q_c^2 ||SUM_{x in S} g_x||^2 / s_c^2.

    At q = 1 a step's divergence is exactly this; below it is the leading order in q, and by Jensen's inequality never
    more than the loss at an integer order (at another order the lower bound is that of the integer below).

    Args:
        sum_norms: ||SUM_{x in S} g_x|| at each checkpoint, [c]: the norm of the sum, not the sum of the norms.
        record_norms: the norms of the set's own records, [m, c], for an upper bound: all gradients aligned. Without
            them it is inf. The others are those of `compose`.

    Raises:
        UsageError: as `compose`.
    """
    norms = as_array(sum_norms)
    if norms.ndim != 1:
        raise UsageError(f"sum_norms must have one value per checkpoint; got shape {norms.shape}.")
    rates = np.broadcast_to(np.asarray(q, dtype=np.float64), norms.shape)
    noise = np.broadcast_to(np.asarray(s, dtype=np.float64), norms.shape)
    if not np.all((rates >= 0) & (rates <= 1)):
        raise UsageError("q must lie in [0, 1] at every checkpoint.")
    compose(norms[None], s, q, steps, total_steps, order)  # checks the arguments
    own = None if record_norms is None else as_array(record_norms)
    if own is not None and (own.ndim != 2 or own.shape[1] != len(norms) or not np.all(np.isfinite(own) & (own >= 0))):
        raise UsageError(f"record_norms must be finite norms [records, {len(norms)}]; got shape {own.shape}.")
    losses = []
    for c, (norm, rate, scale) in enumerate(zip(norms.tolist(), rates.tolist(), noise.tolist(), strict=True)):
        value = order / 2 * (rate * norm / scale) ** 2
        if rate in (0, 1):
            losses.append(SetLoss(value, "exact", value, value))
            continue
        above, higher = math.inf, math.ceil(order)
        if own is not None:
            above = aligned_upper_bound(own[:, c] / scale, rate, higher) / (higher - 1)
        # at another order than an integer, at least that of the integer below; order 1 is Kullback-Leibler
        losses.append(SetLoss(value, "leading_order", value * math.floor(order) / order, above))
    return _composed(losses, checkpoint_widths(steps, total_steps))


def set_loss_from_grams(
    grams: Any,
    s: float | npt.ArrayLike,
    q: float | npt.ArrayLike,
    steps: Sequence[int] | npt.ArrayLike,
    total_steps: int,
    order: float,
    *,
    estimator: Wanted = "auto",
    draws: int = 8_192,
    seed: int = 0,
) -> SetLoss:
    """Loss of a forget set over the run from the Gram matrices of its gradients, by plain composition.

    Args:
        grams: <g_l, g_m> at each checkpoint, [c, m, m] (`set_gradients.gradient_gram`).
        estimator, draws, seed: those of `set_step_loss`; every checkpoint draws for itself. The others are those of
            `compose`.

    Returns:
        The steps' losses times their widths, and so the bounds. Where one step is not estimated, neither is the run.

    Raises:
        UsageError: as `set_step_loss` and `compose`.
    """
    table = as_array(grams)
    if table.ndim != 3:
        raise UsageError(f"grams must have shape [checkpoints, m, m]; got {table.shape}.")
    try:
        noise = np.broadcast_to(np.asarray(s, dtype=np.float64), table.shape[:1])
        rates = np.broadcast_to(np.asarray(q, dtype=np.float64), table.shape[:1])
    except ValueError:
        raise UsageError(f"s and q need one value, or one for each of {len(table)} checkpoints.") from None
    widths = checkpoint_widths(steps, total_steps)
    if len(widths) != len(table):
        raise UsageError(f"{len(table)} Gram matrices, but {len(widths)} steps.", "Give one step per Gram matrix.")
    losses = [
        set_step_loss(gram, scale, rate, order, estimator=estimator, draws=draws, seed=(seed, index))
        for index, (gram, scale, rate) in enumerate(zip(table, noise.tolist(), rates.tolist(), strict=True))
    ]
    return _composed(losses, widths)


def _composed(losses: Sequence[SetLoss], widths: npt.NDArray[np.float64]) -> SetLoss:
    """The run's loss: plain composition, as certain as its least certain step."""
    known = [loss.value for loss in losses if loss.value is not None]
    sizes = [loss.effective_sample_size for loss in losses if loss.effective_sample_size is not None]
    ranking = get_args(Estimator)
    return SetLoss(
        value=float(widths @ known) if len(known) == len(losses) else None,
        estimator=max((loss.estimator for loss in losses), key=ranking.index),
        lower=float(widths @ [loss.lower for loss in losses]),
        upper=float(widths @ [loss.upper for loss in losses]),
        standard_error=float(np.linalg.norm(widths * [loss.standard_error for loss in losses])),
        effective_sample_size=min(sizes, default=None),
        by_checkpoint=tuple(losses),
    )
