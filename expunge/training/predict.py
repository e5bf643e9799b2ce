"""What does a model say of each record? Logits, always in eval mode."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
