"""Which law do the times to unlearn follow? Censored regressions on privacy loss, compared by held-out log score.

METHOD section 6, "Empirical law to fit". A time is a normal variable around the law, seen between two limits (Tobit
with two of them): below 0, a set that holds nothing to forget, and above the cap, a set that was not forgotten in
time. Neither kind is dropped: each counts with the probability of lying beyond its limit.

In Olsen's parameters (h = 1/sigma, d = coefficients/sigma) the log likelihood is concave, so there is one optimum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_ndtr

from expunge.errors import UsageError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.int64]

LAWS = ("constant", "logarithmic", "linear", "monotone")
# Over this share of sets beyond the cap a law is not estimable, and below this many sets of known time there is none.
MOST_CENSORED = 0.3
FEWEST_KNOWN = 5
# Of the cap: no law is more certain than looks are apart, however few sets happen to lie on it.
SMALLEST_SPREAD = 0.05
_HALF_LOG_TWO_PI = 0.5 * np.log(2 * np.pi)


@dataclass(frozen=True, eq=False)
class Observed:
    """Times to unlearn, [N] each: mean privacy loss of the set (nats, above 0), steps, and the set it is of.

    `steps` is 0 where there was nothing to forget (the truth is at most 0) and `cap` where `censored` (the truth is
    more). Several runs of one set share its number in `group`; they are left out together.
    """

    loss: Array
    steps: Array
    censored: Mask
    group: Index
    cap: float

    def of(self, chosen: Mask) -> Observed:
        """Some of them."""
        return Observed(
            self.loss[chosen], self.steps[chosen], self.censored[chosen], self.group[chosen], self.cap
        )  # fmt: skip

    @property
    def nothing(self) -> Mask:
        """Where there was nothing to forget."""
        found: Mask = ~self.censored & (self.steps <= 0)
        return found

    @property
    def known(self) -> Mask:
        """Where the time itself was seen."""
        found: Mask = ~self.censored & (self.steps > 0)
        return found


@dataclass(frozen=True, eq=False)
class LawFit:
    """A law fitted: `line(loss)` in steps before any limit, and the spread around it in steps.

    coefficients: constant (c0), logarithmic (c0, c1 per e-fold of loss), linear (c0, c1 per nat); monotone: c0 at the
    first bend and the slope per e-fold below, between and above its bends.
    """

    name: str
    coefficients: tuple[float, ...]
    spread: float
    design: Callable[[Array], Array]

    def line(self, loss: Array) -> Array:
        """Steps that the law says, [N]; beyond 0 and the cap it means "nothing" and "not in time"."""
        steps: Array = self.design(loss) @ np.array(self.coefficients)
        return steps

    def score(self, observed: Observed) -> Array:
        """Log density of each observation, [N], nats: of the time in units of the cap, or of lying beyond a limit."""
        at, spread = self.line(observed.loss) / observed.cap, self.spread / observed.cap
        z = (observed.steps / observed.cap - at) / spread
        inside = -0.5 * z**2 - _HALF_LOG_TWO_PI - np.log(spread)
        scores: Array = np.where(observed.censored, log_ndtr(-z), np.where(observed.nothing, log_ndtr(z), inside))
        return scores


def why_not(observed: Observed) -> str:
    """Why no law can be fitted to these times, in words; empty where one can. Sets count, not runs."""
    groups = np.unique(observed.group)
    share = float(np.mean([observed.censored[observed.group == g].mean() for g in groups]))
    sets = [observed.of((observed.group == g) & observed.known) for g in groups]
    known = len({float(own.steps.mean()) for own in sets if len(own.steps)})
    if share > MOST_CENSORED:
        return f"{share:.0%} of the sets were not forgotten by the cap, more than {MOST_CENSORED:.0%}"
    if known < FEWEST_KNOWN:
        return f"only {known} sets took a time of their own between none and the cap, fewer than {FEWEST_KNOWN}"
    if not (observed.loss > 0).all():
        return "some set's privacy loss is 0"
    return ""


def fit_law(name: str, observed: Observed) -> LawFit:
    """Maximum likelihood under the limits.

    "monotone" is any increasing law that a line in ln loss with two bends can follow, at the thirds of the sets whose
    time was seen; it contains the logarithmic law where that increases.

    Raises:
        UsageError: fewer than two times seen, a loss that is not above 0, or a name that is no law.
    """
    if name not in LAWS:
        raise UsageError(f"There is no law {name!r}.", f"Laws are {', '.join(LAWS)}.")
    if not (observed.loss > 0).all():
        raise UsageError("A law of time needs privacy losses above 0.")
    if len(np.unique(observed.steps[observed.known])) < 2:
        raise UsageError("Fewer than two different times were seen between 0 and the cap: no law can be fitted.")
    design, increasing = _design(name, observed)
    columns = design(observed.loss)
    scale = np.maximum(np.abs(columns).max(axis=0), 1e-300)
    coefficients, spread = _tobit(columns / scale, observed, increasing)
    return LawFit(name, tuple((coefficients / scale).tolist()), spread, design)


def held_out_scores(observed: Observed, laws: tuple[str, ...] = LAWS) -> Mapping[str, Array]:
    """Log score of every set under each law fitted to the other sets, [groups]; the mean over a set's own runs."""
    groups = np.unique(observed.group)
    scores: dict[str, Array] = {}
    for name in laws:
        own = [fit_law(name, observed.of(observed.group != g)).score(observed.of(observed.group == g)) for g in groups]
        scores[name] = np.array([float(values.mean()) for values in own])
    return scores


def _design(name: str, observed: Observed) -> tuple[Callable[[Array], Array], bool]:
    """Columns of a law at losses, [N] -> [N, d], and whether all coefficients but the first must not be negative."""
    if name == "constant":
        return lambda loss: np.ones((len(loss), 1)), False
    if name == "logarithmic":
        return lambda loss: np.column_stack([np.ones(len(loss)), np.log(loss)]), False
    if name == "linear":
        return lambda loss: np.column_stack([np.ones(len(loss)), loss]), False
    first, second = np.quantile(np.log(observed.loss[observed.known]), [1 / 3, 2 / 3], method="inverted_cdf")

    def bent(loss: Array) -> Array:
        x = np.log(loss)
        return np.column_stack([
            np.ones(len(x)), np.minimum(x - first, 0), np.clip(x - first, 0, second - first), np.maximum(x - second, 0)
        ])  # fmt: skip

    return bent, True


def _tobit(columns: Array, observed: Observed, increasing: bool) -> tuple[Array, float]:
    """Coefficients and spread, in steps, of greatest likelihood; columns are of a size with 1."""
    y = observed.steps / observed.cap
    known, nothing, censored = observed.known, observed.nothing, observed.censored
    smallest = SMALLEST_SPREAD

    def minus_log_likelihood(parameters: Array) -> tuple[float, Array]:
        h, d = parameters[0], parameters[1:]
        at = columns @ d
        z = h * y - at
        value = float((-0.5 * z[known] ** 2 + np.log(h) - _HALF_LOG_TWO_PI).sum())
        value += float(log_ndtr(z[nothing]).sum() + log_ndtr(-z[censored]).sum())
        # d value / d z, for every observation.
        slope = np.where(known, -z, 0.0)
        slope[nothing], slope[censored] = _mills(z[nothing]), -_mills(-z[censored])
        gradient = np.concatenate([[float(slope @ y) + known.sum() / h], -columns.T @ slope])
        return -value, -gradient

    begun = np.linalg.lstsq(columns, y, rcond=None)[0]
    spread = max(float(np.std(y - columns @ begun)), 2 * smallest)
    lowest = [None] + [0.0 if increasing else None] * (columns.shape[1] - 1)
    if increasing:
        begun[1:] = np.maximum(begun[1:], 0)
    found = minimize(
        minus_log_likelihood, np.concatenate([[1.0], begun]) / spread, jac=True, method="L-BFGS-B",
        bounds=[(1e-3, 1 / smallest), *((low, None) for low in lowest)],
        options={"maxiter": 2000, "ftol": 1e-12, "gtol": 1e-8},
    )  # fmt: skip
    h, d = found.x[0], found.x[1:]
    return d / h * observed.cap, float(observed.cap / h)


def _mills(z: Array) -> Array:
    """Normal density over normal distribution function, also far in the tail."""
    ratio: Array = np.exp(-0.5 * z**2 - _HALF_LOG_TWO_PI - log_ndtr(z))
    return ratio
