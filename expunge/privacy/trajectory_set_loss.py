"""What could a training run reveal of a forget set as a whole? Its set-level loss, with the scores' own noise."""

from __future__ import annotations

from collections.abc import Sequence

from expunge.data import RecordTable
from expunge.privacy.scores import PrivacyLosses
from expunge.privacy.set_gradients import trajectory_sum_norms
from expunge.privacy.set_loss import set_level_loss
from expunge.privacy.set_loss_step import SetLoss
from expunge.training import Trajectory


def trajectory_set_loss(
    trajectory: Trajectory, table: RecordTable, losses: PrivacyLosses, record_ids: Sequence[str], device: str = "cpu"
) -> SetLoss | None:
    """METHOD section 5, leading order in q: one pass over the set for each checkpoint. In nats.

    None where a checkpoint is gone, or was left out of the scores: part of a run's loss is not comparable with others'.

    Raises:
        IntegrityError: a checkpoint that is missing or changed. NotFoundError: unknown ids.
    """
    scored = tuple(c.step for c in trajectory.checkpoints)
    if any(c.destroyed for c in trajectory.checkpoints) or scored != losses.steps:
        return None
    norms = trajectory_sum_norms(trajectory, table, record_ids, device=device)
    settings = losses.settings
    return set_level_loss(norms, settings["s"], settings["q"], losses.steps, settings["total_steps"], losses.order)
