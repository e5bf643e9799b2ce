"""The sum of a batch's gradients, with records weighted or clipped, for one model."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from expunge.training.state import TrainingState

Tensors = dict[str, Tensor]


def summed_loss(model: nn.Module, buffers: Tensors) -> Callable[[Tensors, Tensor, Tensor, Tensor], Tensor]:
    """Function (params, x [b, ...], y [b], weight [b]) -> weighted SUM of cross-entropy losses."""

    def loss(params: Tensors, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        outputs = functional_call(model, {**params, **buffers}, (x,))
        return (F.cross_entropy(outputs, y, reduction="none") * weight).sum()

    return loss


def gradient_sum(
    model: nn.Module, state: TrainingState, x: Tensor, y: Tensor, clip: float | None
) -> tuple[Tensors, Tensor]:
    """(gradient of the summed loss, summed loss); with `clip` every record's gradient is clipped to that norm.

    In-place BatchNorm updates go to `state.buffers`, as in ordinary training.
    """
    if clip is not None:
        return clipped_sum(model, state.params, state.buffers, x, y, torch.ones(len(y), device=y.device), clip)
    leaves = {k: v.detach().requires_grad_(True) for k, v in state.params.items()}
    loss = summed_loss(model, state.buffers)(leaves, x, y, torch.ones(len(y), device=y.device))
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    zero_filled = {k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(leaves.items(), grads, strict=True)}
    return zero_filled, loss.detach()


def clipped_sum(
    model: nn.Module, params: Tensors, buffers: Tensors, x: Tensor, y: Tensor, weight: Tensor, clip: float
) -> tuple[Tensors, Tensor]:
    """Sum over records of weight * g / max(1, ||g|| / clip), by vmap over single-record gradients (DP-SGD)."""
    loss = summed_loss(model, buffers)

    def one(params: Tensors, x1: Tensor, y1: Tensor) -> Tensor:
        return loss(params, x1[None], y1[None], torch.ones(1, device=y1.device))

    grads, losses = vmap(grad_and_value(one), in_dims=(None, 0, 0), randomness="different")(params, x, y)
    squared = torch.stack([g.flatten(1).square().sum(1) for g in grads.values()]).sum(0)
    factor = weight * (clip / squared.sqrt().clamp(min=1e-30)).clamp(max=1.0)
    summed = {k: torch.einsum("n,n...->...", factor, g) for k, g in grads.items()}
    return summed, (losses * weight).sum()
