"""Which model? By name, or a factory of the user's own; always checked against the data before any work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from expunge.errors import ExpungeError, UsageError, nearest
from expunge.functions import check_options, load_function
from expunge.models.factories import mlp, resnet18, small_cnn, vit_small

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "small_cnn": small_cnn,
    "resnet18": resnet18,
    "vit_small": vit_small,
}

# Initialisation draws from torch's global generator, which other threads share.
_global_generator = threading.Lock()


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to build the module again: factory name, options, record shape, classes."""

    name: str
    in_shape: tuple[int, ...]
    classes: int
    integer_inputs: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "in_shape": list(self.in_shape), "classes": self.classes,
            "integer_inputs": self.integer_inputs, "options": self.options,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ModelSpec:
        return cls(raw["name"], tuple(raw["in_shape"]), raw["classes"], raw["integer_inputs"], dict(raw["options"]))


def build_model(spec: ModelSpec, seed: int = 0) -> nn.Module:
    """The module in training mode, initialised from `seed` alone.

    Raises UsageError for an unknown name or option, or when the output is not [n, classes].
    """
    factory = _factory(spec.name)
    check_options(f"model {spec.name!r}", factory, {"in_shape": 0, "classes": 0, **spec.options})
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.options.items()}
    with _global_generator, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        try:
            model = factory(in_shape=spec.in_shape, classes=spec.classes, **options)
        except (TypeError, ValueError) as error:
            raise UsageError(f"Model {spec.name!r} cannot be built: {error}.", "Check model.options.") from error
        if not isinstance(model, nn.Module):
            raise UsageError(f"{spec.name} returned {type(model).__name__}.", "Return a torch.nn.Module.")
        _check_output(model, spec)
    return model.train()


def uses_batch_statistics(model: nn.Module) -> bool:
    """True when a record's gradient depends on the rest of its batch in training mode (BatchNorm)."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())


def _factory(name: str) -> Callable[..., nn.Module]:
    if ":" in name:
        return load_function(name)
    if name not in MODELS:
        raise UsageError(f"Unknown model {name!r}.", nearest(name, list(MODELS)))
    return MODELS[name]


def _check_output(model: nn.Module, spec: ModelSpec) -> None:
    probe = torch.zeros(2, *spec.in_shape, dtype=torch.int64 if spec.integer_inputs else torch.float32)
    try:
        with torch.no_grad():
            output = model.eval()(probe)
    except ExpungeError:
        raise
    except Exception as error:
        raise UsageError(
            f"Model {spec.name!r} fails on records of shape {spec.in_shape}: {error}.",
            "Does the model fit the data set?",
        ) from error
    shape = tuple(getattr(output, "shape", ()))
    if shape != (2, spec.classes):
        raise UsageError(
            f"Model {spec.name!r} gives outputs of shape {shape} for 2 records, but the data set has"
            f" {spec.classes} classes, so (2, {spec.classes}) was expected.",
            "Let the factory use its `classes` argument for the last layer.",
        )
