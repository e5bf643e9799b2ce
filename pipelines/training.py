"""load_records -> train_noisy -> evaluate_utility -> register_model."""

from __future__ import annotations

from zenml import pipeline

from adapters.runs import PipelineRun, run_pipeline
from expunge.settings import ProjectSettings
from steps.data.load_records import load_records
from steps.training.evaluate_utility import evaluate_utility
from steps.training.register_model import register_model
from steps.training.train_noisy import train_noisy


@pipeline(name="training")
def training_pipeline(settings: ProjectSettings) -> None:
    """Train with noise on everything that may be trained on, keep the trajectory, register the model."""
    training_records, held_out_records = load_records(settings)
    trajectory, model = train_noisy(training_records, settings)
    utility = evaluate_utility(model, training_records, held_out_records, settings)
    register_model(training_records, held_out_records, trajectory, model, utility, settings)


def run_training(settings: ProjectSettings) -> PipelineRun:
    """Train now."""
    return run_pipeline(training_pipeline, "training", settings)
