"""Which records are in the batch of a step? Poisson (each with probability q) or shuffled epochs."""

from __future__ import annotations

import torch
from torch import Tensor

from expunge.training.config import TrainingConfig
from expunge.training.randomness import generator


def batch_rows(config: TrainingConfig, seed: int, step: int, records: int, rate: float) -> Tensor:
    """Rows of the batch at `step`, int64 [size], out of `records` rows; may be empty under Poisson sampling."""
    if config.batches == "poisson":
        coins = torch.rand(records, generator=generator(seed, "batch", step))
        return torch.nonzero(coins < rate).flatten()
    size = min(config.batch_size, records)
    per_epoch = max(1, -(-records // size))
    epoch, place = divmod(step, per_epoch)
    order = torch.randperm(records, generator=generator(seed, "epoch", epoch))
    return order[place * size : (place + 1) * size]
