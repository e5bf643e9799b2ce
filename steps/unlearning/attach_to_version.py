"""Say to which model version an artifact of its calibration belongs."""

from zenml import step
from zenml.artifacts.unmaterialized_artifact import UnmaterializedArtifact
from zenml.client import Client

from adapters import model_registry


@step(enable_cache=False)
def attach_to_version(artifact: UnmaterializedArtifact, model_version: str) -> None:
    found = Client().get_model_version(model_version_name_or_number_or_id=model_version)
    model_registry.link(found, [artifact.id])
