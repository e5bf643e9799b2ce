"""What does a model say of each record? Logits, always in eval mode."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from expunge.data import RecordTable
from expunge.errors import UsageError
from expunge.models import ModelSpec, build_model


def predict(
    spec: ModelSpec, state: Mapping[str, Tensor], table: RecordTable, device: str = "cpu", chunk: int = 1024
) -> NDArray[np.float32]:
    """Logits float32 [n, classes] of the model with the given parameters and buffers.

    Raises UsageError naming the first tensor that does not fit the model.
    """
    model = build_model(spec).to(device)
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in state or state[name].shape != tensor.shape:
            found = tuple(state[name].shape) if name in state else "nothing"
            raise UsageError(
                f"Tensor {name!r} is {found}, but model {spec.name!r} wants {tuple(tensor.shape)}.",
                "These weights belong to another architecture.",
            )
    model.load_state_dict(dict(state))
    model.eval()
    with torch.no_grad():
        parts = [model(part.to(device)).float().cpu() for part in torch.from_numpy(table.features).split(chunk)]
    return torch.cat(parts).numpy()


def model_logits(model: nn.Module, features: NDArray[np.generic] | Tensor, chunk: int = 1024) -> NDArray[np.float32]:
    """Logits float32 [n, classes] of a module of your own on features [n, ...], ``chunk`` records at a time.

    The module stays on its device and is not changed. Floating features are taken in the precision of its parameters.

    Raises:
        UsageError: the module or a part of it is in training mode (dropout would make its answers random, batch norm
            would let records answer for each other), outputs not [n, classes], NaN or infinite ones.
    """
    training = next((name for name, part in model.named_modules() if part.training), None)
    if training is not None:
        where = f"its part {training!r}" if training else "the module"
        raise UsageError(f"{type(model).__name__}: {where} is in training mode.", "Call model.eval() first.")
    rows = torch.as_tensor(features)
    weight = next((p for p in model.parameters() if p.is_floating_point()), None)
    device = torch.device("cpu") if weight is None else weight.device
    dtype = (torch.float32 if weight is None else weight.dtype) if rows.is_floating_point() else rows.dtype
    parts = []
    with torch.no_grad():
        for part in rows.split(chunk):
            out = model(part.to(device, dtype))
            if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(part):
                shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
                raise UsageError(
                    f"{type(model).__name__} gives {shape} for {len(part)} records.", "Give logits [n, classes]."
                )
            parts.append(out.float().cpu())
    logits = torch.cat(parts)
    bad = int((~torch.isfinite(logits)).any(dim=1).sum())
    if bad:
        raise UsageError(
            f"{type(model).__name__} gives NaN or infinite outputs for {bad} of {len(logits)} records.",
            "A model that outputs NaN has diverged, or the features are not scaled as it expects.",
        )
    return logits.numpy()
