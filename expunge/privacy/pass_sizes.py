"""How many examples go into one pass? As many as keep the activations in bounds, told from two of them.

A pass costs some dozens of small operations whatever its size, so small models want large ones; memory is bounded by
what autograd keeps for the backward pass. Shapes decide, so the same model and inputs are always cut alike.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from expunge.privacy.batches import call, count, rows, tensors

_KEPT_BYTES = 384 << 20
_FEWEST = 8
_INPUT_CELLS = 1 << 19  # where the model cannot be asked: about 170 CIFAR images


def examples_at_once(model: nn.Module, inputs: Any) -> int:
    """At least 8. The model is in eval mode; its parameters and buffers are left as they are."""
    some = rows(inputs, slice(0, min(2, count(inputs))))
    # copies: some layers write to theirs in forward
    state = {name: p.detach().clone().requires_grad_(p.requires_grad) for name, p in model.named_parameters()}
    own = {p.data_ptr() for p in state.values()}
    state |= {name: buffer.clone() for name, buffer in model.named_buffers()}
    kept: dict[int, int] = {}

    def note(value: Tensor) -> Tensor:
        if value.data_ptr() not in own:
            kept[value.data_ptr()] = value.numel() * value.element_size()
        return value

    random_state = torch.get_rng_state()
    try:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
            outputs = call(model, some, state)
        del outputs
    except Exception:  # whatever it is, the pass itself says it better
        kept.clear()
    finally:
        torch.set_rng_state(random_state)
    if not kept:
        return max(_FEWEST, _INPUT_CELLS // max(1, max(value[0].numel() for value in tensors(inputs))))
    return max(_FEWEST, _KEPT_BYTES * count(some) // max(1, sum(kept.values())))
