"""Which requests does this run answer? Opaque ids only: pipeline artifacts persist for ever."""

from typing import Annotated

from zenml import step

from adapters.requests import requests_of
from expunge.facts import Facts


@step(enable_cache=False)
def collect_due(run_id: str) -> Annotated[Facts, "due_requests"]:
    return Facts("Requests of this run", {"run": run_id, "requests": list(requests_of(run_id))})
