"""What are the per-example gradient norms of any model at all? Each example alone, by torch.func or plain autograd.

This is the definition the fast rules are checked against: the gradient of the loss of the single record, in a batch of
one. It needs a copy of all gradients per example, which is why the fast rules exist.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from expunge.privacy.batches import call, count, map_tensors, rows
from expunge.privacy.losses import Loss, losses

_GRADIENT_CELLS = 1 << 25  # gradient entries held at once: 128 MB of float32
_MOST_AT_ONCE = 256

# What torch.func raises when a model cannot be vectorised: data-dependent control flow, in-place writes to a buffer, an
# operator without a rule, out of memory. Errors of the caller's own appear again in the loop and are raised from there.
VMAP_FAILURES = (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, KeyError, IndexError)


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the parameters with requires_grad, each shared one once: some layers write to theirs in forward."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def norms_by_vmap(model: nn.Module, loss: Loss, inputs: Any, targets: Any, most: int) -> Tensor:
    """Norms [n], float64, by vmap(grad) over at most `most` examples at once.

    Raises:
        VMAP_FAILURES: this model cannot be vectorised; `norms_by_loop` can do it.
    """
    parameters, rest = _trainable(model), _fixed(model)

    def one_loss(values: dict[str, Tensor], x: Any, y: Any) -> Tensor:
        outputs = call(model, map_tensors(x, lambda value: value[None]), {**rest, **values})
        return losses(loss, outputs, map_tensors(y, lambda value: value[None]), 1).squeeze(0)

    def one_squared_norm(x: Any, y: Any) -> Tensor:
        slopes = grad(one_loss)(parameters, x, y)
        return torch.stack([_squared_norm(slope) for slope in slopes.values()]).sum()

    size = sum(value.numel() for value in parameters.values())
    at_once = min(most, max(1, min(_MOST_AT_ONCE, _GRADIENT_CELLS // size)))
    every: Callable[..., Tensor] = vmap(one_squared_norm, randomness="error")
    parts = []
    with warnings.catch_warnings():
        # a missing batching rule costs time, not correctness
        warnings.filterwarnings("ignore", message=".*performance drop.*")
        for i in range(0, count(inputs), at_once):
            some = slice(i, i + at_once)
            parts.append(every(rows(inputs, some), rows(targets, some)).detach())
    return torch.cat(parts).sqrt()


def norms_by_loop(model: nn.Module, loss: Loss, inputs: Any, targets: Any) -> Tensor:
    """Norms [n], float64, one backward pass per example: slow, and works whenever training does."""
    parameters = {name: value.requires_grad_() for name, value in _trainable(model).items()}
    result = torch.zeros(count(inputs), dtype=torch.float64, device=next(iter(parameters.values())).device)
    for i in range(count(inputs)):
        only = slice(i, i + 1)
        outputs = call(model, rows(inputs, only), {**_fixed(model), **parameters})
        value = losses(loss, outputs, rows(targets, only), 1).squeeze(0)
        if not value.requires_grad:  # this example's loss uses no trainable parameter
            continue
        slopes = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
        for slope in slopes:
            if slope is not None:
                result[i] += _squared_norm(slope.coalesce().values() if slope.is_sparse else slope)
    return result.sqrt()


def _fixed(model: nn.Module) -> dict[str, Tensor]:
    """Frozen parameters and copies of the buffers: a model that counts its calls must not notice this one."""
    frozen = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
    return frozen | {name: buffer.clone() for name, buffer in model.named_buffers()}


def _squared_norm(values: Tensor) -> Tensor:
    return torch.linalg.vector_norm(values, dtype=torch.float64).square()
