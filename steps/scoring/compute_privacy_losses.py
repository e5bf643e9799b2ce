"""Privacy losses from the gradient norms: what plans and forget sets read."""

from dataclasses import replace
from typing import Annotated

from zenml import step

from expunge.data import RecordTable
from expunge.privacy.scores import GradientNorms, PrivacyLosses
from expunge.privacy.trajectory_scores import trajectory_losses
from expunge.settings import ProjectSettings
from expunge.training import Trajectory


@step(enable_cache=False)
def compute_privacy_losses(
    gradient_norms: GradientNorms, trajectory: Trajectory, training_records: RecordTable, settings: ProjectSettings
) -> Annotated[PrivacyLosses, "privacy_losses"]:
    losses = trajectory_losses(gradient_norms, trajectory, settings.scoring.order, settings.scoring.r0)
    return replace(losses, settings={**losses.settings, "data_source": training_records.source})
