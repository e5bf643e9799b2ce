"""How do the steps that forgetting needs grow with privacy loss? The paper's law against others (METHOD section 6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from expunge.unlearning.pilots import PilotSet
from expunge.unlearning.plan import Document

Array = NDArray[np.float64]
Law = Callable[[Array, Array, Array], Array]  # (losses, steps, losses to predict at) -> steps


# Over this share of censored sets a law is not estimable (METHOD section 6).
MOST_CENSORED = 0.3


class LawFit(Document):
    """A law for steps needed against mean privacy loss, with its leave-one-out error in steps and log score.

    log_score: mean log density, in nats, of the sets left out, under a normal law around the prediction with the
    spread of the other sets' residuals; larger is better. censored: share of sets that nothing short of retraining
    forgot: they count with the steps of retraining, the least they can have needed.
    """

    name: str
    coefficients: tuple[float, ...] = ()
    error: float | None = None
    log_score: float | None = None
    censored: float = 0.0


def steps_needed(pilot: PilotSet, target: float) -> int | None:
    """Steps of the cheapest way that left no more than the target; None where only retraining would."""
    return min((c.steps for c in pilot.candidates if c.left <= target), default=None)


def compare_laws(pilots: Sequence[PilotSet], target: float, retrain_steps: int) -> tuple[LawFit, ...]:
    """Constant, k = c0 + c1 ln P (the paper's), k = c0 + c1 P, and any increasing law, over the measurable pilots."""
    known = [p for p in pilots if p.measurable]
    needed = [steps_needed(p, target) for p in known]
    k: Array = np.array([retrain_steps if steps is None else steps for steps in needed], dtype=np.float64)
    p: Array = np.array([max(pilot.mean_loss, 1e-12) for pilot in known], dtype=np.float64)
    censored = float(np.mean([steps is None for steps in needed])) if needed else 0.0
    found = []
    for name, law, design, free in _LAWS:
        if len(k) < free + 2:
            continue
        errors, scores = [], []
        for i in range(len(known)):
            others = np.arange(len(k)) != i
            miss = float(k[i] - law(p[others], k[others], p[i : i + 1])[0])
            residuals: Array = k[others] - law(p[others], k[others], p[others])
            # Never under a hundredth of retraining: a law is not certain because few sets lie on it.
            spread = max(float(np.sqrt(np.mean(np.square(residuals)))), 0.01 * retrain_steps)
            errors.append(abs(miss))
            scores.append(-0.5 * (miss / spread) ** 2 - math.log(spread * math.sqrt(2 * math.pi)))
        coefficients = () if design is None else tuple(map(float, _line(design(p), k)))
        found.append(
            LawFit(
                name=name, coefficients=coefficients, error=float(np.mean(errors)),
                log_score=float(np.mean(scores)), censored=censored,
            )
        )  # fmt: skip
    return tuple(found)


def _ones(p: Array) -> Array:
    return np.ones((len(p), 1))


def _log(p: Array) -> Array:
    return np.column_stack([np.ones(len(p)), np.log(p)])


def _plain(p: Array) -> Array:
    return np.column_stack([np.ones(len(p)), p])


def _line(design: Array, k: Array) -> Array:
    return np.asarray(np.linalg.lstsq(design, k, rcond=None)[0], dtype=np.float64)


def _linear(design: Callable[[Array], Array]) -> Law:
    def law(p: Array, k: Array, at: Array) -> Array:
        found: Array = design(at) @ _line(design(p), k)
        return found

    return law


def _monotone(p: Array, k: Array, at: Array) -> Array:
    from sklearn.isotonic import IsotonicRegression

    found: Array = IsotonicRegression(out_of_bounds="clip").fit(p, k).predict(at)
    return found


# Name, law, design of its coefficients, how many it has.
_LAWS: tuple[tuple[str, Law, Callable[[Array], Array] | None, int], ...] = (
    ("constant", _linear(_ones), _ones, 1),
    ("logarithmic", _linear(_log), _log, 2),
    ("linear", _linear(_plain), _plain, 2),
    ("monotone", _monotone, None, 2),
)
