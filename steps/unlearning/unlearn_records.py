"""Carry out the plan on the retain set; stop on evidence or at the budget."""

import time
from typing import Annotated

from zenml import step

from adapters.checkpoint_store import CheckpointStore
from adapters.facts import code_revision
from adapters.ledger import open_ledger
from adapters.prefixes import lent_to
from adapters.progress import announce
from adapters.requests import move_all, records_of
from adapters.workdir import claim
from expunge.data import RecordTable
from expunge.errors import NeedsApproval
from expunge.models.trained import TrainedModel
from expunge.privacy.forget_sets import ForgetSet
from expunge.settings import ProjectSettings
from expunge.training import Trajectory
from expunge.unlearning.costs import run_costs
from expunge.unlearning.forgetting import forget
from expunge.unlearning.plan import UnlearningPlan, UnlearningRun, retrained_instead
from expunge.unlearning.predictor import BudgetPredictor
from expunge.unlearning.rewind_prefix import RewindPrefix
from steps.evaluation.settings import judge_counts
from steps.shared import trained_model


@step(enable_cache=False)
def unlearn_records(
    unlearning_plan: UnlearningPlan,
    forget_set: ForgetSet,
    trajectory: Trajectory,
    training_records: RecordTable,
    held_out_records: RecordTable,
    settings: ProjectSettings,
    budget_predictor: BudgetPredictor | None = None,
    run_id: str = "",
    earlier_cost: float = 0.0,
    rewind_prefix: RewindPrefix | None = None,
) -> tuple[
    Annotated[Trajectory, "trajectory"],
    Annotated[TrainedModel, "model"],
    Annotated[UnlearningRun, "unlearning_run"],
    Annotated[RecordTable, "training_records"],
    Annotated[RecordTable, "held_out_records"],
]:
    CheckpointStore(storage=settings.storage).check_writable()
    with open_ledger() as ledger:
        held_out = held_out_records.without(ledger.quarantined_among(held_out_records.record_ids))
        also_gone = ledger.quarantined_among(training_records.record_ids) - set(forget_set.record_ids)
        if also_gone and run_id and ledger.get_run(run_id).details.get("approval"):
            raise NeedsApproval(
                f"Other requests were quarantined since the plan of {run_id} was approved; it does not hold any more.",
                "Run `expunge run-due` again: it makes a new plan and asks.",
            )
        if run_id:
            move_all(ledger, run_id, "unlearning")
    # Records of requests that came after this run was planned must not be trained on either: their turn comes next.
    # They leave the manifest with this run, so only a model that never saw them may be its result.
    retain = training_records.without([*forget_set.record_ids, *also_gone])
    if also_gone:
        unlearning_plan = retrained_instead(unlearning_plan, len(also_gone))
    started = time.monotonic()
    run, made = forget(
        unlearning_plan,
        lent_to(trajectory, rewind_prefix),
        training_records,
        retain,
        forget_set.record_ids,
        claim(f"unlearn-{run_id or trajectory.digest[:12]}"),
        look_oracles=settings.evaluation.look_oracles,
        level=settings.evaluation.level,
        seed=settings.deletion.seed,
        facts={"code_revision": code_revision(), "parent": trajectory.digest},
        requests=records_of(forget_set.request_ids, forget_set.record_ids),
        report=announce,
        device=settings.device,
    )
    costs = run_costs(
        run.cost["unlearning"],
        look_oracles=len(run.looks) and settings.evaluation.look_oracles,
        judges=sum(judge_counts(settings).values()),
        cross_fitted=settings.calibration.folds * settings.calibration.repeats,
        scored_checkpoints=len(trajectory.checkpoints),
        records=len(trajectory.record_ids),
        examples_per_retraining=settings.training.steps * settings.training.batch_size,
        calibration=budget_predictor.cost if budget_predictor else 0.0,
        earlier_attempts=earlier_cost,
    )
    run = run.model_copy(update={"seconds": time.monotonic() - started, "cost": costs})
    model = trained_model(made)
    return made, model, run, retain, held_out
