"""The deletion pipeline: from the due requests to signed certificates, in one run for all of them.

collect_due -> resolve -> plan -> unlearn -> evaluate -> drift -> gate -> promote -> rescore -> purge -> report ->
certify -> close.

`completion` is its second half, for a run that was killed after it had promoted.
"""

from __future__ import annotations

from typing import Any

from zenml import pipeline

from adapters import model_registry
from adapters.ledger import open_ledger
from expunge.settings import ProjectSettings
from pipelines.approval import planned_artifacts
from pipelines.inputs import judging_inputs, lent, optional, required
from pipelines.planning import planned
from steps.compliance.certify_erasure import certify_erasure
from steps.compliance.close_requests import close_requests
from steps.compliance.keep_prefix import keep_prefix
from steps.compliance.promote_model import promote_model
from steps.compliance.purge_descendants import purge_descendants
from steps.compliance.recall_promotion import recall_promotion
from steps.compliance.write_report import write_report
from steps.evaluation.decide_gate import decide_gate
from steps.evaluation.evaluate_unlearning import evaluate_unlearning
from steps.evaluation.report_drift import report_drift
from steps.evaluation.train_references import train_references
from steps.scoring.attach_to_model import attach_to_model
from steps.scoring.compute_privacy_losses import compute_privacy_losses
from steps.scoring.score_gradient_norms import score_gradient_norms
from steps.unlearning.unlearn_records import unlearn_records

DOCUMENTS = ("unlearning_plan", "unlearning_run", "evidence", "gate_decision", "drift_report")


@pipeline(name="deletion")
def deletion_pipeline(
    run_id: str,
    model_version: str,
    settings: ProjectSettings,
    retrain_because: str = "",
    attempt: int = 1,
    earlier_cost: float = 0.0,
    approved: bool = False,
) -> None:
    """Answer every request of one run together, from the plan to the certificates; an approved one has its plan."""
    trajectory = required("trajectory", model_version)
    losses = required("privacy_losses", model_version)
    old_norms = required("gradient_norms", model_version)
    old_training = required("training_records", model_version)
    old_held_out = required("held_out_records", model_version)
    calibrated: dict[str, Any] = {}
    if predictor := optional("budget_predictor", model_version):
        calibrated["budget_predictor"] = predictor
    judging = judging_inputs(model_version, settings)

    if approved:
        forget_set, plan = _approved_plan(run_id)
    else:
        forget_set, plan = planned(run_id, model_version, settings, retrain_because)
    new_trajectory, model, run, training_records, held_out_records = unlearn_records(
        plan, forget_set, trajectory, old_training, old_held_out, settings,
        run_id=run_id, earlier_cost=earlier_cost, **calibrated, **lent(model_version),
    )  # fmt: skip
    judged = train_references(
        trajectory, model, run, forget_set, old_training, old_held_out, settings, attempt=attempt, **judging
    )
    evidence = evaluate_unlearning(judged, losses, settings)
    drift = report_drift(judged, evidence, settings)
    decision = decide_gate(evidence, run, forget_set, training_records, settings, run_id=run_id)
    promotion = promote_model(
        decision, run, evidence, new_trajectory, model, training_records, held_out_records,
        plan, run, evidence, decision, drift, settings, run_id,
    )  # fmt: skip
    # One step, not the fan-out of `scoring`: this pipeline runs on orchestrators that have no dynamic ones (ADR 3, 7).
    norms, _ = score_gradient_norms(new_trajectory, training_records, settings, old_norms, after=["promote_model"])
    new_losses = compute_privacy_losses(norms, new_trajectory, training_records, settings)
    attach_to_model(norms, new_losses, promotion=promotion)
    _finish(promotion, plan, run, evidence, decision, drift, settings, run_id, after=["attach_to_model"])


@pipeline(name="completion")
def completion_pipeline(run_id: str, settings: ProjectSettings) -> None:
    """Purge, certify and close what a killed run had promoted."""
    promoted = _version_id(settings, run_id)
    plan, run, evidence, decision, drift = (required(name, promoted) for name in DOCUMENTS)
    promotion = recall_promotion(settings, run_id)
    after = ["recall_promotion"]
    if optional("privacy_losses", promoted) is None:
        before = _before(plan, settings)
        trajectory, records = required("trajectory", promoted), required("training_records", promoted)
        norms, _ = score_gradient_norms(trajectory, records, settings, required("gradient_norms", before))
        losses = compute_privacy_losses(norms, trajectory, records, settings)
        attach_to_model(norms, losses, promotion=promotion)
        after = ["attach_to_model"]
    _finish(promotion, plan, run, evidence, decision, drift, settings, run_id, after)


def _finish(
    promotion: Any,
    plan: Any,
    run: Any,
    evidence: Any,
    decision: Any,
    drift: Any,
    settings: ProjectSettings,
    run_id: str,
    after: list[str],
) -> None:
    keep_prefix(run, promotion, settings, run_id, after=after)
    purge = purge_descendants(promotion, run_id, after=["keep_prefix"])
    report = write_report(plan, run, evidence, decision, drift, promotion, purge, run_id)
    certificates = certify_erasure(plan, run, evidence, decision, drift, promotion, purge, report, settings, run_id)
    close_requests(certificates, run_id)


def _approved_plan(run_id: str) -> tuple[Any, Any]:
    with open_ledger() as ledger:
        plan, forget_set = planned_artifacts(ledger.get_run(run_id))
    return forget_set, plan


def _version_id(settings: ProjectSettings, version: str) -> str:
    found = model_registry.find(settings.model.registered_as, version)
    assert found is not None
    return str(found.id)


def _before(plan: Any, settings: ProjectSettings) -> str:
    return _version_id(settings, plan.load().model_version.rsplit(" ", 1)[1])
