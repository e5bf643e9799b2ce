"""May the unlearned model be promoted? Every finding at once."""

from typing import Annotated

from zenml import step

from adapters.ledger import open_ledger
from adapters.requests import move_all
from expunge.data import RecordTable
from expunge.evaluation import decide
from expunge.evaluation.evidence import Evidence, GateDecision
from expunge.privacy.forget_sets import ForgetSet
from expunge.settings import ProjectSettings
from expunge.unlearning.plan import UnlearningRun
from steps.evaluation.settings import evaluation_settings


@step(enable_cache=False)
def decide_gate(
    evidence: Evidence,
    unlearning_run: UnlearningRun,
    forget_set: ForgetSet,
    training_records: RecordTable,
    settings: ProjectSettings,
    run_id: str = "",
) -> Annotated[GateDecision, "gate_decision"]:
    with open_ledger() as ledger:
        forbidden = ledger.quarantined_among(training_records.record_ids) | set(forget_set.record_ids)
        decision = decide(
            evidence,
            guarantee=unlearning_run.guarantee,
            retrained=unlearning_run.method == "retrain",
            erased_ids_in_training=len(forbidden & set(training_records.record_ids)),
            settings=evaluation_settings(settings),
        )
        if run_id:
            move_all(ledger, run_id, "verified" if decision.passed else "failed")
            ledger.update_run(
                run_id,
                status="verified" if decision.passed else "failed",
                stop_reason=unlearning_run.stop_reason,
                details={"gate": decision.words, "spent": unlearning_run.cost},
            )
    return decision
