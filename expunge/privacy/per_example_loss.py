"""What is the loss of one record? Cross-entropy, as in training; outputs that do not fit are refused in plain words."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from expunge.errors import UsageError


def losses(outputs: Any, targets: Tensor) -> Tensor:
    """Cross-entropy of each example, [n]. Also works inside vmap.

    Args:
        outputs: logits [n, classes]; targets: class numbers, int64 [n].

    Raises:
        UsageError: outputs that are not one row of logits per target; a target that is no class.
    """
    shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or outputs.shape[0] != targets.shape[0]:
        raise UsageError(
            f"The model returned {shape} for {targets.shape[0]} records.",
            "It must return one row of logits per record, [records, classes].",
        )
    try:
        return F.cross_entropy(outputs, targets, reduction="none")
    except IndexError as error:
        raise UsageError(
            f"A target is outside 0..{outputs.shape[1] - 1}, the classes of a model that returned {shape}.",
            "Give the model as many outputs as there are classes.",
        ) from error
