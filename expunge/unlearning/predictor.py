"""From pilots to a prediction: how far back must a set be rewound, and does fine-tuning get there?

The figure fitted is a set's critical share: the largest share of its cumulative privacy loss that may have been spent
before the rewind point if what is left of the original's influence is to stay below the target (METHOD section 6).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from expunge.errors import UsageError
from expunge.training import Trajectory
from expunge.unlearning.plan import Document

# Below this energy S_o/m the original is like the oracles and shares of it mean nothing (METHOD section 7).
MEASURABLE_ENERGY = 0.25


class PilotCandidate(Document):
    """One way in which a pilot set was forgotten, and the influence and excess it left (medians over runs).

    Influence is the sharper of the two: excess is the square of what is left (docs/adr/0005).
    """

    method: str
    amount: int
    steps: int
    share_spent: float | None
    excess: float
    influence: float = 0.0

    @property
    def left(self) -> float:
        """What counts against the target: the larger of the two."""
        return max(self.excess, self.influence)


class PilotSet(Document):
    """A pilot set: its mean privacy loss, the original's energy S_o/m on it, and every candidate's result."""

    name: str
    size: int
    mean_loss: float
    energy: float
    candidates: tuple[PilotCandidate, ...]

    @property
    def measurable(self) -> bool:
        return self.energy > MEASURABLE_ENERGY


class LawFit(Document):
    """A law for steps needed against mean privacy loss, with its leave-one-out error in steps."""

    name: str
    coefficients: tuple[float, ...]
    error: float | None


class BudgetPredictor(Document):
    """What the pilots say. Critical shares are sorted; `fine_tune_steps` are None where the cap was not enough.

    `cost` is what the calibration itself took, in retrainings. `visible_size`: fewest records of a hard set on which
    the gating test tells the original from oracles; None where it never did. `model`, `data_fingerprint`: what was
    calibrated; None in calibrations of before it was recorded.
    """

    format: Literal["expunge.predictor/1"] = "expunge.predictor/1"
    target: float
    retrain_steps: int
    pilots: tuple[PilotSet, ...]
    critical_shares: tuple[float, ...]
    fine_tune_steps: dict[str, tuple[int | None, ...]]
    loss_range: tuple[float, float]
    laws: tuple[LawFit, ...]
    cost: float = 0.0
    visible_size: int | None = None
    model: dict[str, Any] | None = None
    data_fingerprint: str | None = None

    @property
    def measurable(self) -> int:
        return sum(p.measurable for p in self.pilots)

    @property
    def sizes(self) -> tuple[int, int]:
        """Records of the smallest and of the largest pilot set."""
        return min((p.size for p in self.pilots), default=0), max((p.size for p in self.pilots), default=0)

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
        if target == self.target:
            return self
        made = fit_predictor(list(self.pilots), target, self.retrain_steps, self.cost, self.visible_size)
        return made.model_copy(update={"model": self.model, "data_fingerprint": self.data_fingerprint})

    def safe_share(self, caution: float) -> float | None:
        """The critical share that a fraction 1 - caution of the measurable pilots reach; None without any."""
        return float(np.quantile(self.critical_shares, caution)) if self.critical_shares else None

    def left_at(self, share: float) -> float | None:
        """Predicted influence or excess, the larger, after rewinding to where `share` of the loss was spent.

        Monotone in the share; None without a measurable pilot.
        """
        points = sorted(
            (c.share_spent, c.left)
            for p in self.pilots
            if p.measurable
            for c in p.candidates
            if c.share_spent is not None
        )
        if not points:
            return None
        from sklearn.isotonic import IsotonicRegression

        x, y = np.array(points).T
        fit = IsotonicRegression(y_min=0.0, out_of_bounds="clip").fit(np.append(x, 0.0), np.append(y, 0.0))
        return float(fit.predict([share])[0])

    def steps_for(self, method: str) -> int | None:
        """Fine-tuning steps that were enough for every measurable pilot; None when one needed more than the cap."""
        needed = self.fine_tune_steps.get(method, ())
        return max(k for k in needed if k is not None) if needed and None not in needed else None


def fit_predictor(
    pilots: list[PilotSet], target: float, retrain_steps: int, cost: float = 0.0, visible_size: int | None = None
) -> BudgetPredictor:
    """Critical shares and fine-tuning steps of the measurable pilots, and the laws compared."""
    measurable = [p for p in pilots if p.measurable]
    shares = [_critical_share(p, target) for p in measurable]
    tuned = {
        method: tuple(_steps_needed(p, method, target) for p in measurable)
        for method in ("fine_tune", "noisy_fine_tune")
    }
    losses = [p.mean_loss for p in pilots]
    return BudgetPredictor(
        target=target,
        retrain_steps=retrain_steps,
        pilots=tuple(pilots),
        critical_shares=tuple(sorted(shares)),
        fine_tune_steps=tuned,
        loss_range=(min(losses), max(losses)) if losses else (0.0, 0.0),
        laws=_laws(measurable, target, retrain_steps),
        cost=cost,
        visible_size=visible_size,
    )


def _rewinds(pilot: PilotSet) -> list[PilotCandidate]:
    return sorted((c for c in pilot.candidates if c.method == "rewind"), key=lambda c: c.amount)


def _critical_share(pilot: PilotSet, target: float) -> float:
    """Share up to which what is left stays within the target; 0 when it never does.

    It is made monotone in the share first (isotonic regression), so that one odd pilot run does not decide.
    """
    from sklearn.isotonic import IsotonicRegression

    points = [(c.share_spent or 0.0, c.left) for c in _rewinds(pilot)]
    if not points:
        return 0.0
    x, y = np.array([(0.0, 0.0), *points]).T
    smooth = IsotonicRegression(y_min=0.0).fit_transform(x, y)
    over = np.flatnonzero(smooth > target)
    if not len(over):
        return float(x[-1])
    k = int(over[0])
    rise = smooth[k] - smooth[k - 1]
    return float(x[k - 1] + (x[k] - x[k - 1]) * (target - smooth[k - 1]) / rise)


def _steps_needed(pilot: PilotSet, method: str, target: float) -> int | None:
    """Fewest steps from which every longer run of the pilot stays under the target; None when none does."""
    runs = sorted((c for c in pilot.candidates if c.method == method), key=lambda c: -c.amount)
    enough: int | None = None
    for candidate in runs:
        if candidate.left > target:
            break
        enough = candidate.amount
    return enough


def _laws(pilots: list[PilotSet], target: float, retrain_steps: int) -> tuple[LawFit, ...]:
    """Steps needed against mean loss P: constant, k = c0 + c1 ln P (the paper's), k = c0 + c1 P."""
    needed = []
    for pilot in pilots:
        enough = [c.steps for c in _rewinds(pilot) if c.left <= target]
        needed.append(min(enough) if enough else retrain_steps)
    k = np.array(needed, dtype=float)
    p = np.array([max(pilot.mean_loss, 1e-12) for pilot in pilots])
    fits: list[LawFit] = []
    for name, design in (
        ("constant", np.ones((len(k), 1))),
        ("logarithmic", np.column_stack([np.ones(len(k)), np.log(p)])),
        ("linear", np.column_stack([np.ones(len(k)), p])),
    ):
        if len(k) < design.shape[1] + 2:
            continue
        full = np.linalg.lstsq(design, k, rcond=None)[0]
        errors = []
        for i in range(len(k)):
            others = np.arange(len(k)) != i
            fit = np.linalg.lstsq(design[others], k[others], rcond=None)[0]
            errors.append(abs(float(design[i] @ fit) - k[i]))
        error = float(np.mean(errors))
        fits.append(
            LawFit(name=name, coefficients=tuple(map(float, full)), error=error if math.isfinite(error) else None)
        )
    return tuple(fits)
