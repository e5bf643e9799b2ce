"""The model that an interrupted run had promoted already."""

from typing import Annotated

from zenml import step

from adapters import model_registry
from expunge.errors import NotFoundError
from expunge.facts import Facts
from expunge.settings import ProjectSettings
from steps.compliance.promote_model import promotion_facts


@step(enable_cache=False)
def recall_promotion(settings: ProjectSettings, run_id: str) -> Annotated[Facts, "promotion"]:
    found = model_registry.find(settings.model.registered_as, run_id)
    if found is None:
        raise NotFoundError(f"Run {run_id} promoted no model.", "See `expunge status`.")
    return promotion_facts(found)
