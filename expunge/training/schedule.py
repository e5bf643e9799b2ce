"""What is the learning rate at a step, and at which steps are checkpoints scored?"""

from __future__ import annotations

import math

import numpy as np

from expunge.training.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int) -> float:
    """eta_t. After the last step a schedule stays where it ended."""
    base, schedule = config.learning_rate, config.schedule
    if step < schedule.warmup:
        return base * (step + 1) / schedule.warmup
    share = min(1.0, step / config.steps)
    if schedule.kind == "cosine":
        return base * (schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * share)))
    if schedule.kind == "step":
        return base * schedule.factor ** sum(share >= m for m in schedule.milestones)
    return base


def scored_steps(config: TrainingConfig) -> list[int]:
    """Steps of the scored checkpoints: evenly spaced over 0..T-1, both ends included (METHOD section 3)."""
    even = np.linspace(0, config.steps - 1, min(config.checkpoints, config.steps))
    return sorted({round(float(x)) for x in even})
