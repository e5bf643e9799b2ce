"""What is the loss of one record? Named losses, and the check that a caller's own loss is per example."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.errors import UsageError, nearest

LossFunction = Callable[[Any, Any], Tensor]
Loss = str | LossFunction


def resolve_loss(loss: Loss) -> LossFunction:
    """A function (outputs, targets) -> losses [n], from a name or a callable.

    Named losses average over everything but the first axis (a record's loss is the mean over its positions), so a
    record weighs the same whatever its batch. Names: cross_entropy (outputs [n, classes, ...], targets [n, ...] of
    class indices, or class probabilities of the shape of outputs), binary (logits), mse.

    Raises:
        UsageError: an unknown name; when called, a loss that is not a tensor of shape [n].
    """
    if callable(loss):
        return _checked(loss)
    if loss not in _NAMED:
        raise UsageError(f"Unknown loss {loss!r}.", nearest(str(loss), sorted(_NAMED)))
    return _checked(_named(_NAMED[loss], loss))


def _named(function: Callable[[Tensor, Tensor], Tensor], name: str) -> LossFunction:
    def losses(outputs: Any, targets: Any) -> Tensor:
        if not isinstance(outputs, Tensor):
            raise UsageError(
                f"The model returns a {type(outputs).__name__}, which the loss {name!r} cannot read.",
                "Pass loss=a callable(outputs, targets) that returns one loss per example.",
            )
        values = function(outputs, targets)
        return values if values.ndim == 1 else values.flatten(1).mean(1)

    return losses


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def _binary(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, _like(outputs, targets), reduction="none")


def _mse(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outputs, _like(outputs, targets), reduction="none")


def _like(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets in the shape and dtype of outputs, so that [n] against [n, 1] does not broadcast to [n, n]."""
    if outputs.numel() != targets.numel():
        raise UsageError(
            f"Outputs have shape {tuple(outputs.shape)} and targets {tuple(targets.shape)}.",
            "This loss needs one target per output.",
        )
    return targets.reshape(outputs.shape).to(outputs.dtype)


_NAMED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "binary": _binary,
    "mse": _mse,
}


def _checked(loss: LossFunction) -> LossFunction:
    def losses(outputs: Any, targets: Any) -> Tensor:
        values = loss(outputs, targets)
        expected = len(targets) if not isinstance(targets, Tensor) or targets.ndim else math.nan
        if not isinstance(values, Tensor) or values.ndim != 1 or values.shape[0] != expected:
            shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise UsageError(
                f"The loss returned {shape} for {expected} targets; it must return one loss per example.",
                'Use reduction="none", and average over everything but the first axis.',
            )
        return values

    return losses


def one_by_one(losses: Tensor) -> Tensor:
    """The single loss in losses [1], as a scalar."""
    return torch.squeeze(losses, 0)
