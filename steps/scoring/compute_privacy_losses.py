"""Privacy losses from the gradient norms: what plans and forget sets read."""

from dataclasses import replace
from typing import Annotated

from zenml import step
from zenml.artifacts.unmaterialized_artifact import UnmaterializedArtifact

from adapters import artifacts
from expunge.privacy.scores import GradientNorms, PrivacyLosses
from expunge.privacy.trajectory_scores import trajectory_losses
from expunge.settings import ProjectSettings


@step(enable_cache=False)
def compute_privacy_losses(
    gradient_norms: GradientNorms,
    trajectory: UnmaterializedArtifact,
    training_records: UnmaterializedArtifact,
    settings: ProjectSettings,
) -> Annotated[PrivacyLosses, "privacy_losses"]:
    run = artifacts.materializer_of(trajectory).load_manifest()
    losses = trajectory_losses(gradient_norms, run, settings.scoring.order, settings.scoring.r0)
    source = artifacts.materializer_of(training_records).load_source()
    return replace(losses, settings={**losses.settings, "data_source": source})
