"""How much noise does a convention add, and what is s, its deviation on the SUM of the batch's gradients?"""

from __future__ import annotations

import math

from expunge.training.config import NoiseConfig


def sum_noise_deviation(noise: NoiseConfig, batch_size: int, lr: float) -> float | None:
    """s of METHOD section 1, per coordinate, on the sum of gradients; None for `implicit` (section 4 sets it)."""
    if noise.convention == "langevin":
        return batch_size * _given(noise.sigma) * math.sqrt(2.0 / lr)
    if noise.convention == "mean_gradient":
        return batch_size * _given(noise.sigma)
    if noise.convention == "dp_sgd":
        return _given(noise.noise_multiplier) * _given(noise.clip)
    if noise.convention == "weights":
        return batch_size * _given(noise.tau) / lr
    return None


def gradient_noise_deviation(noise: NoiseConfig, batch_size: int) -> float:
    """Deviation of the noise added to the MEAN gradient (sum / b) before momentum and learning rate."""
    if noise.convention == "mean_gradient":
        return _given(noise.sigma)
    if noise.convention == "dp_sgd":
        return _given(noise.noise_multiplier) * _given(noise.clip) / batch_size
    return 0.0


def weight_noise_deviation(noise: NoiseConfig, lr: float) -> float:
    """Deviation of the noise added to the weights after the update."""
    if noise.convention == "langevin":
        return math.sqrt(2.0 * lr) * _given(noise.sigma)
    if noise.convention == "weights":
        return _given(noise.tau)
    return 0.0


def _given(value: float | None) -> float:
    if value is None:  # NoiseConfig has checked this; kept for the type checker
        raise ValueError("noise convention without its number")
    return value
