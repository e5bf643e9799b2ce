"""What does a scenario train on? One data set, split into training and held-out records, and its model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from expunge.data import RecordTable, load_records
from expunge.errors import UsageError
from expunge.models import ModelSpec
from expunge.reproduction.config import WorldConfig
from expunge.training import TrainingConfig
from expunge.training.randomness import derived_seed

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """Records and how they are trained on: a random split of the data set by `seed`.

    Forget sets are rows of `train`, int64 [m], sorted.
    """

    name: str
    config: WorldConfig
    train: RecordTable
    held_out: RecordTable
    spec: ModelSpec
    seed: int

    @property
    def training(self) -> TrainingConfig:
        """Of one model; `seed` is to be replaced."""
        return self.config.training

    @property
    def sampling_rate(self) -> float:
        """q = b/n of the original training; oracles and unlearning keep it (METHOD section 1)."""
        return self.training.batch_size / len(self.train)

    @property
    def device(self) -> str:
        """Where to train."""
        if self.config.device != "auto":
            return self.config.device
        return "cuda" if torch.cuda.is_available() else "cpu"

    def retain(self, forget: Rows) -> Rows:
        """Rows of the training records that stay."""
        return np.setdiff1d(np.arange(len(self.train)), forget)

    def records(self, rows: Rows) -> RecordTable:
        """Those training records, in the order of `train`."""
        return self.train.select([self.train.record_ids[row] for row in rows])

    def seed_of(self, *purpose: object) -> int:
        """A seed for one purpose of this world, unlike every other's."""
        return derived_seed(self.seed, " ".join(map(str, (self.name, *purpose))))


def open_world(name: str, config: WorldConfig, seed: int) -> World:
    """Load the records and split them.

    Raises UsageError where the data set is too small, and what the loader raises.
    """
    table = load_records(config.data.name, config.data.options)
    wanted = config.data.train + config.data.held_out
    if wanted > len(table):
        raise UsageError(
            f"{name}: {config.data.train} training and {config.data.held_out} held-out records are wanted, and"
            f" {config.data.name} has {len(table)}.",
            f"Lower worlds.{name}.data.train or held_out.",
        )
    order = np.random.default_rng(derived_seed(seed, f"{name} split")).permutation(len(table))
    ids = [table.record_ids[row] for row in order[:wanted]]
    train, held_out = table.select(ids[: config.data.train]), table.select(ids[config.data.train :])
    spec = ModelSpec(
        name=config.model.name,
        in_shape=tuple(table.features.shape[1:]),
        classes=table.classes,
        integer_inputs=bool(np.issubdtype(table.features.dtype, np.integer)),
        options=dict(config.model.options),
    )
    return World(name, config, train, held_out, spec, seed)
