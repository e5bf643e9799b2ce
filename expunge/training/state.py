"""What is a training state? Parameters, buffers and momentum, as named tensors in one flat mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from expunge.training.config import TrainingConfig
from expunge.training.noise import gradient_noise_deviation, weight_noise_deviation


@dataclass
class TrainingState:
    """Tensors by name. In stacked training each has a leading dimension [models]."""

    params: dict[str, Tensor]
    buffers: dict[str, Tensor]
    momentum: dict[str, Tensor]

    @classmethod
    def of(cls, model: nn.Module) -> TrainingState:
        """A copy of the model's tensors, momentum empty."""
        return cls(
            {k: v.detach().clone() for k, v in model.named_parameters()},
            {k: v.detach().clone() for k, v in model.named_buffers()},
            {},
        )

    def tensors(self) -> dict[str, Tensor]:
        """Flat mapping as stored in a checkpoint."""
        flat = {f"params/{k}": v for k, v in self.params.items()}
        flat |= {f"buffers/{k}": v for k, v in self.buffers.items()}
        return flat | {f"momentum/{k}": v for k, v in self.momentum.items()}

    @classmethod
    def from_tensors(cls, flat: Mapping[str, Tensor]) -> TrainingState:
        groups: dict[str, dict[str, Tensor]] = {"params": {}, "buffers": {}, "momentum": {}}
        for key, tensor in flat.items():
            group, _, name = key.partition("/")
            groups[group][name] = tensor.clone()
        return cls(**groups)

    def model_state(self) -> dict[str, Tensor]:
        """What nn.Module.load_state_dict takes."""
        return {**self.params, **self.buffers}


def apply_update(
    state: TrainingState,
    gradient_sum: Mapping[str, Tensor],
    noise: Mapping[str, Tensor],
    config: TrainingConfig,
    lr: float,
) -> None:
    """One step, in place: w -= eta * momentum(sum/b + noise + decay * w), then noise on the weights.

    `gradient_sum` is the SUM over the batch, always divided by the fixed expected b (METHOD section 1), and `noise`
    standard normal. Momentum starts at 0 and is m = mu * m + g, as in torch.optim.SGD.
    """
    on_gradient = gradient_noise_deviation(config.noise, config.batch_size)
    on_weights = weight_noise_deviation(config.noise, lr)
    with torch.no_grad():
        for name, weight in state.params.items():
            step = gradient_sum[name] / config.batch_size
            if on_gradient:
                step = step + on_gradient * noise[name]
            if config.weight_decay:
                step = step + config.weight_decay * weight
            if config.momentum:
                previous = state.momentum.get(name)
                step = step if previous is None else config.momentum * previous + step
                state.momentum[name] = step.clone()
            weight.sub_(lr * step)
            if on_weights:
                weight.add_(on_weights * noise[name])
