"""Pilot forget sets across the difficulty range -> unlearn, compare with oracles -> fitted budget predictor."""

from __future__ import annotations

from zenml import pipeline

from adapters import model_registry
from adapters.runs import PipelineRun, run_pipeline
from expunge.settings import ProjectSettings
from pipelines.inputs import required
from steps.scoring.attach_to_model import attach_to_model
from steps.unlearning.calibrate_budget import calibrate_budget


@pipeline(name="calibration")
def calibration_pipeline(model_version: str, settings: ProjectSettings) -> None:
    """Measure on pilots how far back records of a given privacy loss must be rewound."""
    trajectory = required("trajectory", model_version)
    losses = required("privacy_losses", model_version)
    records = required("training_records", model_version)
    predictor, planted = calibrate_budget(trajectory, losses, records, settings)
    attach_to_model(predictor, planted, model_version)


def run_calibration(settings: ProjectSettings) -> PipelineRun:
    """Calibrate for the model that serves."""
    serving = model_registry.production(settings.model.registered_as)
    return run_pipeline(calibration_pipeline, "calibration", str(serving.id), settings)
