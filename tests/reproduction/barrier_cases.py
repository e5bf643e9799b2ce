"""Made-up heights and a tiny world that the tests of the scenario `barriers` share."""

from __future__ import annotations

import numpy as np

from expunge.reproduction.barriers.estimates import Heights
from expunge.reproduction.barriers.heights import FIGURES, WAYS
from expunge.reproduction.barriers.models import COUPLINGS
from expunge.reproduction.config import WorldConfig
from expunge.reproduction.world import World, open_world

ORIGINALS, SETS, NULLS, LOOKS = 5, 8, 2, 3
RATES = np.exp(np.linspace(0.0, 7.0, SETS + NULLS))


def heights(
    before: np.ndarray,
    baseline: np.ndarray,
    left: float = 1.0,
    left_by_control: float = 1.0,
    left_by_rewind: float = 1.0,
    hardest: int = 2,
) -> Heights:
    """All measures and couplings alike: before, baseline [originals, sets]; after fine-tuning `left` of `before`."""
    shape = (len(COUPLINGS), 2, len(WAYS), len(FIGURES))

    def spread(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values.reshape(*values.shape, 1, 1, 1, 1), (*values.shape, *shape)).copy()

    unlearned = before[:, SETS - hardest :]

    def run(share: float) -> np.ndarray:
        return spread(unlearned[..., None] * np.linspace(1.0, share, LOOKS + 1)[1:])

    return Heights(
        world="made up",
        loss=np.tile(RATES, (len(before), 1)),
        arrays={
            "before": spread(before), "baseline": spread(baseline), "rewound": spread(left_by_rewind * unlearned),
            "looks": run(left), "trained_on": run(left_by_control), "ends": np.ones((*before.shape, 4, 2)),
        },
        quantiles=SETS,
        hardest=hardest,
    )  # fmt: skip


def noise(seed: int, scale: float = 0.01) -> np.ndarray:
    """Positive heights that know nothing of privacy loss, [originals, sets]."""
    return np.abs(np.random.default_rng(seed).normal(0.1, scale, (ORIGINALS, SETS + NULLS)))


def tiny_world(**training: object) -> World:
    config = {
        "data": {"name": "digits", "train": 300, "held_out": 100},
        "model": {"name": "mlp", "options": {"hidden": [8]}},
        "training": {
            "steps": 12, "batch_size": 20, "learning_rate": 0.2, "checkpoints": 4,
            "noise": {"convention": "mean_gradient", "sigma": 0.003}, **training,
        },
    }  # fmt: skip
    return open_world("tiny", WorldConfig.model_validate(config), 1)
