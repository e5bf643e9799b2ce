"""The forget set of a plan or a trial: by difficulty, at random, or the records that requests or pseudonyms name."""

from typing import Annotated

from zenml import step

from adapters.ledger import pseudonymizer
from adapters.requests import records_of
from expunge.errors import NotFoundError
from expunge.privacy.forget_sets import ForgetSet, build_forget_set
from expunge.privacy.scores import PrivacyLosses
from steps.unlearning.set_spec import parse_set


@step(enable_cache=False)
def choose_records(set_spec: str, seed: int, privacy_losses: PrivacyLosses) -> Annotated[ForgetSet, "forget_set"]:
    kind, _, value = set_spec.partition(":")
    named = [part for part in value.split(",") if part]
    if kind == "requests":
        records = records_of(named, privacy_losses.record_ids)
        ids = sorted({record_id for found in records.values() for record_id in found})
        return build_forget_set("records", privacy_losses, record_ids=ids, request_ids=named)
    if kind == "pseudonyms":
        names = pseudonymizer()
        by_name = {names.record(record_id): record_id for record_id in privacy_losses.record_ids}
        unknown = [name for name in named if name not in by_name]
        if unknown:
            raise NotFoundError(f"{len(unknown)} of these records were not trained on.", "See `expunge score`.")
        return build_forget_set("records", privacy_losses, record_ids=[by_name[name] for name in named])
    return parse_set(set_spec, privacy_losses, seed)
