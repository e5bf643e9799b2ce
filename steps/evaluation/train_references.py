"""Retrain the models that judge: verdict oracles, held-back oracles, half-kept models, cross-fitted difficulty."""

from typing import Annotated

from zenml import step

from adapters.progress import progress
from adapters.requests import records_of
from expunge.data import RecordTable
from expunge.evaluation.inputs import EvaluationInputs
from expunge.models.trained import TrainedModel
from expunge.privacy.forget_sets import ForgetSet
from expunge.settings import ProjectSettings
from expunge.training import Trajectory
from expunge.training.randomness import derived_seed
from expunge.unlearning.calibration import PlantedOutputs
from expunge.unlearning.judging import evaluation_inputs
from expunge.unlearning.methods import Procedure
from expunge.unlearning.plan import UnlearningRun
from expunge.unlearning.references import cross_fitted_logits
from expunge.unlearning.references import train_references as train
from steps.shared import union


@step(enable_cache=False)
def train_references(
    trajectory: Trajectory,
    unlearned_model: TrainedModel,
    unlearning_run: UnlearningRun,
    forget_set: ForgetSet,
    training_records: RecordTable,
    held_out_records: RecordTable,
    settings: ProjectSettings,
    planted_outputs: PlantedOutputs | None = None,
    attempt: int = 1,
) -> Annotated[EvaluationInputs, "evaluation_outputs"]:
    procedure, sizes = Procedure.of(trajectory), settings.evaluation
    table = union(training_records, held_out_records)
    # An attempt that follows a failed one is judged by oracles that have not judged before.
    seed = derived_seed(sizes.seed, "judges", attempt)
    references = train(
        procedure, table, training_records.record_ids, forget_set.record_ids,
        {"verdict": sizes.verdict_oracles, "held_back": sizes.held_back, "half_kept": sizes.half_kept},
        seed, progress=progress("oracles that judge"),
    )  # fmt: skip
    difficulty = cross_fitted_logits(
        procedure, table, settings.calibration.folds, settings.calibration.repeats, seed, progress("difficulty")
    )
    looks = unlearning_run.seeds.get("look", [])
    return evaluation_inputs(
        procedure,
        table,
        training_ids=training_records.record_ids,
        forget_ids=forget_set.record_ids,
        requests=records_of(forget_set.request_ids, forget_set.record_ids),
        original=trajectory.state(trajectory.final).model_state(),
        unlearned=unlearned_model.state,
        references=references,
        look_ids=[f"seed {s}" for s in (looks if isinstance(looks, list) else [looks])],
        cross_fitted=difficulty,
        planted=planted_outputs,
    )
