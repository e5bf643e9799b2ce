"""Say to which model version a reference pool belongs."""

from zenml import step
from zenml.artifacts.unmaterialized_artifact import UnmaterializedArtifact
from zenml.client import Client

from adapters import model_registry


@step(enable_cache=False)
def attach_pool(reference_pool: UnmaterializedArtifact, model_version: str) -> None:
    found = Client().get_model_version(model_version_name_or_number_or_id=model_version)
    model_registry.link(found, [reference_pool.id])
