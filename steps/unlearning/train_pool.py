"""The reference pool: models that each leave out a random block of the subjects. Trained once for a model version."""

from typing import Annotated

from zenml import step

from adapters.progress import progress
from expunge.data import RecordTable
from expunge.settings import ProjectSettings
from expunge.training import Trajectory
from expunge.unlearning.methods import Procedure
from expunge.unlearning.reference_pool import ReferencePool
from expunge.unlearning.reference_pool import train_pool as train
from steps.shared import union


@step(enable_cache=False)
def train_pool(
    trajectory: Trajectory, training_records: RecordTable, held_out_records: RecordTable, settings: ProjectSettings
) -> Annotated[ReferencePool, "reference_pool"]:
    return train(
        Procedure.of(trajectory, settings.device),
        union(training_records, held_out_records),
        training_records.record_ids,
        models=settings.evaluation.pool_models,
        share_left_out=settings.evaluation.pool_left_out,
        seed=settings.calibration.seed,
        progress=progress("reference pool"),
    )
