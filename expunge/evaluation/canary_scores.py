"""Scores of planted canaries under each model: what the Gaussian unlearning score reads; numbers only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError

Array = NDArray[np.float64]
ROLES = ("original", "unlearned", "oracle")


@dataclass(frozen=True, eq=False)
class CanaryScores:
    """Scores of the canaries under the model trained on them, after unlearning, and under one that never saw them.

    original, unlearned, oracle: [c], at least two each; lengths differ where a model has no gradient at a record
    (``without_gradient``: how many, by role). fresh: by role, scores [c] of the same gradients against noise that was
    never added to anything. eps: the noise's standard deviation in units of the features.

    Raises:
        UsageError: fewer than two scores, NaN or infinite ones, a role without its fresh-noise control.
    """

    original: Array
    unlearned: Array
    oracle: Array
    fresh: Mapping[str, Array]
    eps: float
    without_gradient: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if set(self.fresh) != set(ROLES):
            raise UsageError("Canary scores need fresh-noise controls for the original, the unlearned and the oracle.")
        for scores in (self.original, self.unlearned, self.oracle, *self.fresh.values()):
            if scores.ndim != 1 or len(scores) < 2 or not np.isfinite(scores).all():
                raise UsageError(f"Canary scores of shape {scores.shape}.", "Give at least two finite scores a role.")
        if not self.eps > 0 or not math.isfinite(self.eps):
            raise UsageError(f"The canaries' noise has deviation {self.eps}.", "Choose eps above 0.")
