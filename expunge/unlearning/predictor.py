"""From pilots to a prediction: is there anything to forget, and what would each way of forgetting leave of it?

Both as a function of the set's mean privacy loss (METHOD section 6). What is left is predicted for every way that the
pilots tried, influence and excess apart; the law of the steps needed is reported beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.training import Trajectory
from expunge.unlearning.laws import LawFit, compare_laws
from expunge.unlearning.pilots import PilotSet, Way, left
from expunge.unlearning.plan import Document

Array = NDArray[np.float64]
# From this many measurable pilots on, what is left may depend on the loss; of fewer the mean is taken.
ENOUGH_FOR_A_SLOPE = 8
# A share of the pilots at least as easy may have held something where "nothing to forget" is predicted.
WRONGLY_NOTHING = 0.1
# Below 19 nothing can be said at 90 % (METHOD section 6, conformal intervals).
FEWEST_FOR_COVERAGE = 19
COVERAGE = 0.9


@dataclass(frozen=True)
class Expected:
    """What a way is predicted to leave of the original's influence, as a share of it.

    value: the best guess. cautious: not exceeded by the share of pilots that the plan's caution asks for. low, high:
    the conformal interval at 90 %, simultaneous over all ways; None with too few pilots.
    """

    value: float
    cautious: float
    low: float | None
    high: float | None


class BudgetPredictor(Document):
    """What the pilots say.

    `cost` is what the calibration itself took, in retrainings. `visible_size`: fewest records of a hard set on which
    the gating test tells the original from oracles; None where it never did. `model`, `data_fingerprint`: what was
    calibrated; None in calibrations of before it was recorded. `spent`: later runs on the same model; they join the
    fit, not the intervals (METHOD section 6).
    """

    format: Literal["expunge.predictor/2"] = "expunge.predictor/2"
    target: float
    retrain_steps: int
    pilots: tuple[PilotSet, ...]
    spent: tuple[PilotSet, ...] = ()
    laws: tuple[LawFit, ...] = ()
    cost: float = 0.0
    visible_size: int | None = None
    model: dict[str, Any] | None = None
    data_fingerprint: str | None = None

    @cached_property
    def measurable(self) -> tuple[PilotSet, ...]:
        """The pilots that the original remembered measurably."""
        return tuple(p for p in self.pilots if p.measurable)

    @property
    def loss_range(self) -> tuple[float, float]:
        """Least and largest mean privacy loss of a pilot set."""
        losses = [p.mean_loss for p in self.pilots]
        return (min(losses), max(losses)) if losses else (0.0, 0.0)

    @property
    def sizes(self) -> tuple[int, int]:
        """Records of the smallest and of the largest pilot set."""
        return min((p.size for p in self.pilots), default=0), max((p.size for p in self.pilots), default=0)

    @cached_property
    def ways(self) -> dict[Way, float]:
        """Every way that all measurable pilots tried, with its cost, cheapest first."""
        tried = [{c.way: c.cost for c in p.candidates} for p in self.measurable or self.pilots]
        common = set.intersection(*map(set, tried)) if tried else set()
        return {way: tried[0][way] for way in sorted(common, key=lambda w: (tried[0][w], w))}

    @cached_property
    def nothing_below(self) -> float:
        """Mean loss up to which pilots held nothing measurable, but for a tenth of them; 0 where none did."""
        found, remembered = 0.0, 0
        for count, pilot in enumerate(sorted(self.pilots, key=lambda p: p.mean_loss), start=1):
            remembered += pilot.measurable
            if not pilot.measurable and remembered <= WRONGLY_NOTHING * count:
                found = pilot.mean_loss
        return found

    def refuse_other(self, trajectory: Trajectory) -> None:
        """Raises UsageError where these pilots are of another architecture or were run on other records."""
        known = (
            ("architecture", self.model, trajectory.run["model"]),
            ("data set", self.data_fingerprint, trajectory.run["data_fingerprint"]),
        )
        for what, own, found in known:
            if own is not None and own != found:
                raise UsageError(
                    f"This calibration is of another {what}: what its pilots needed says nothing here.",
                    "Calibrate this model: `expunge calibrate`.",
                )

    def at(self, target: float) -> BudgetPredictor:
        """The same pilots read at another target."""
        laws = compare_laws(self.pilots, target, self.retrain_steps)
        return self if target == self.target else self.model_copy(update={"target": target, "laws": laws})

    def expected(self, way: Way, mean_loss: float, caution: float) -> Expected | None:
        """What `way` would leave of a set of this mean loss; None where no measurable pilot tried it.

        caution: share of the pilots that may have been left with more than is said.
        """
        fit = self._fits.get(way)
        if fit is None:
            return None
        value = fit.left(mean_loss)
        margin = max(0.0, float(np.quantile(fit.misses, 1 - caution))) if len(fit.misses) else 0.0
        low, high = self._band
        if low is None or high is None or not fit.scale:
            return Expected(value, value + margin, None, None)
        return Expected(value, value + margin, value - low * fit.scale, value + high * fit.scale)

    def cheapest(self, mean_loss: float, caution: float) -> Way | None:
        """The cheapest way that should meet the target for a set of this mean loss; None where only retraining does."""
        enough = [
            (cost, expected.value, way)
            for way, cost in self.ways.items()
            if (expected := self.expected(way, mean_loss, caution)) is not None and expected.cautious <= self.target
        ]
        return min(enough)[2] if enough else None

    @cached_property
    def _fits(self) -> dict[Way, _Fit]:
        known = [*self.measurable, *(p for p in self.spent if p.measurable)]
        if not self.measurable:
            return {}
        return {way: _Fit.of(way, known, self.measurable) for way in self.ways}

    @cached_property
    def _band(self) -> tuple[float | None, float | None]:
        """How many scales below and above its prediction a pilot's worst way lay, at the conformal level.

        The score of a pilot is the largest over all ways, so that the way that is chosen is covered too. Predictions
        leave the pilot out (cross-conformal).
        """
        count = len(self.measurable)
        fits = [fit for fit in self._fits.values() if fit.scale]
        if count < FEWEST_FOR_COVERAGE or not fits:
            return None, None
        scores = np.array([fit.misses / fit.scale for fit in fits])
        rank = min(count, math.ceil((count + 1) * (1 + COVERAGE) / 2)) - 1
        return float(np.sort(-scores.min(axis=0))[rank]), float(np.sort(scores.max(axis=0))[rank])


@dataclass(frozen=True)
class _Fit:
    """Influence and excess of one way over the logarithm of the mean loss; `misses`: pilots left out, in their order.

    Sets on which the original's influence is large say most about a share of it: they weigh as their energy, up to 1.
    """

    influence: Array
    excess: Array
    misses: Array

    @classmethod
    def of(cls, way: Way, known: Sequence[PilotSet], pilots: Sequence[PilotSet]) -> _Fit:
        results = [next((c for c in p.candidates if c.way == way), None) for p in known]
        rows = [(p, c) for p, c in zip(known, results, strict=True) if c is not None]
        x = np.log([max(p.mean_loss, 1e-12) for p, _ in rows])
        weight = np.array([min(p.energy, 1.0) for p, _ in rows])
        y = np.array([[c.influence, c.excess] for _, c in rows])
        full = _weighted_line(x, y, weight)
        misses = []
        for k in range(len(pilots)):
            others = np.arange(len(rows)) != k
            if not others.any():
                break
            line = _weighted_line(x[others], y[others], weight[others])
            misses.append(left(*y[k]) - left(*(line @ [1.0, x[k]])))
        return cls(full[0], full[1], np.array(misses))

    @property
    def scale(self) -> float:
        return float(np.sqrt(np.mean(self.misses**2))) if len(self.misses) else 0.0

    def left(self, mean_loss: float) -> float:
        at = np.array([1.0, math.log(max(mean_loss, 1e-12))])
        return left(float(self.influence @ at), float(self.excess @ at))


def _weighted_line(x: Array, y: Array, weight: Array) -> Array:
    """Coefficients [2, 2] of (1, x) for influence and excess; a constant while there are few."""
    if len(x) < ENOUGH_FOR_A_SLOPE or np.ptp(x) == 0:
        return np.column_stack([np.average(y, axis=0, weights=weight), np.zeros(2)])
    root = np.sqrt(weight)[:, None]
    found: Array = np.linalg.lstsq(root * np.column_stack([np.ones(len(x)), x]), root * y, rcond=None)[0].T
    return found


def fit_predictor(
    pilots: Sequence[PilotSet], target: float, retrain_steps: int, cost: float = 0.0, visible_size: int | None = None
) -> BudgetPredictor:
    """A predictor of these pilots, with the laws of the steps they needed."""
    return BudgetPredictor(
        target=target,
        retrain_steps=retrain_steps,
        pilots=tuple(pilots),
        laws=compare_laws(pilots, target, retrain_steps),
        cost=cost,
        visible_size=visible_size,
    )
