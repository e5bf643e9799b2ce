"""The set-level loss of a run: one record's is near its own, aligned records count squared, a gap says None."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from expunge.data import load_records
from expunge.models import ModelSpec
from expunge.privacy.scores import PrivacyLosses
from expunge.privacy.set_loss import set_level_loss
from expunge.privacy.trajectory_scores import score_trajectory, trajectory_losses
from expunge.privacy.trajectory_set_loss import trajectory_set_loss
from expunge.training import TrainingConfig, Trajectory, train


@pytest.mark.parametrize("noise", [{"convention": "mean_gradient", "sigma": 0.05}, {"convention": "implicit"}])
def test_it_is_that_of_the_summed_gradients_with_the_scores_own_noise(tmp_path: Path, noise: dict[str, object]) -> None:
    whole = load_records("digits")
    table = whole.select(whole.record_ids[:120])
    config = TrainingConfig.model_validate(
        {"steps": 30, "batch_size": 30, "learning_rate": 0.2, "checkpoints": 6, "noise": noise}
    )
    trajectory = train(ModelSpec("mlp", (64,), 10, options={"hidden": [6]}), table, config, tmp_path)
    losses: PrivacyLosses = trajectory_losses(score_trajectory(trajectory, table), trajectory, 8, 1.0)
    norms = score_trajectory(trajectory, table)

    def of(ids: tuple[str, ...], own: Trajectory = trajectory) -> float | None:
        found = trajectory_set_loss(own, table, losses, ids)
        return None if found is None else found.value

    one = table.record_ids[:1]
    alone = set_level_loss(
        norms.select(one).norms[0].astype(np.float64), losses.settings["s"], losses.settings["q"], losses.steps,
        30, 8,
    )  # fmt: skip
    assert of(one) == pytest.approx(alone.value, rel=1e-3)
    several = of(table.record_ids[:20])
    parts = [of((record,)) for record in table.record_ids[:20]]
    # Never more than if all 20 gradients were aligned; more than nothing.
    assert several is not None and 0 < several < np.sum(np.sqrt(np.array(parts, dtype=float))) ** 2
    gone = replace(trajectory, checkpoints=tuple(replace(c, destroyed=c.step == 0) for c in trajectory.checkpoints))
    assert of(one, gone) is None
