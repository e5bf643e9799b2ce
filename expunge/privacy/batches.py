"""What is a batch? One tensor, or a tuple or dict of tensors, the first axis of each the records'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

Inputs = Tensor | tuple[Tensor, ...] | list[Tensor] | Mapping[str, Tensor]


def tensors(inputs: Any) -> list[Any]:
    """The tensors of a batch."""
    if isinstance(inputs, Mapping):
        return list(inputs.values())
    return list(inputs) if isinstance(inputs, tuple | list) else [inputs]


def count(inputs: Inputs) -> int:
    """How many records."""
    return len(tensors(inputs)[0])


def rows(inputs: Any, chosen: Any) -> Any:
    """The chosen records (a slice or row numbers)."""
    if isinstance(inputs, Mapping):
        return {name: value[chosen] for name, value in inputs.items()}
    return tuple(value[chosen] for value in inputs) if isinstance(inputs, tuple | list) else inputs[chosen]


def map_tensors(inputs: Any, change: Any) -> Any:
    """The batch with every tensor changed."""
    if isinstance(inputs, Mapping):
        return {name: change(value) for name, value in inputs.items()}
    return tuple(change(value) for value in inputs) if isinstance(inputs, tuple | list) else change(inputs)


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """How a model is called with it: model(x), model(x, lengths) or model(input_ids=..., mask=...)."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (tuple(inputs), {}) if isinstance(inputs, tuple | list) else ((inputs,), {})


def call(model: nn.Module, inputs: Any, state: dict[str, Tensor] | None = None) -> Any:
    """The model's outputs; `state` stands in for parameters and buffers of these names."""
    positional, named = arguments(inputs)
    if not state:
        return model(*positional, **named)
    return torch.func.functional_call(model, state, positional, named)
