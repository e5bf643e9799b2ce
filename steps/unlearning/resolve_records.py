"""The forget set of a run: the records of its requests that the model was trained on."""

from typing import Annotated

from zenml import step

from adapters.requests import records_of
from expunge.facts import Facts
from expunge.privacy.forget_sets import ForgetSet, build_forget_set
from expunge.privacy.scores import PrivacyLosses


@step(enable_cache=False)
def resolve_records(due_requests: Facts, privacy_losses: PrivacyLosses) -> Annotated[ForgetSet, "forget_set"]:
    requests = due_requests.values["requests"]
    records = records_of(requests, privacy_losses.record_ids)
    together = sorted({record_id for ids in records.values() for record_id in ids})
    return build_forget_set("records", privacy_losses, record_ids=together, request_ids=requests)
