"""Promote the unlearned model, if the gate passed; a refused one is destroyed at once."""

from typing import Annotated, Any

from zenml import step
from zenml.artifacts.unmaterialized_artifact import UnmaterializedArtifact
from zenml.client import Client

from adapters import artifacts, model_registry
from adapters.ledger import open_ledger
from adapters.purging import destroy_trajectory
from adapters.requests import move_all
from expunge.errors import GateFailed
from expunge.evaluation.evidence import Evidence, GateDecision
from expunge.facts import Facts
from expunge.settings import ProjectSettings
from expunge.unlearning.plan import UnlearningRun


def promotion_facts(model_version: Any) -> Facts:
    """What later steps need to know of the promoted version."""
    label = model_registry.label(model_version)
    return Facts("Promotion", {"version": label, "id": str(model_version.id), "stage": model_version.stage or "none"})


def _evidence_facts(evidence: Evidence) -> dict[str, Any]:
    """Verdict and p-value of each check: what a reader of the model version sees without opening the evidence."""
    return {
        "evidence_level": evidence.level,
        "verdicts": {check.name: check.verdict for check in evidence.checks},
        "p_values": {check.name: check.p_value for check in evidence.checks if check.p_value is not None},
        "power": {
            check.name: check.power.not_pass_given_half
            for check in evidence.checks
            if check.power.not_pass_given_half is not None
        },
    }


@step(enable_cache=False)
def promote_model(
    gate_decision: GateDecision,
    unlearning_run: UnlearningRun,
    evidence: Evidence,
    trajectory: UnmaterializedArtifact,
    model: UnmaterializedArtifact,
    training_records: UnmaterializedArtifact,
    held_out_records: UnmaterializedArtifact,
    plan_artifact: UnmaterializedArtifact,
    run_artifact: UnmaterializedArtifact,
    evidence_artifact: UnmaterializedArtifact,
    gate_artifact: UnmaterializedArtifact,
    drift_artifact: UnmaterializedArtifact,
    settings: ProjectSettings,
    run_id: str,
) -> Annotated[Facts, "promotion"]:
    documents = (plan_artifact, run_artifact, evidence_artifact, gate_artifact, drift_artifact)
    parts = (trajectory, model, training_records, held_out_records)
    with open_ledger() as ledger:
        requests = list(ledger.get_run(run_id).details["requests"])
    if not gate_decision.passed:
        destroy_trajectory(Client().get_artifact_version(trajectory.id), run_id)
        for part in parts[1:]:
            artifacts.destroy(Client().get_artifact_version(part.id), run_id)
        raise GateFailed(f"The gate {gate_decision.words}.", "Nothing was promoted; the requests stay open.")
    made = model_registry.register(
        settings.model.registered_as,
        run_id,
        [part.id for part in (*parts, *documents)],
        {
            "settings": settings.digest(),
            "method": unlearning_run.method,
            "guarantee": gate_decision.guarantee,
            "gate": gate_decision.words,
            "requests": requests,
            "cost": dict(unlearning_run.cost),
            "steps": unlearning_run.steps_spent,
            **_evidence_facts(evidence),
        },
        stage=model_registry.PRODUCTION,
    )
    with open_ledger() as ledger:
        ledger.update_run(run_id, status="promoted", model_version_after=model_registry.label(made))
        move_all(ledger, run_id, "promoted")
    return promotion_facts(made)
