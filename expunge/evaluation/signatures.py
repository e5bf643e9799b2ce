"""The failure signatures that outputs and histories can show: named warnings, never verdicts (METHOD section 7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from expunge.errors import UsageError
from expunge.evaluation.evidence import FailureSignature
from expunge.evaluation.settings import EvaluationSettings

FLAT = "flat privacy-loss distribution"
NO_APPROACH = "metrics that do not approach the oracle"
BARRIER = "loss barrier above the oracles' own"


def flat_distribution(losses: ArrayLike, settings: EvaluationSettings | None = None) -> FailureSignature | None:
    """Privacy losses [n] that hardly differ give no order of difficulty: a plan from them is a uniform plan.

    Judged by the coefficient of variation (the threshold is chosen here); the quantile ratio stands beside it.

    Raises:
        UsageError: fewer than two losses, or losses that are negative or not finite.
    """
    settings = settings or EvaluationSettings()
    values = np.asarray(losses, dtype=np.float64).ravel()
    if values.size < 2 or not np.isfinite(values).all() or values.min() < 0:
        raise UsageError("Privacy losses must be at least two finite numbers, none negative.", "Score the model again.")
    mean = float(values.mean())
    variation = float(values.std(ddof=1)) / mean if mean else 0.0
    if variation >= settings.flat_variation:
        return None
    low, high = np.quantile(values, [0.1, 0.9])
    return FailureSignature(
        name=FLAT,
        words=f"all records look equally hard (variation {variation:.2g}): difficulty says nothing about the cost here",
        numbers={
            "variation": variation,
            "quantile_ratio": float(high / low) if low > 0 else None,
            "records": values.size,
        },
    )


def not_approaching(
    history: Sequence[float], *, name: str = "excess", smallest_share: float = 0.1
) -> FailureSignature | None:
    """A distance to the oracle, evaluated along the run (0 = like the oracle), that the run hardly shortened.

    Compares the median of the first and of the last third: a fall of under ``smallest_share`` of the start is no
    approach (chosen here).

    Raises:
        UsageError: fewer than three evaluations, or numbers that are not finite.
    """
    values = np.abs(np.asarray(history, dtype=np.float64))
    if values.size < 3 or not np.isfinite(values).all():
        raise UsageError("A history needs at least three finite evaluations.", "Evaluate more often.")
    third = max(1, values.size // 3)
    start, end = float(np.median(values[:third])), float(np.median(values[-third:]))
    if start == 0 or start - end >= smallest_share * start:
        return None
    return FailureSignature(
        name=NO_APPROACH,
        words=f"{name} went from {start:.3g} to {end:.3g}: more unlearning will hardly help, retrain instead",
        numbers={"start": start, "end": end, "evaluations": values.size, "metric": name},
    )


def loss_barrier(barrier: float, between_oracles: ArrayLike) -> FailureSignature | None:
    """A barrier between unlearned model and oracle above every barrier between two oracles.

    A warning, not a verdict: of n pairs beside it, a true oracle is above all with chance 1 / (n + 1).

    Raises:
        UsageError: no baseline, or numbers that are not finite.
    """
    baseline = np.asarray(between_oracles, dtype=np.float64).ravel()
    if not baseline.size or not np.isfinite(baseline).all() or not np.isfinite(barrier):
        raise UsageError(
            "A loss barrier needs finite barriers between oracles beside it.", "Measure at least one pair."
        )
    top = float(baseline.max())
    if barrier <= top:
        return None
    return FailureSignature(
        name=BARRIER,
        words=(
            f"loss barrier {barrier:.3g}, between oracles at most {top:.3g}: the model is in another basin"
            f" (a true oracle would show this 1 time in {baseline.size + 1})"
        ),
        numbers={
            "barrier": float(barrier),
            "between_oracles": top,
            "pairs": baseline.size,
            "chance": 1.0 / (baseline.size + 1),
        },
    )
