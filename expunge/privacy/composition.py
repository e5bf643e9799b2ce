"""How do a record's losses at single steps add up over the training run?

METHOD section 3. With i = 0 the LAST step and p = 3T, step T-1-i counts at order a_i = 1 + (a-1) (p/(p-1))^i; from one
run the expectation is one sample and P(x, a) = SUM_t D_{a_{T-1-t}}(q_t, s_t, ||g_t(x)||). Source: Thudi et al. 2024
(arXiv 2307.00310), per-instance composition, as used by Sepahvand et al. 2025 (arXiv 2505.18786), section 3; the
interpolation between checkpoints is chosen here. P from one run is a sample of an expectation: a score, not a bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from expunge.errors import UsageError
from expunge.privacy.divergences import divergence_of_orders, sampled_gaussian_divergence
from expunge.privacy.step_widths import checked_steps, checkpoint_widths

Floats = npt.NDArray[np.float64]

_RECORDS_PER_CHUNK = 1 << 14
_FEWEST_RUNS = 3


@dataclass(frozen=True, eq=False)
class CumulativeLoss:
    """Per-record privacy loss in nats: `total` [n] over the run, `cumulative` [n, c] through checkpoint c, included."""

    total: Floats
    cumulative: Floats


def composition_orders(order: float, total_steps: int) -> Floats:
    """The orders a_i, [T], indexed from the LAST step: a_0 = order for it, growing to 1 + 1.4 (order - 1) for the
    first.

    a_i = 1 + (a-1) (p/(p-1))^i with p = 3T. Step t counts at order a_{T-1-t}.

    Raises:
        UsageError: order <= 1 or total_steps < 1.
    """
    _check_order(order)
    if total_steps < 1:
        raise UsageError(f"total_steps must be 1 or more; got {total_steps}.")
    p = 3.0 * total_steps
    return 1 + (order - 1) * np.exp(-np.arange(total_steps) * np.log1p(-1 / p))


def compose(
    norms: Any,
    s: float | npt.ArrayLike,
    q: float | npt.ArrayLike,
    steps: Sequence[int] | npt.ArrayLike,
    total_steps: int,
    order: float,
    weighted: bool = False,
    *,
    round_up: bool = True,
) -> CumulativeLoss:
    """Privacy loss of every record over the whole run, from its gradient norms at the checkpoints.

    Args:
        norms: gradient norms [n, c], array or tensor, finite.
        s: standard deviation of the noise on the SUM of the batch's gradients (METHOD section 1), [c] or one for all.
        q: sampling rate, [c] or one for all.
        steps: the checkpoints' steps, [c], strictly increasing in [0, T-1].
        total_steps: T.
        order: a > 1.
        weighted: False is plain composition, all steps at `order`: for ranking. True uses the orders of
            `composition_orders`, as any bound must (plain is up to 10^4 off near the crossover of METHOD section 2).
        round_up: with weighted, round the orders up to integers: larger, faster, never smaller than the exact orders'.

    Returns:
        CumulativeLoss in float64, computed in chunks of records.

    Raises:
        UsageError: shapes that do not fit; a norm that is negative or not finite (the first is named); s not above 0;
            a wrong order, rate or step.
    """
    table = _as_table(norms)
    widths, noise, rates, at = _per_checkpoint(table.shape[1], s, q, steps, total_steps)
    orders = _step_orders(order, total_steps, at, weighted, round_up)
    result = np.empty(table.shape)
    for start in range(0, len(table), _RECORDS_PER_CHUNK):
        part = np.asarray(table[start : start + _RECORDS_PER_CHUNK], dtype=np.float64)
        _check_finite(part, start)
        spent = widths * sampled_gaussian_divergence(orders, rates, part / noise)
        np.cumsum(spent, axis=1, out=result[start : start + _RECORDS_PER_CHUNK])
    return CumulativeLoss(total=result[:, -1].copy(), cumulative=result)


def compose_orders(
    norms: Any,
    s: float | npt.ArrayLike,
    q: float | npt.ArrayLike,
    steps: Sequence[int] | npt.ArrayLike,
    total_steps: int,
    orders: Sequence[float] | npt.ArrayLike,
    weighted: bool = False,
    *,
    round_up: bool = True,
) -> Floats:
    """Totals over the run at several orders, [orders, n]: `compose(..., order).total` for each, in one pass.

    Args:
        orders: orders a > 1, [orders]; integer orders up to 16 share most of their work. The others are those of
            `compose`.

    Raises:
        UsageError: as `compose`; no order.
    """
    table = _as_table(norms)
    wanted = np.asarray(orders, dtype=np.float64)
    if wanted.ndim != 1 or wanted.size == 0:
        raise UsageError(f"orders must be a list with at least one order; got shape {wanted.shape}.")
    widths, noise, rates, at = _per_checkpoint(table.shape[1], s, q, steps, total_steps)
    by_column = np.stack([_step_orders(float(a), total_steps, at, weighted, round_up) for a in wanted])
    # columns of the same rate and orders are computed together
    keys, group = np.unique(np.vstack([rates[None], by_column]), axis=1, return_inverse=True)
    result = np.zeros((len(wanted), len(table)))
    rows = max(_RECORDS_PER_CHUNK // 4, _RECORDS_PER_CHUNK // len(wanted))
    for start in range(0, len(table), rows):
        part = np.asarray(table[start : start + rows], dtype=np.float64)
        _check_finite(part, start)
        ratios = part / noise
        for index, (rate, *distinct) in enumerate(keys.T):
            columns = np.flatnonzero(group == index)
            spent = divergence_of_orders(distinct, float(rate), ratios[:, columns])
            result[:, start : start + len(part)] += spent @ widths[columns]
    return result


def discounted_loss(
    norms: Any,
    s: float | npt.ArrayLike,
    q: float | npt.ArrayLike,
    steps: Sequence[int] | npt.ArrayLike,
    total_steps: int,
    order: float,
    eta: float | npt.ArrayLike,
    decay: float,
) -> CumulativeLoss:
    """P_lambda = SUM_t exp(-2 lambda SUM_{j>t} eta_j) D_t: old steps count less. METHOD section 5; not a bound.

    Args:
        eta: learning rate at the checkpoints, [c] or one for all; linear in between.
        decay: lambda >= 0, the curvature that pulls runs together, per unit of learning rate times step; 0 gives
            `compose`. The others are those of `compose`.

    Raises:
        UsageError: as `compose`; a negative decay or learning rate.
    """
    table = _as_table(norms)
    at = checked_steps(steps, total_steps)
    rates = _one_per_checkpoint(eta, len(at), "eta")
    if not decay >= 0 or not np.all(rates >= 0):
        raise UsageError(f"decay and eta must be zero or more; got decay {decay!r}.")
    everywhere = np.interp(np.arange(total_steps), at, rates)
    after = everywhere[::-1].cumsum()[::-1] - everywhere
    plain = compose(table, s, q, steps, total_steps, order)
    spent = np.diff(plain.cumulative, axis=1, prepend=0.0) * np.exp(-2 * decay * after[at])
    cumulative = spent.cumsum(axis=1)
    return CumulativeLoss(total=cumulative[:, -1].copy(), cumulative=cumulative)


def compose_runs(
    norms: Any,
    s: float | npt.ArrayLike,
    q: float | npt.ArrayLike,
    steps: Sequence[int] | npt.ArrayLike,
    total_steps: int,
    order: float,
) -> Floats:
    """P(x, a) [n] from R >= 3 runs, the expectation taken at every step: SUM_t (1/l_t) ln mean_r exp(l_t D_t^r).

    l_t = p (a_i - 1), i = T-1-t, p = 3T: the weights (p-1)^i/p^(i+1)/(a-1) of METHOD section 3 equal 1/l_t. With l_t of
    the order of T this is close to the largest of the runs. Orders are not rounded.

    Args:
        norms: [R, n, c]; the others are those of `compose`, equal in all runs.

    Raises:
        UsageError: as `compose`; fewer than 3 runs.
    """
    table = np.asarray(norms, dtype=np.float64)
    if table.ndim != 3 or table.shape[0] < _FEWEST_RUNS:
        raise UsageError(
            f"At least {_FEWEST_RUNS} runs are needed; got an array of shape {table.shape}.",
            "The first axis is the run. With one run use compose.",
        )
    widths, noise, rates, at = _per_checkpoint(table.shape[2], s, q, steps, total_steps)
    orders = _step_orders(order, total_steps, at, weighted=True, round_up=False)
    sharpness = 3.0 * total_steps * (orders - 1)
    _check_finite(table.reshape(-1, table.shape[2]), 0)
    total = np.zeros(table.shape[1])
    for start in range(0, table.shape[1], _RECORDS_PER_CHUNK):
        part = table[:, start : start + _RECORDS_PER_CHUNK] / noise
        divergences = sampled_gaussian_divergence(orders, rates, part)
        total[start : start + _RECORDS_PER_CHUNK] = (widths * _log_mean_exp(divergences, sharpness)).sum(1)
    return total


def _log_mean_exp(values: Floats, sharpness: npt.NDArray[np.float64] | np.float64) -> Floats:
    """(1/l) ln mean_r exp(l v_r) over the first axis, without overflow."""
    peak = values.max(axis=0)
    result: Floats = peak + np.log(np.exp(sharpness * (values - peak)).mean(axis=0)) / sharpness
    return result


def _step_orders(order: float, total_steps: int, at: Any, weighted: bool, round_up: bool) -> Floats:
    _check_order(order)
    if not weighted:
        return np.full(len(at), float(order))
    orders = composition_orders(order, total_steps)[total_steps - 1 - at]
    return np.ceil(orders) if round_up else orders


def _per_checkpoint(count: int, s: Any, q: Any, steps: Any, total_steps: int) -> tuple[Any, Any, Any, Any]:
    """Widths, noise, rates and steps, each [c], checked against the number of columns of the norms."""
    at = checked_steps(steps, total_steps)
    if len(at) != count:
        raise UsageError(f"{count} columns of gradient norms, but {len(at)} steps.", "Give one step per column.")
    noise = _one_per_checkpoint(s, count, "s")
    if not np.all(np.isfinite(noise) & (noise > 0)):
        raise UsageError(
            "The noise scale s must be above 0 at every checkpoint.",
            "For plain SGD without noise use assumed_noise_scale.",
        )
    rates = _one_per_checkpoint(q, count, "q")
    if not np.all((rates >= 0) & (rates <= 1)):
        raise UsageError("The sampling_rate q must lie in [0, 1] at every checkpoint.")
    return checkpoint_widths(at, total_steps), noise, rates, at


def _one_per_checkpoint(value: Any, count: int, name: str) -> Floats:
    array = np.asarray(value, dtype=np.float64)
    if array.ndim > 1 or array.size not in (1, count):
        raise UsageError(f"{name} has shape {array.shape}; it needs one value, or one for each of {count} checkpoints.")
    return np.broadcast_to(array.reshape(-1), (count,))


def as_array(values: Any) -> npt.NDArray[Any]:
    """An array from an array, a list or a tensor on any device, without importing torch."""
    return np.asarray(values.detach().cpu().numpy() if hasattr(values, "detach") else values)


def _as_table(norms: Any) -> npt.NDArray[Any]:
    table = as_array(norms)
    if table.ndim != 2 or table.shape[1] == 0:
        raise UsageError(f"norms must have shape [records, checkpoints]; got {table.shape}.")
    return table


def _check_finite(part: Floats, offset: int) -> None:
    bad = np.argwhere(~np.isfinite(part) | (part < 0))
    if len(bad):
        row, column = bad[0]
        raise UsageError(
            f"{len(bad)} gradient norms are not finite numbers; the first is {part[row, column]} at row "
            f"{offset + row}, checkpoint {column}.",
            "Training diverged there, or the record holds invalid features.",
        )


def _check_order(order: float) -> None:
    if not (np.isfinite(order) and order > 1):
        raise UsageError(f"order must be a finite number above 1; got {order!r}.")
