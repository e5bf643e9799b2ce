"""Let the run wait for a person: its plan, and the records it is for, are kept for when the answer comes."""

from zenml import get_step_context, step
from zenml.artifacts.unmaterialized_artifact import UnmaterializedArtifact

from adapters.ledger import open_ledger
from adapters.requests import require_all


@step(enable_cache=False)
def ask_approval(unlearning_plan: UnmaterializedArtifact, forget_set: UnmaterializedArtifact, run_id: str) -> None:
    planned = {"unlearning_plan": str(unlearning_plan.id), "forget_set": str(forget_set.id)}
    with open_ledger() as ledger:
        require_all(ledger, run_id)
        ledger.ask_approval(run_id, planned=planned, pipeline_run=str(get_step_context().pipeline_run.id))
