"""Which convex problem is solved, and what are its constants?

f(w) = (1/n) SUM_i l(W x_i, y_i) + (l2/2) ||W||^2, over all weights W [outputs, p], n the number of records trained on.
Removing records leaves n where it is (METHOD section 1: the divisor is fixed), so retraining without S descends
f - (1/n) SUM_{i in S} l_i and one gradient differs from the other by (1/n) SUM_S g_i exactly. In the sum form that is
SUM_i l_i + (n l2/2) ||W||^2 with a fixed penalty n l2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from expunge.errors import UsageError
from expunge.unlearning.certified.losses import HeadLoss, logistic_loss, softmax_loss, squared_loss

Floats = npt.NDArray[np.float64]

_SLACK = 1e-9


@dataclass(frozen=True, eq=False)
class HeadProblem:
    """Records, loss and penalty. features [n, p] float64 with norms of at most `radius`; see the classmethods."""

    features: Tensor
    targets: Tensor
    loss: HeadLoss
    l2: float
    radius: float

    @classmethod
    def classification(cls, features: Any, targets: Any, *, classes: int, l2: float, radius: float = 1.0) -> Self:
        """L2-regularised logistic regression: one output for two classes, a softmax for more.

        Args:
            features: [n, p], bounded by `bounded_features`. targets: class numbers [n].
            l2: weight of the penalty, above 0. radius: the declared bound of the features' norms.

        Raises:
            UsageError: features beyond the radius, targets that are no classes, no penalty.
        """
        labels = np.asarray(targets)
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
            raise UsageError(f"targets must be class numbers 0 to {classes - 1}, one a record.")
        if classes < 2:
            raise UsageError("A classifier needs at least two classes.")
        loss = logistic_loss() if classes == 2 else softmax_loss(classes)
        return cls(_rows(features, len(labels), radius), torch.from_numpy(labels.astype(np.int64)), loss, l2, radius)

    @classmethod
    def ridge(cls, features: Any, targets: Any, *, l2: float, radius: float = 1.0) -> Self:
        """Ridge regression of targets [n, outputs]. Its gradients have no bound, so it has no worst-case number.

        Raises:
            UsageError: features beyond the radius, targets of another shape or not finite, no penalty.
        """
        values = np.asarray(targets, dtype=np.float64)
        if values.ndim != 2 or not np.isfinite(values).all():
            raise UsageError(f"targets must be finite and of shape [records, outputs]; got {values.shape}.")
        rows = _rows(features, len(values), radius)
        return cls(rows, torch.from_numpy(values.copy()), squared_loss(values.shape[1]), l2, radius)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.l2) and self.l2 > 0):
            raise UsageError(
                f"l2 must be above 0; got {self.l2!r}.",
                "Without a penalty the loss is not strongly convex, nothing contracts, and no k can be certified.",
            )

    def __len__(self) -> int:
        return len(self.features)

    @property
    def weight_shape(self) -> tuple[int, int]:
        return (self.loss.outputs, self.features.shape[1])

    @property
    def strong_convexity(self) -> float:
        """m: the penalty alone; the records' own curvature may vanish where they are classified with certainty."""
        return self.l2

    @cached_property
    def gram_eigenvalue(self) -> float:
        """Largest eigenvalue of X'X."""
        return float(torch.linalg.matrix_norm(self.features, ord=2)) ** 2

    @property
    def smoothness(self) -> float:
        """L = curvature * largest eigenvalue of X'X / n + l2."""
        return self.loss.curvature * self.gram_eigenvalue / len(self) + self.l2

    @property
    def declared_smoothness(self) -> float:
        """curvature * radius^2 + l2: never below L, and read off no record. A rate of 2/(m + this) always contracts."""
        return self.loss.curvature * self.radius**2 + self.l2

    @property
    def gradient_bound(self) -> float:
        """The declared bound on one record's gradient, slope * radius: what a worst-case number is made from."""
        return self.loss.slope * self.radius

    def residuals(self, weights: Tensor) -> Tensor:
        """Gradients of the records' losses with respect to their outputs, [n, outputs]; g_i = residual_i x_i'."""
        return self.loss.residuals(self.features @ weights.T, self.targets)

    def without(self, rows: Sequence[int]) -> npt.NDArray[np.int64]:
        """Rows of the records that stay.

        Raises:
            UsageError: as `checked_rows`.
        """
        return np.setdiff1d(np.arange(len(self)), checked_rows(rows, len(self)))


def checked_rows(rows: Sequence[int], records: int) -> npt.NDArray[np.int64]:
    """Row numbers of a forget set, sorted.

    Raises:
        UsageError: none, one twice, one that does not exist, or all of them.
    """
    chosen = np.unique(np.asarray(rows, dtype=np.int64))
    if chosen.size == 0 or chosen.size != len(rows) or chosen[0] < 0 or chosen[-1] >= records:
        raise UsageError(f"A forget set must name records 0 to {records - 1}, each once, and at least one.")
    if chosen.size == records:
        raise UsageError("The forget set is the whole training set.", "Discard the model instead.")
    return chosen


def _rows(features: Any, records: int, radius: float) -> Tensor:
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or len(rows) != records:
        raise UsageError(f"features must have shape [{records}, p]; got {rows.shape}.")
    if not np.isfinite(rows).all() or np.linalg.norm(rows, axis=1).max() > radius * (1 + _SLACK):
        raise UsageError(
            f"Features must be finite and have norms of at most {radius:g}.",
            "Pass them through bounded_features(way='clip' or 'normalise') first.",
        )
    return torch.from_numpy(rows.copy())
