"""Outputs of models other than the one that is judged: shadows of the whole procedure, and the reference pool.

Both are arrays; what trains them lives in ``expunge.unlearning`` (the evaluation never sees a model).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.evaluation.confidence import phi

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]


def _check(name: str, logits: Array, targets: Index, trained: Mask) -> None:
    if logits.ndim != 3 or not logits.size:
        raise UsageError(f"The logits of the {name} have shape {logits.shape}.", "Give [models, records, classes].")
    if targets.shape != logits.shape[1:2] or trained.shape != logits.shape[:2] or trained.dtype != np.bool_:
        raise UsageError(
            f"The {name}'s targets {targets.shape} and membership {trained.shape} do not go with logits "
            f"{logits.shape}.",
            "Give targets [records] and booleans [models, records].",
        )
    if not np.isfinite(logits).all():
        raise UsageError(f"There are NaN or infinite numbers in the outputs of the {name}.", "A model has diverged.")


@dataclass(frozen=True, eq=False)
class ShadowOutputs:
    """M models made by the whole procedure, training and then unlearning, each with other records (Hayes et al. 2024).

    Every audited record was trained on by a random part of the models. A record to forget was trained on and then
    unlearned by those with ``trained``; a record to retain was trained on and kept by them. The other models never saw
    it. All went through the same unlearning run.

    Attributes:
        logits: [M, a, K] after unlearning, in eval mode. targets: [a]. trained: bool [M, a]. forget: bool [a].
        before: the same models before unlearning, [M, a, K], or None: what the original would have shown.

    Raises:
        UsageError: shapes that do not fit, or NaN.
    """

    logits: Array
    targets: Index
    trained: Mask
    forget: Mask
    before: Array | None = None

    def __post_init__(self) -> None:
        _check("shadows", self.logits, self.targets, self.trained)
        if self.forget.shape != self.targets.shape or self.forget.dtype != np.bool_:
            raise UsageError(f"`forget` has shape {self.forget.shape}.", "Give a boolean for every audited record.")
        if self.before is not None:
            _check("shadows before unlearning", self.before, self.targets, self.trained)

    def __len__(self) -> int:
        return len(self.logits)

    @cached_property
    def phi(self) -> Array:
        """Logit-scaled confidence [M, a] after unlearning."""
        return phi(self.logits, self.targets)


@dataclass(frozen=True, eq=False)
class PoolOutputs:
    """P models of one procedure that each left out random blocks of the training records (DESIGN, ReferencePool).

    Attributes:
        logits: [P, n, K] on all records of the evaluation. targets: [n]. trained: bool [P, n], False for every record
            that the model did not train on (held-out records: everywhere).
        share_left_out: share of the training records that one model left out.

    Raises:
        UsageError: shapes that do not fit, or NaN.
    """

    logits: Array
    targets: Index
    trained: Mask
    share_left_out: float

    def __post_init__(self) -> None:
        _check("pool", self.logits, self.targets, self.trained)

    def __len__(self) -> int:
        return len(self.logits)

    @cached_property
    def phi(self) -> Array:
        """Logit-scaled confidence [P, n]."""
        return phi(self.logits, self.targets)
