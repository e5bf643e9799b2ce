"""Pilot forget sets across the difficulty range -> unlearn, compare with oracles -> fitted budget predictor.

It also trains the reference pool, unless the settings want none.
"""

from __future__ import annotations

from zenml import pipeline

from adapters import model_registry
from adapters.runs import PipelineRun, run_pipeline
from expunge.settings import ProjectSettings
from pipelines.inputs import lent, required
from steps.scoring.attach_to_model import attach_to_model
from steps.unlearning.attach_to_version import attach_to_version
from steps.unlearning.calibrate_budget import calibrate_budget
from steps.unlearning.train_pool import train_pool


@pipeline(name="calibration")
def calibration_pipeline(model_version: str, settings: ProjectSettings) -> None:
    """Measure on pilots how far back records of a given privacy loss must be rewound."""
    trajectory = required("trajectory", model_version)
    losses = required("privacy_losses", model_version)
    records = required("training_records", model_version)
    predictor, planted = calibrate_budget(trajectory, losses, records, settings, **lent(model_version))
    if settings.evaluation.pool_models:
        held_out = required("held_out_records", model_version)
        attach_to_version(train_pool(trajectory, records, held_out, settings), model_version)
    attach_to_model(predictor, planted, model_version)


def run_calibration(settings: ProjectSettings) -> PipelineRun:
    """Calibrate for the model that serves."""
    serving = model_registry.production(settings.model.registered_as)
    return run_pipeline(calibration_pipeline, "calibration", str(serving.id), settings)
