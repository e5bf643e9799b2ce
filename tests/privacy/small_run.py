"""A small trained trajectory to score: 40 records of three classes, five checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from expunge.data import RecordTable
from expunge.data.record_table import make_table
from expunge.models import ModelSpec
from expunge.training import NoiseConfig, TrainingConfig, Trajectory, train

SPEC = ModelSpec("mlp", (6,), 3, options={"hidden": [8]})
N, T = 40, 24


class WideSequences(nn.Module):
    """Layers wide and sequences long enough for bfloat16 to be worth it: records [128, 64]."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(64, 64), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(torch.tanh(self.layer(x)).mean(1))
        return out


def small_table(n: int = N) -> RecordTable:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, n)
    features = rng.normal(size=(n, 6)) + targets[:, None]
    return make_table(
        features=features, targets=targets, record_ids=[f"r{i:02d}" for i in range(n)], classes=3, name="made"
    )


def small_config(**changes: Any) -> TrainingConfig:
    noise = NoiseConfig(convention="langevin", sigma=0.02)
    return TrainingConfig(
        **{"steps": T, "batch_size": 8, "learning_rate": 0.3, "noise": noise, "checkpoints": 5} | changes
    )


def small_run(table: RecordTable, folder: Path, **changes: Any) -> Trajectory:
    return train(SPEC, table, small_config(**changes), folder)
