"""True oracles, trained afterwards with seeds of their own, judge outputs that were judged without any."""

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
from expunge.unlearning.judging import judged_by
from expunge.unlearning.methods import Procedure
from expunge.unlearning.references import train_references
from steps.evaluation.pseudonymous import pseudonymous
from steps.evaluation.settings import checks_at, evaluation_settings, judge_counts
from steps.shared import union


@step(enable_cache=False)
def audit_evidence(
    evaluation_outputs: EvaluationInputs,
    trajectory: Trajectory,
    forget_set: ForgetSet,
    training_records: RecordTable,
    held_out_records: RecordTable,
    settings: ProjectSettings,
) -> Annotated[Evidence, "audit_evidence"]:
    table = union(training_records, held_out_records)
    references = train_references(
        Procedure.of(trajectory, settings.device),
        table,
        training_records.record_ids,
        forget_set.record_ids,
        judge_counts(settings, "oracle"),
        derived_seed(settings.evaluation.seed, "audit judges"),
        progress=progress("true oracles"),
    )
    outputs = judged_by(evaluation_outputs, references, table.record_ids)
    evidence = run_checks(
        outputs,
        checks_at(settings, outputs, "oracle"),
        settings=evaluation_settings(settings),
        level="oracle",
    )
    return pseudonymous(evidence)
