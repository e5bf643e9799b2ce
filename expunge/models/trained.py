"""A trained model as it is stored and served: its weights, how to build it, and which run they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from expunge.models.registry import ModelSpec


@dataclass(frozen=True)
class TrainedModel:
    """Parameters and buffers by name. `facts`: trajectory digest, data fingerprint, records, method."""

    spec: ModelSpec
    state: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)
