"""Gradient norms of every training record at every checkpoint."""

from typing import Annotated

from zenml import step

from adapters.progress import progress
from expunge.data import RecordTable
from expunge.privacy.scores import GradientNorms
from expunge.privacy.trajectory_scores import score_trajectory
from expunge.settings import ProjectSettings
from expunge.training import Trajectory


@step(enable_cache=False)
def score_gradient_norms(
    trajectory: Trajectory,
    training_records: RecordTable,
    settings: ProjectSettings,
    previous: GradientNorms | None = None,
) -> Annotated[GradientNorms, "gradient_norms"]:
    return score_trajectory(
        trajectory,
        training_records,
        previous,
        batch=settings.scoring.batch,
        device=settings.device,
        progress=progress("scoring"),
    )
