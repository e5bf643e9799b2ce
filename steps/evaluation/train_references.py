"""What the unlearned model is judged with, by the level of evidence.

oracle: verdict oracles, held-back oracles and half-kept models, retrained now. pool: the half-kept models alone, which
show what it can see. oracle-free: none. The reference pool goes with the outputs at every level, where there is one.
The difficulty is always cross-fitted.
"""

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
from expunge.unlearning.barriers import measure_barriers
from expunge.unlearning.calibration import PlantedOutputs
from expunge.unlearning.judging import evaluation_inputs
from expunge.unlearning.methods import Procedure
from expunge.unlearning.plan import UnlearningRun
from expunge.unlearning.reference_pool import ReferencePool
from expunge.unlearning.references import cross_fitted_logits
from expunge.unlearning.references import train_references as train
from steps.evaluation.settings import judge_counts, weights_for_barriers
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
    reference_pool: ReferencePool | None = None,
    attempt: int = 1,
) -> Annotated[EvaluationInputs, "evaluation_outputs"]:
    procedure, sizes = Procedure.of(trajectory, settings.device), settings.evaluation
    table = union(training_records, held_out_records)
    # An attempt that follows a failed one is judged by oracles that have not judged before.
    seed = derived_seed(sizes.seed, "judges", attempt)
    references = train(
        procedure, table, training_records.record_ids, forget_set.record_ids, judge_counts(settings),
        seed, progress=progress("oracles that judge"), keep=weights_for_barriers(settings),
    )  # fmt: skip
    original = trajectory.state(trajectory.final).model_state()
    barriers = None
    if oracles := references.states["verdict"]:
        barriers = measure_barriers(
            procedure, original, unlearned_model.state, oracles,
            training_records.without(forget_set.record_ids), table.select(forget_set.record_ids),
            sizes.barrier_pairs, seed,
            half_kept=references.states["half_kept"], progress=progress("loss barriers"),
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
        original=original,
        unlearned=unlearned_model.state,
        references=references,
        look_ids=[f"seed {s}" for s in (looks if isinstance(looks, list) else [looks])],
        cross_fitted=difficulty,
        planted=planted_outputs,
        pool=reference_pool,
        barriers=barriers,
    )
