"""Plan one run for all requests together: method, budget, cost against retraining, reason."""

from dataclasses import replace
from typing import Annotated

from zenml import step

from adapters.ledger import open_ledger
from adapters.prefixes import lent_to
from adapters.requests import move_all, records_of
from expunge.data import RecordTable
from expunge.privacy.forget_sets import ForgetSet
from expunge.privacy.scores import PrivacyLosses
from expunge.privacy.trajectory_set_loss import trajectory_set_loss
from expunge.settings import ProjectSettings
from expunge.training import Trajectory
from expunge.unlearning.plan import UnlearningPlan
from expunge.unlearning.plan_warnings import models_still_trained
from expunge.unlearning.planner import PlanningSettings, make_plan
from expunge.unlearning.predictor import BudgetPredictor
from expunge.unlearning.rewind_prefix import RewindPrefix


@step(enable_cache=False)
def plan_unlearning(
    forget_set: ForgetSet,
    privacy_losses: PrivacyLosses,
    trajectory: Trajectory,
    model_label: str,
    settings: ProjectSettings,
    training_records: RecordTable,
    budget_predictor: BudgetPredictor | None = None,
    run_id: str = "",
    retrain_because: str = "",
    rewind_prefix: RewindPrefix | None = None,
) -> Annotated[UnlearningPlan, "unlearning_plan"]:
    whole = trajectory_set_loss(trajectory, training_records, privacy_losses, forget_set.record_ids, settings.device)
    plan = make_plan(
        replace(forget_set, set_loss=whole.value if whole else None),
        records_of(forget_set.request_ids, forget_set.record_ids),
        privacy_losses,
        lent_to(trajectory, rewind_prefix),
        budget_predictor,
        PlanningSettings(**settings.planning.model_dump()),
        model_version=model_label,
        retrain_because=retrain_because or None,
    )
    sizes = settings.evaluation
    note = models_still_trained(sizes.evidence_level, sizes.look_oracles, sizes.half_kept)
    if note and plan.method != "retrain":
        plan = plan.model_copy(update={"warnings": (*plan.warnings, note)})
    if run_id:
        with open_ledger() as ledger:
            ledger.update_run(run_id, method=plan.method, plan=plan.model_dump(mode="json"), status="planned")
            move_all(ledger, run_id, "planned")
    return plan
