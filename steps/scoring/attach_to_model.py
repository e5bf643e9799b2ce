"""Say to which model version two new artifacts belong."""

from zenml import step
from zenml.artifacts.unmaterialized_artifact import UnmaterializedArtifact
from zenml.client import Client

from adapters import model_registry
from expunge.facts import Facts


@step(enable_cache=False)
def attach_to_model(
    first: UnmaterializedArtifact,
    second: UnmaterializedArtifact,
    model_version: str = "",
    promotion: Facts | None = None,
) -> None:
    wanted = promotion.values["id"] if promotion else model_version
    found = Client().get_model_version(model_version_name_or_number_or_id=wanted)
    model_registry.link(found, [first.id, second.id])
