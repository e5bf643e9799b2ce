"""What does one noisy step reveal about one record? The Renyi divergence of the sampled Gaussian mechanism.

D_a(q, r) = 1/(a-1) ln A,  A = E_{z ~ N(0,1)} [ (1 - q + q exp(r z - r^2/2))^a ],
q the Poisson sampling rate, r = ||g||/s the record's gradient norm over the noise on the batch's gradient sum.
Source: Mironov, Talwar, Zhang 2019 (arXiv 1908.10530), section 3; integer orders their equation for A_a (section 3.3).

Nearly every record has A = 1 + something tiny, and ln(A) computed from A would return rounding noise. So this module
works with the excess A - 1 throughout: with y = q (e^u - 1), u = r z - r^2/2, E[y] = 0, and A - 1 = E[(1+y)^a - 1 - a
y], whose integrand is never negative. The three ways of computing it are in `sampled_gaussian_excess`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from expunge.errors import UsageError
from expunge.privacy.sampled_gaussian_excess import (
    log_excess_by_quadrature,
    log_excess_by_series,
    log_excess_integer,
)

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]

# Quadrature needs about 4 a r nodes; the series loses about 4/r^2 of relative accuracy to cancellation. Both are good
# to 1e-12 around here, which the tests use to check one against the other.
_QUADRATURE_UP_TO_RATIO = 0.25


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
        return _one_pair(float(orders), float(rates), ratio.ravel()).reshape(ratio.shape)
    try:
        # distinct pairs are looked for before ratio joins in: it has many rows, order and rate one per checkpoint
        all_orders, all_rates = np.broadcast_arrays(orders, rates)
        pairs = np.stack([all_orders.ravel(), all_rates.ravel()], axis=1)
        distinct, which = np.unique(pairs, axis=0, return_inverse=True)
        pair_of, all_ratios = np.broadcast_arrays(which.reshape(all_orders.shape), ratio)
    except ValueError:
        raise UsageError(
            f"order {orders.shape}, sampling_rate {rates.shape} and ratio {ratio.shape} do not broadcast together.",
            "Give one order and rate per checkpoint (the last axis of ratio), or one for all.",
        ) from None
    result = np.empty(all_ratios.shape)
    for index, (a, q) in enumerate(distinct):
        chosen = pair_of == index
        result[chosen] = _one_pair(float(a), float(q), all_ratios[chosen])
    return result


def _one_pair(order: float, rate: float, ratio: Floats) -> Floats:
    """D_a(q, r) for one order and one rate, ratio of shape [m]."""
    if rate == 0:
        return np.zeros_like(ratio)
    with np.errstate(over="ignore", under="ignore"):
        if rate == 1:
            return order * ratio**2 / 2
        result = np.where(ratio > 0, np.inf, 0.0)
        finite = (ratio > 0) & np.isfinite(ratio)
        ways = [(finite, log_excess_integer)]
        if order != int(order):
            small = finite & (ratio <= _QUADRATURE_UP_TO_RATIO)
            ways = [(small, log_excess_by_quadrature), (finite & ~small, log_excess_by_series)]
        for chosen, log_excess in ways:
            if chosen.any():
                # ln A = ln(1 + e^L) = logaddexp(0, L): right both for an excess of 1e-30 and for one of e^(1e9).
                result[chosen] = np.logaddexp(0.0, log_excess(order, rate, ratio[chosen])) / (order - 1)
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
