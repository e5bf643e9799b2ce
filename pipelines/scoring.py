"""trajectory -> gradient norms -> privacy losses."""

from __future__ import annotations

from zenml import pipeline

from adapters import model_registry
from adapters.runs import PipelineRun, run_pipeline
from expunge.settings import ProjectSettings
from pipelines.inputs import optional, required
from steps.scoring.attach_to_model import attach_to_model
from steps.scoring.compute_privacy_losses import compute_privacy_losses
from steps.scoring.score_gradient_norms import score_gradient_norms


@pipeline(name="scoring")
def scoring_pipeline(model_version: str, settings: ProjectSettings) -> None:
    """Score every training record of a model version along its trajectory."""
    trajectory = required("trajectory", model_version)
    records = required("training_records", model_version)
    # After a rewind the checkpoints before its start are tombstones: their norms come from the scores there are.
    norms = score_gradient_norms(trajectory, records, settings, optional("gradient_norms", model_version))
    losses = compute_privacy_losses(norms, trajectory, records, settings)
    attach_to_model(norms, losses, model_version)


def run_scoring(settings: ProjectSettings) -> PipelineRun:
    """Score the model that serves."""
    serving = model_registry.production(settings.model.registered_as)
    return run_pipeline(scoring_pipeline, "scoring", str(serving.id), settings)
