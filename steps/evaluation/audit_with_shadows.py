"""Shadow models of the whole procedure: trained, then unlearned as the newest run was, then attacked. METHOD claim."""

from dataclasses import replace
from typing import Annotated

from zenml import step

from adapters.progress import progress
from expunge.data import RecordTable
from expunge.evaluation import run_checks
from expunge.evaluation.evidence import Evidence
from expunge.evaluation.inputs import EvaluationInputs
from expunge.privacy.forget_sets import ForgetSet
from expunge.settings import ProjectSettings
from expunge.training import Trajectory
from expunge.training.randomness import derived_seed
from expunge.unlearning.methods import Procedure
from expunge.unlearning.plan import UnlearningRun
from expunge.unlearning.shadow_models import audited_records, train_shadows
from steps.evaluation.settings import evaluation_settings

CHECKS = ("u_lira", "klom", "forgetting_quality")


@step(enable_cache=False)
def audit_with_shadows(
    evaluation_outputs: EvaluationInputs,
    trajectory: Trajectory,
    forget_set: ForgetSet,
    training_records: RecordTable,
    unlearning_run: UnlearningRun,
    settings: ProjectSettings,
    models: int,
) -> Annotated[Evidence, "shadow_evidence"]:
    seed = derived_seed(settings.evaluation.seed, "shadows")
    forget, retain = audited_records(training_records.record_ids, forget_set.record_ids, seed)
    method, amount = unlearning_run.method, unlearning_run.amount
    shadows = train_shadows(
        Procedure.of(trajectory, settings.device),
        training_records,
        training_records.record_ids,
        forget,
        retain,
        method,
        amount,
        models=models,
        strength=unlearning_run.strength,
        seed=seed,
        with_before=True,
        progress=progress("shadow models"),
    )
    evidence = run_checks(
        replace(evaluation_outputs, shadows=shadows),
        CHECKS,
        (),
        evaluation_settings(settings),
        level=evaluation_outputs.level,
        claim="METHOD",
    )
    does = f"{method} {amount}" if amount else method
    if unlearning_run.strength is not None:
        does += f" at strength {unlearning_run.strength:g}"
    words = (
        f"{models} shadow models, trained and then unlearned by {does} with {len(forget)} records to forget and"
        f" {len(retain)} to keep: " + "; ".join(f"{check.name} {check.verdict}" for check in evidence.checks)
    )
    # A claim about the method speaks of no request.
    return evidence.model_copy(update={"requests": [], "words": words})
