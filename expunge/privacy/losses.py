"""What is the loss of one record? Named losses, and any callable that gives one number per record.

A loss here is a function of (outputs, targets) that returns the losses [n] of n records, each depending on its own row
only. METHOD section 1: the gradient of a record is that of its loss alone, so nothing is divided by a batch's size.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.errors import UsageError, nearest

Loss = Callable[[Any, Any], Tensor]


def cross_entropy(
    outputs: Tensor, targets: Tensor, *, weight: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy, [n]. Also works inside vmap.

    Args:
        outputs: logits [n, classes]. targets: class numbers int64 [n], or probabilities [n, classes] (soft labels).
        weight: one factor per class [classes]; a record's loss is multiplied by its class's, not divided by a sum.
        label_smoothing: share of the target spread evenly over all classes.

    Raises:
        UsageError: outputs that are not one row of logits per target; a target that is no class.
    """
    shape = _shape(outputs)
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or outputs.shape[0] != len(targets):
        raise UsageError(
            f"The model returned {shape} for {len(targets)} records.",
            "It must return one row of logits per record, [records, classes]; for anything else give your own loss.",
        )
    if targets.shape != (outputs.shape if targets.is_floating_point() else outputs.shape[:1]):
        raise UsageError(
            f"Targets {_shape(targets)} are neither class numbers nor one probability for each of {shape}.",
            "Give class numbers as int64 [records], or soft labels of the logits' shape.",
        )
    try:
        return F.cross_entropy(outputs, targets, weight, reduction="none", label_smoothing=label_smoothing)
    except IndexError as error:
        raise UsageError(
            f"A target is outside 0..{outputs.shape[1] - 1}, the classes of a model that returned {shape}.",
            "Give the model as many outputs as there are classes.",
        ) from error


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of logits, summed over a record's labels: [n] or [n, labels] to [n].

    Raises UsageError where outputs and targets differ in shape (a [n, 1] of logits fits targets [n]).
    """
    outputs = _like(outputs, targets)
    return _per_record(F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype), reduction="none"))


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error summed over a record's outputs: [n, ...] to [n]. Raises as `binary_cross_entropy`."""
    outputs = _like(outputs, targets)
    return _per_record((outputs - targets.to(outputs.dtype)).square())


def sequence_cross_entropy(outputs: Tensor, targets: Tensor, *, ignore_index: int = -100) -> Tensor:
    """Cross-entropy of every position summed over a record's sequence: logits [n, t, classes], targets [n, t] to [n].

    Positions whose target is `ignore_index` (padding) count nothing. Raises UsageError where shapes do not fit.
    """
    if not isinstance(outputs, Tensor) or outputs.ndim != 3 or outputs.shape[:2] != targets.shape:
        raise UsageError(f"Outputs {_shape(outputs)} and targets {_shape(targets)} are not [n, t, classes] and [n, t].")
    try:
        return _per_record(F.cross_entropy(outputs.mT, targets, reduction="none", ignore_index=ignore_index))
    except IndexError as error:
        raise UsageError(f"A target is outside 0..{outputs.shape[2] - 1}, the classes of the model.") from error


NAMED: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "squared_error": squared_error,
    "sequence_cross_entropy": sequence_cross_entropy,
}


def find_loss(loss: str | Loss | nn.Module) -> Loss:
    """The loss meant by a name of `NAMED`, a callable, or a loss module of torch.

    A torch module (nn.CrossEntropyLoss(weight, label_smoothing), nn.BCEWithLogitsLoss, nn.MSELoss, ...) is used with
    reduction "none", whatever its own, and summed over everything but the batch axis.

    Raises:
        UsageError: an unknown name, or something that cannot be called.
    """
    if isinstance(loss, str):
        if loss not in NAMED:
            raise UsageError(f"There is no loss {loss!r}.", nearest(loss, list(NAMED)))
        return NAMED[loss]
    if isinstance(loss, nn.Module) and hasattr(loss, "reduction"):
        single = copy.copy(loss)
        setattr(single, "reduction", "none")  # noqa: B010  nn.Module declares no such attribute
        return lambda outputs, targets: _per_record(single(outputs, targets))
    if callable(loss):
        return loss
    raise UsageError(f"loss must be a name, a callable or a torch loss module; got {type(loss).__name__}.")


def losses(loss: Loss, outputs: Any, targets: Any, n: int) -> Tensor:
    """The losses [n] of n records.

    Raises:
        UsageError: the loss is not one floating-point number per record.
    """
    values = loss(outputs, targets)
    if isinstance(values, Tensor) and values.shape == (n,) and values.is_floating_point():
        return values
    if isinstance(values, Tensor) and values.ndim == 0:
        raise UsageError(
            "The loss returned one number for the whole batch, so a record has no loss of its own.",
            'Return one number per record: with torch\'s functions, reduction="none".',
        )
    raise UsageError(f"The loss returned {_shape(values)} for {n} records.", "Return one number per record, [records].")


def _per_record(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1) if values.ndim > 1 else values


def _like(outputs: Any, targets: Tensor) -> Tensor:
    if isinstance(outputs, Tensor):
        if outputs.shape == targets.shape:
            return outputs
        if outputs.ndim == targets.ndim + 1 and outputs.shape[-1] == 1 and outputs.shape[:-1] == targets.shape:
            return outputs.squeeze(-1)
    raise UsageError(f"The model returned {_shape(outputs)} for targets of shape {_shape(targets)}.")


def _shape(value: Any) -> Any:
    return tuple(torch.as_tensor(value).shape) if isinstance(value, Tensor) else type(value).__name__
