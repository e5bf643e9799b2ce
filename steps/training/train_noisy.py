"""Train with noise and keep the trajectory of checkpoints."""

from typing import Annotated

from zenml import step

from adapters.checkpoint_store import CheckpointStore
from adapters.facts import code_revision
from adapters.progress import progress
from adapters.workdir import claim
from expunge.data import RecordTable
from expunge.models.trained import TrainedModel
from expunge.settings import ProjectSettings
from expunge.training import Trajectory, train
from steps.shared import model_spec, trained_model


@step(enable_cache=False)
def train_noisy(
    training_records: RecordTable, settings: ProjectSettings
) -> tuple[Annotated[Trajectory, "trajectory"], Annotated[TrainedModel, "model"]]:
    spec = model_spec(settings, training_records)
    CheckpointStore(storage=settings.storage).check_writable()
    trajectory = train(
        spec,
        training_records,
        settings.training,
        claim(f"train-{settings.digest()[:12]}-{training_records.fingerprint[:12]}"),
        facts={"code_revision": code_revision(), "method": "train"},
        device=settings.device,
        progress=progress("training"),
    )
    return trajectory, trained_model(trajectory)
