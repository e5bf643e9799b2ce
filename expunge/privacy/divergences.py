"""What does one noisy step reveal about one record? The Renyi divergence of the sampled Gaussian mechanism.

D_a(q, r) = 1/(a-1) ln A,  A = E_{z ~ N(0,1)} [ (1 - q + q exp(r z - r^2/2))^a ],
q the Poisson sampling rate, r = ||g||/s the record's gradient norm over the noise on the batch's gradient sum.
Source: Mironov, Talwar, Zhang 2019 (arXiv 1908.10530), section 3; integer orders their equation for A_a (section 3.3).

Nearly every record has A = 1 + something tiny, and ln(A) computed from A would return rounding noise. So this module
works with the excess A - 1 throughout: with y = q (e^u - 1), u = r z - r^2/2, E[y] = 0, and A - 1 = E[(1+y)^a - 1 - a
y], whose integrand is never negative. The three ways of computing it are in `sampled_gaussian_excess`; the two that
make millions of values cheap are in `sampled_gaussian_integers` and `sampled_gaussian_interpolation`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from expunge.errors import UsageError
from expunge.privacy.sampled_gaussian_excess import (
    log_excess_by_quadrature,
    log_excess_by_series,
    log_excess_integer,
)
from expunge.privacy.sampled_gaussian_integers import log_moment_integers
from expunge.privacy.sampled_gaussian_interpolation import WORTH_A_TABLE, interpolated

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]

# Quadrature needs about 4 a r nodes; the series loses about 4/r^2 of relative accuracy to cancellation. Both are good
# to 1e-12 around here, which the tests use to check one against the other.
_QUADRATURE_UP_TO_RATIO = 0.25
# Up to here the binomial sum itself is as fast as a table of polynomials
_SUM_UP_TO_ORDER = 16


@overload
def sampled_gaussian_divergence(order: float, sampling_rate: float, ratio: float) -> float: ...


@overload
def sampled_gaussian_divergence(
    order: npt.ArrayLike, sampling_rate: npt.ArrayLike, ratio: npt.NDArray[Any]
) -> npt.NDArray[Any]: ...


@overload
def sampled_gaussian_divergence(
    order: npt.ArrayLike, sampling_rate: npt.ArrayLike, ratio: torch.Tensor
) -> torch.Tensor: ...


def sampled_gaussian_divergence(order: Any, sampling_rate: Any, ratio: Any) -> Any:
    """Renyi divergence of one Poisson-sampled Gaussian step, METHOD section 2, in nats.

    Args:
        order: a > 1, any real. An array broadcasts against the others.
        sampling_rate: q in [0, 1]. An array broadcasts against the others.
        ratio: r = ||g||/s >= 0, any shape; +inf is allowed and costs an infinite divergence.

    Returns:
        D_a(q, r), computed in float64 to about 1e-12 relative. A float gives a float, an array an array (float32 stays
        float32, everything else becomes float64), a tensor a tensor of the same dtype and device. The shape is the
        broadcast shape, which is that of `ratio` when order and sampling_rate are scalars. q = 1 gives a r^2/2.

    Raises:
        UsageError: order <= 1 or not finite; sampling_rate outside [0, 1]; a negative or NaN ratio.
    """
    torch_module = sys.modules.get("torch")  # no import: a caller without tensors should not wait for torch
    if torch_module is not None and isinstance(ratio, torch_module.Tensor):
        plain = ratio.detach().to("cpu", torch_module.float64).numpy()
        result = _divergence(order, sampling_rate, plain)
        dtype = ratio.dtype if ratio.dtype.is_floating_point else torch_module.get_default_dtype()
        return torch_module.from_numpy(result).to(device=ratio.device, dtype=dtype)
    array = np.asarray(ratio)
    result = _divergence(order, sampling_rate, np.asarray(ratio, dtype=np.float64))
    if array.dtype == np.float32:
        with np.errstate(over="ignore", under="ignore"):
            return result.astype(np.float32)
    if result.ndim == 0 and not isinstance(ratio, np.ndarray):
        return float(result)
    return result


def _divergence(order: Any, sampling_rate: Any, ratio: Floats) -> Floats:
    """Checks the arguments, broadcasts them and computes each distinct (order, rate) pair in one vectorised go."""
    orders = _checked(order, "order", "must be a finite number above 1", lambda a: np.isfinite(a) & (a > 1))
    rates = _checked(sampling_rate, "sampling_rate", "must lie in [0, 1]", lambda q: (q >= 0) & (q <= 1))
    _checked(ratio, "ratio", "must be zero or more, and not NaN", lambda r: r >= 0)
    if orders.ndim == 0 and rates.ndim == 0:
        return divergence_of_orders([float(orders)], float(rates), ratio)[0]
    try:
        # distinct pairs are looked for before ratio joins in: it has many rows, order and rate one per checkpoint
        all_orders, all_rates = np.broadcast_arrays(orders, rates)
        all_ratios = np.broadcast_to(ratio, np.broadcast_shapes(all_orders.shape, ratio.shape))
    except ValueError:
        raise UsageError(
            f"order {orders.shape}, sampling_rate {rates.shape} and ratio {ratio.shape} do not broadcast together.",
            "Give one order and rate per checkpoint (the last axis of ratio), or one for all.",
        ) from None
    pairs = np.stack([all_orders.ravel(), all_rates.ravel()], axis=1)
    distinct, which = np.unique(pairs, axis=0, return_inverse=True)
    result = np.empty(all_ratios.shape)
    for index, (a, q) in enumerate(distinct):
        # a view of the cells of this pair where it is one entry per row or column, else those cells
        chosen = _cells(which.reshape(all_orders.shape) == index, all_ratios.shape)
        result[chosen] = divergence_of_orders([float(a)], float(q), all_ratios[chosen])[0]
    return result


def _cells(mask: npt.NDArray[np.bool_], shape: tuple[int, ...]) -> Any:
    """An index of the cells of an array of this shape that `mask` broadcasts to."""
    mask = mask.reshape((1,) * (len(shape) - mask.ndim) + mask.shape)
    varying = [axis for axis, length in enumerate(mask.shape) if length > 1]
    if not varying:
        return (...,)
    if len(varying) == 1:  # columns (or rows): no mask as large as the ratios is needed
        axis = varying[0]
        return (*(slice(None),) * axis, np.flatnonzero(mask), ...)
    return np.broadcast_to(mask, shape)


def divergence_of_orders(orders: Sequence[float], rate: float, ratio: Floats) -> Floats:
    """D_a(q, r) for several orders at one rate, [orders, *ratio.shape]; `sampled_gaussian_divergence` without checks.

    Integer orders up to 16 share their powers. Of other orders, where there are thousands of ratios, one is tabulated
    once and read off by interpolation (1e-12 relative).
    """
    result = np.empty((len(orders), ratio.size))
    ratio_list = ratio.ravel()
    with np.errstate(over="ignore", under="ignore"):
        if rate == 0:
            result[:] = 0
        elif rate == 1:
            for row, order in enumerate(orders):
                result[row] = order * ratio_list**2 / 2
        else:
            inside = (ratio_list > 0) & np.isfinite(ratio_list)
            if not inside.all():
                result[:] = np.where(ratio_list > 0, np.inf, 0.0)
            result[:, inside] = _log_moments(orders, rate, ratio_list[inside]) / (np.array(orders) - 1)[:, None]
    return result.reshape(len(orders), *ratio.shape)


def _log_moments(orders: Sequence[float], rate: float, ratio: Floats) -> Floats:
    """ln A of each order for finite ratios above 0, [orders, m]."""
    result = np.empty((len(orders), len(ratio)))
    sums = [row for row, order in enumerate(orders) if order == int(order) <= _SUM_UP_TO_ORDER]
    if sums:
        result[sums] = log_moment_integers([int(orders[row]) for row in sums], rate, ratio)
    for row in sorted(set(range(len(orders))) - set(sums)):
        log_excess = _log_excess if orders[row] != int(orders[row]) else log_excess_integer
        if len(ratio) >= WORTH_A_TABLE:
            excess = interpolated(log_excess, orders[row], rate, ratio)
        else:
            excess = log_excess(orders[row], rate, ratio)
        # ln A = ln(1 + e^L) = logaddexp(0, L): right both for an excess of 1e-30 and for one of e^(1e9).
        result[row] = np.logaddexp(0.0, excess)
    return result


def _log_excess(order: float, rate: float, ratio: Floats) -> Floats:
    """ln(A - 1) of a non-integer order, by the way that is good for each ratio."""
    result = np.empty_like(ratio)
    small = ratio <= _QUADRATURE_UP_TO_RATIO
    for chosen, way in ((small, log_excess_by_quadrature), (~small, log_excess_by_series)):
        if chosen.any():
            result[chosen] = way(order, rate, ratio[chosen])
    return result


def _checked(value: Any, name: str, rule: str, valid: Any) -> Floats:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{name} {rule}; got {value!r}.") from None
    good = valid(array)
    if not np.all(good):
        first = array[~good].ravel()[0] if array.ndim else array
        raise UsageError(f"{name} {rule}; got {float(first)!r}.")
    return array
