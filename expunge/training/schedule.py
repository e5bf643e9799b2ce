"""What is the learning rate at a step, and at which steps are checkpoints scored?"""

from __future__ import annotations

import math
from typing import get_args

import numpy as np

from expunge.errors import UsageError, nearest
from expunge.training.config import Spacing, TrainingConfig


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
    """Steps of the scored checkpoints, both ends of 0..T-1 included, spaced as the config says (METHOD section 3)."""
    return spaced(config.steps, config.checkpoints, config.spacing)


def spaced(total: int, count: int, spacing: Spacing) -> list[int]:
    """min(count, total) of the numbers 0..total-1, increasing, the first and last among them.

    "even": equal gaps, rounded. "log": the gaps grow by a constant factor from one step on, so that no two early points
    round to the same step (chosen here); early training, where gradients change fastest, is seen most closely.

    Raises:
        UsageError: fewer than two points, or fewer than two steps; an unknown spacing.
    """
    if count < 2 or total < 2:
        raise UsageError(f"At least two points and two steps are needed; got {count} of {total}.")
    count = min(count, total)
    if spacing == "even":
        return [round(float(x)) for x in np.linspace(0, total - 1, count)]
    if spacing != "log":
        raise UsageError(f"Unknown spacing {spacing!r}.", nearest(str(spacing), list(get_args(Spacing))))
    growth = _growth(count - 1, total - 1)
    reached, points = 0.0, [0]
    for gap in range(count - 1):
        reached += growth**gap
        points.append(max(math.floor(reached + 0.5), points[-1] + 1))
    points[-1] = total - 1
    return points


def _growth(gaps: int, length: int) -> float:
    """The factor f >= 1 with 1 + f + ... + f^(gaps-1) = length."""
    from scipy.optimize import brentq  # not needed for even spacing, and slow to import

    if gaps in (1, length):
        return 1.0

    def excess(f: float) -> float:
        return sum(f**i for i in range(gaps)) - length

    # the last gap alone, f^(gaps-1), stays below the length
    return float(brentq(excess, 1.0, 1 + float(length) ** (1 / (gaps - 1)), xtol=1e-13))
