"""Forget a set that nobody asked for, judge the result, promote nothing: to see what a deletion would take."""

from __future__ import annotations

from typing import Any

import numpy as np
from zenml import pipeline

from adapters import model_registry
from adapters.ledger import pseudonymizer
from adapters.runs import PipelineRun, run_pipeline
from expunge.privacy.forget_sets import build_forget_set
from expunge.privacy.scores import PrivacyLosses
from expunge.settings import ProjectSettings
from expunge.unlearning.planner import refuse_too_large
from pipelines.inputs import judging_inputs, lent, optional, required
from steps.evaluation.decide_gate import decide_gate
from steps.evaluation.evaluate_unlearning import evaluate_unlearning
from steps.evaluation.report_drift import report_drift
from steps.evaluation.train_references import train_references
from steps.unlearning.attach_to_version import attach_to_version
from steps.unlearning.choose_records import choose_records
from steps.unlearning.learn_from_run import learn_from_run
from steps.unlearning.plan_unlearning import plan_unlearning
from steps.unlearning.set_spec import parse_set
from steps.unlearning.unlearn_records import unlearn_records

# Attempts of a deletion count from 1.
TRIAL = 0


@pipeline(name="planning")
def planning_pipeline(model_version: str, set_spec: str, settings: ProjectSettings) -> None:
    """Price the forgetting of a set against retraining."""
    losses = required("privacy_losses", model_version)
    forget_set = choose_records(set_spec, settings.deletion.seed, losses)
    plan_unlearning(
        forget_set, losses, required("trajectory", model_version), _label(model_version), settings,
        required("training_records", model_version), **_given(model_version, "budget_predictor"),
        **lent(model_version),
    )  # fmt: skip


@pipeline(name="trial")
def trial_pipeline(model_version: str, set_spec: str, settings: ProjectSettings) -> None:
    """Plan, unlearn and judge; the model that serves stays as it is, and its calibration learns from the run."""
    losses = required("privacy_losses", model_version)
    trajectory = required("trajectory", model_version)
    training_records = required("training_records", model_version)
    held_out_records = required("held_out_records", model_version)
    calibrated = _given(model_version, "budget_predictor")
    forget_set = choose_records(set_spec, settings.deletion.seed, losses)
    plan = plan_unlearning(
        forget_set, losses, trajectory, _label(model_version), settings, training_records, **calibrated
    )
    _, model, run, retain, _ = unlearn_records(
        plan, forget_set, trajectory, training_records, held_out_records, settings, **calibrated
    )
    judged = train_references(
        trajectory, model, run, forget_set, training_records, held_out_records, settings,
        # What a trial measures teaches the next plan: its judges never judge a deletion.
        attempt=TRIAL, **judging_inputs(model_version, settings),
    )  # fmt: skip
    evidence = evaluate_unlearning(judged, losses, settings)
    report_drift(judged, evidence, settings)
    decide_gate(evidence, run, forget_set, retain, settings)
    if calibrated:
        learned = learn_from_run(calibrated["budget_predictor"], plan, run, forget_set, losses, evidence)
        attach_to_version(learned, model_version)


def check_set(settings: ProjectSettings, set_spec: str) -> None:
    """Refuse a text that is no set, unknown records, or a set that leaves too little, before any work is spent.

    Raises UsageError or NotFoundError.
    """
    kind, _, value = set_spec.partition(":")
    if kind == "requests":
        return
    trained = required("training_records", _serving(settings)).load().record_ids
    if kind == "records":
        named = [part.strip() for part in value.split(",") if part.strip()]
        size = len(build_forget_set("records", trained, record_ids=named))
    else:
        # Sizes alone matter here: losses that are all alike stand in for scores that may not exist yet.
        alike = np.zeros(len(trained))
        losses = PrivacyLosses(trained, alike, alike[:, None], (0,), settings.scoring.order, "score")
        size = len(parse_set(set_spec, losses, settings.deletion.seed))
    refuse_too_large(size, len(trained), settings.training.batch_size)


def run_planning(settings: ProjectSettings, set_spec: str) -> PipelineRun:
    """Plan for the model that serves."""
    return run_pipeline(planning_pipeline, "planning", _serving(settings), _opaque(set_spec), settings)


def run_trial(settings: ProjectSettings, set_spec: str) -> PipelineRun:
    """Try on the model that serves."""
    return run_pipeline(trial_pipeline, "trial", _serving(settings), _opaque(set_spec), settings)


def _opaque(set_spec: str) -> str:
    """Named records as pseudonyms: a pipeline's parameters stay for ever."""
    kind, _, value = set_spec.partition(":")
    if kind != "records":
        return set_spec
    names = pseudonymizer()
    return "pseudonyms:" + ",".join(names.record(part.strip()) for part in value.split(",") if part.strip())


def _serving(settings: ProjectSettings) -> str:
    return str(model_registry.production(settings.model.registered_as).id)


def _given(model_version: str, name: str) -> dict[str, Any]:
    found = optional(name, model_version)
    return {name: found} if found is not None else {}


def _label(model_version: str) -> str:
    return model_registry.label(model_registry.by_id(model_version))
