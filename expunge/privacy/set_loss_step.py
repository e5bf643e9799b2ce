"""What does one noisy step reveal about a whole forget set? The divergence, by the estimator that can be trusted.

METHOD section 5 (the open problem of Sepahvand et al. 2025, arXiv 2505.18786). For a set of m records with gradients
g_l, integer order a and Poisson rate q,

    E_Q[(P/Q)^a] = E over a independent Poisson subsets S_1..S_a of exp(SUM_{i<j} <G_{S_i}, G_{S_j}> / s^2),

which needs only the Gram matrix of the gradients. At full batch it is exp(a (a-1) ||SUM g||^2 / (2 s^2)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from expunge.errors import UsageError, nearest
from expunge.privacy.set_bounds import lower_bound, tilted_laws, upper_bound
from expunge.privacy.set_enumeration import MOST_CELLS, enumerated_log_moment, enumeration_cells
from expunge.privacy.set_sampling import Sampled, plain_law, sampled_log_moment

Floats = npt.NDArray[np.float64]
Estimator = Literal["exact", "enumeration", "importance", "monte_carlo", "leading_order", "not_estimated"]  # in order
Wanted = Literal["auto", "enumeration", "monte_carlo", "importance"]

LEAST_EFFECTIVE_SAMPLES = 1000.0
_WIDEST_ERROR = 0.05  # of the value, above which a number is not called an estimate
# Where importance sampling falls short, it is tried again with laws around the pattern that weighed most, the last time
# with more draws
_ATTEMPTS = 4
_LAST_TIMES = 4


@dataclass(frozen=True)
class SetLoss:
    """Set-level privacy loss in nats, of one step or of a run.

    Attributes:
        value: the loss, or None where it was "not_estimated".
        estimator: "exact": full batch. "enumeration": every pattern was added up. "leading_order": to second order in
            q, an approximation (20 % low in one check at 500 records) that must not reach a certified number.
            "monte_carlo", "importance": drawn, with at least 1,000 effective draws. "not_estimated": bounds only. Over
            a run, the least certain of the steps'.
        lower, upper: rigorous bounds (upper may be inf where nothing is known).
        standard_error: of a drawn value, else 0.
        effective_sample_size: (SUM w)^2 / SUM w^2, the smallest over the steps that were drawn; None without draws.
        by_checkpoint: of a run, the losses of the steps at the checkpoints.
    """

    value: float | None
    estimator: Estimator
    lower: float
    upper: float
    standard_error: float = 0.0
    effective_sample_size: float | None = None
    by_checkpoint: tuple[SetLoss, ...] = ()


def set_step_loss(
    gram: npt.ArrayLike,
    s: float,
    q: float,
    order: float,
    *,
    estimator: Wanted = "auto",
    draws: int = 8_192,
    seed: int | tuple[int, ...] = 0,
) -> SetLoss:
    """Loss of a forget set at one step.

    "auto" takes the first that can be had: exact at full batch; enumeration for few records (6 at order 8, 9 at 4);
    importance sampling. Plain Monte Carlo has to be asked for, since it can pass the test of the effective sample size
    and be wrong: where the patterns that matter are so rare that none was drawn, all weights are near one (one record,
    r = 1, q = .0213, a = 8: once .004 for .0173, with 13,900 effective of 16,384 draws). So an estimate is refused as
    well where it contradicts the bounds or its standard error is over 5 %, and moved onto a bound that it passes within
    its error (chosen here).

    Args:
        gram: inner products of the records' gradients <g_l, g_m>, [m, m].
        s: standard deviation of the noise on the SUM of the batch's gradients (METHOD section 1).
        q: sampling rate in [0, 1]. order: a > 1; below full batch an integer.
        draws: how many patterns to draw, some seconds for 600 records; importance sampling that falls short tries up
            to three times more, the last with 4 times as many. seed: of the numpy Generator; same arguments and seed,
            same result.

    Raises:
        UsageError: a Gram matrix that is none, s not above 0, a wrong q, order, estimator or number of draws; a set too
            large to enumerate where that was asked for.
    """
    inner = _checked_gram(gram)
    if not (math.isfinite(s) and s > 0):
        raise UsageError(f"The noise scale s must be above 0; got {s!r}.")
    if not 0 <= q <= 1:
        raise UsageError(f"q must lie in [0, 1]; got {q!r}.")
    if not (math.isfinite(order) and order > 1):
        raise UsageError(f"order must be a finite number above 1; got {order!r}.")
    if estimator not in get_args(Wanted):
        raise UsageError(f"Unknown estimator {estimator!r}.", nearest(str(estimator), list(get_args(Wanted))))
    if draws < 2:
        raise UsageError(f"draws must be 2 or more; got {draws}.")
    scaled = inner / s**2
    if q in (0, 1):
        value = q * order * max(0.0, float(scaled.sum())) / 2
        return SetLoss(value, "exact", value, value)
    if order != int(order):
        raise UsageError(
            f"Below full batch the set-level loss needs an integer order; got {order}.",
            f"Use {math.ceil(order)}: the loss grows with the order, so it is a bound.",
        )
    return _below_full_batch(scaled, q, int(order), estimator, draws, np.random.default_rng(seed))


def _below_full_batch(
    gram: Floats, q: float, order: int, estimator: Wanted, draws: int, generator: np.random.Generator
) -> SetLoss:
    cells = enumeration_cells(len(gram), order)
    if estimator == "enumeration" and cells > MOST_CELLS:
        raise UsageError(
            f"Enumerating {len(gram)} records at order {order} takes {cells:.1e} terms, more than {MOST_CELLS:.0e}.",
            'Use estimator="importance".',
        )
    if estimator == "enumeration" or (estimator == "auto" and cells <= MOST_CELLS):
        value = enumerated_log_moment(gram, q, order) / (order - 1)
        return SetLoss(value, "enumeration", value, value)
    upper = upper_bound(gram, q, order)
    starts: list[Floats] = []
    for attempt in range(_ATTEMPTS):
        laws = tilted_laws(gram, q, order, starts)
        lower = lower_bound(gram, laws, q, order)
        if estimator == "monte_carlo":
            drawn = sampled_log_moment(gram, [plain_law(len(gram), q, order)], draws, generator)
            return _judged("monte_carlo", drawn, lower, max(lower, upper), order)
        many = draws if attempt < _ATTEMPTS - 1 else _LAST_TIMES * draws
        drawn = sampled_log_moment(gram, laws, many, generator)
        result = _judged("importance", drawn, lower, max(lower, upper), order)
        if result.value is not None:
            break
        starts.append(drawn.heaviest / order)
    return result


def _judged(name: Estimator, drawn: Sampled, lower: float, upper: float, order: int) -> SetLoss:
    """The estimate if it can be trusted, else none; bounds and draws in units of ln A = (a-1) D."""
    value = min(max(drawn.log_moment, lower), upper)
    error = min(drawn.standard_error, upper - lower)
    missed = max(2 * drawn.standard_error, 1e-3 * abs(value))
    trusted = (
        drawn.effective_sample_size >= LEAST_EFFECTIVE_SAMPLES
        and lower - missed <= drawn.log_moment <= upper + missed
        and error <= _WIDEST_ERROR * value
    )
    scale = order - 1
    return SetLoss(
        value / scale if trusted else None,
        name if trusted else "not_estimated",
        lower / scale,
        upper / scale,
        error / scale if trusted else 0.0,
        drawn.effective_sample_size,
    )


def _checked_gram(gram: npt.ArrayLike) -> Floats:
    inner = np.asarray(gram, dtype=np.float64)
    if inner.ndim != 2 or inner.shape[0] != inner.shape[1] or inner.size == 0:
        raise UsageError(f"The Gram matrix must have shape [m, m] with at least one record; got {inner.shape}.")
    if not np.all(np.isfinite(inner)):
        raise UsageError("The Gram matrix holds values that are not finite.", "Check where training diverged.")
    size = float(np.abs(inner).max())
    if np.abs(inner - inner.T).max() > 1e-6 * size or np.linalg.eigvalsh(inner)[0] < -1e-6 * size * len(inner):
        raise UsageError("This is no Gram matrix: it is not symmetric and positive semi-definite.")
    return (inner + inner.T) / 2
