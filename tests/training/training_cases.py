"""Small runs on digits that the tests of training share."""

from __future__ import annotations

from typing import Any

from expunge.data import RecordTable, load_records
from expunge.models import ModelSpec
from expunge.training import TrainingConfig

NOISE: dict[str, dict[str, Any]] = {
    "langevin": {"convention": "langevin", "sigma": 0.01},
    "mean_gradient": {"convention": "mean_gradient", "sigma": 0.02},
    "dp_sgd": {"convention": "dp_sgd", "noise_multiplier": 0.5, "clip": 1.0},
    "weights": {"convention": "weights", "tau": 0.001},
    "implicit": {"convention": "implicit"},
}


def some_digits() -> RecordTable:
    whole = load_records("digits")
    return whole.select(whole.record_ids[:240])


def spec_of(table: RecordTable, name: str = "mlp", **options: object) -> ModelSpec:
    return ModelSpec(name, tuple(table.features.shape[1:]), table.classes, options=dict(options) or {"hidden": [8]})


def config_of(plain: dict[str, object], **given: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"noise": NOISE["mean_gradient"], **plain, **given})
