"""Promote the unlearned model, if the gate passed; a refused one is destroyed at once."""

from typing import Annotated

from zenml import step
from zenml.artifacts.unmaterialized_artifact import UnmaterializedArtifact
from zenml.client import Client

from adapters import artifacts, model_registry
from adapters.ledger import open_ledger
from adapters.requests import move_all
from expunge.errors import GateFailed
from expunge.evaluation.evidence import GateDecision
from expunge.facts import Facts
from expunge.settings import ProjectSettings
from expunge.unlearning.plan import UnlearningRun


@step(enable_cache=False)
def promote_model(
    gate_decision: GateDecision,
    unlearning_run: UnlearningRun,
    trajectory: UnmaterializedArtifact,
    model: UnmaterializedArtifact,
    training_records: UnmaterializedArtifact,
    held_out_records: UnmaterializedArtifact,
    settings: ProjectSettings,
    run_id: str,
) -> Annotated[Facts, "promotion"]:
    parts = (trajectory, model, training_records, held_out_records)
    if not gate_decision.passed:
        from adapters.purging import destroy_trajectory

        for part in parts:
            version = Client().get_artifact_version(part.id)
            if part is trajectory:
                destroy_trajectory(version, run_id)
            else:
                artifacts.destroy(version, run_id)
        raise GateFailed(f"The gate {gate_decision.words}.", "Nothing was promoted; the requests stay open.")
    made = model_registry.register(
        settings.model.registered_as,
        run_id,
        [part.id for part in parts],
        {
            "settings": settings.digest(),
            "method": unlearning_run.method,
            "guarantee": gate_decision.guarantee,
            "gate": gate_decision.words,
        },
        stage=model_registry.PRODUCTION,
    )
    with open_ledger() as ledger:
        ledger.update_run(run_id, status="promoted", model_version_after=model_registry.label(made))
        move_all(ledger, run_id, "promoted")
    return Facts("Promotion", {"version": model_registry.label(made), "id": str(made.id), "stage": made.stage})
