"""Register the trained model; it serves when it saw no erased record and beats the commonest class."""

from typing import Annotated

from zenml import step
from zenml.artifacts.unmaterialized_artifact import UnmaterializedArtifact

from adapters import model_registry
from expunge.facts import Facts
from expunge.settings import ProjectSettings


@step(enable_cache=False)
def register_model(
    training_records: UnmaterializedArtifact,
    held_out_records: UnmaterializedArtifact,
    trajectory: UnmaterializedArtifact,
    model: UnmaterializedArtifact,
    utility: Facts,
    settings: ProjectSettings,
) -> Annotated[Facts, "registered_model"]:
    useful = utility.values["held_out_accuracy"] > utility.values["commonest_class"]
    made = model_registry.register(
        settings.model.registered_as,
        None,
        [part.id for part in (training_records, held_out_records, trajectory, model)],
        {"settings": settings.digest(), "method": "train", **utility.values},
        stage=model_registry.PRODUCTION if useful else None,
    )
    return Facts("Registered model", {"version": model_registry.label(made), "stage": made.stage or "none"})
