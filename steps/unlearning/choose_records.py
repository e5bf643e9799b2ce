"""The forget set of a trial: a share of the hardest or easiest records, a bin, a random set, or named records."""

from typing import Annotated

from zenml import step

from expunge.privacy.forget_sets import ForgetSet
from expunge.privacy.scores import PrivacyLosses
from steps.unlearning.set_spec import parse_set


@step(enable_cache=False)
def choose_records(set_spec: str, seed: int, privacy_losses: PrivacyLosses) -> Annotated[ForgetSet, "forget_set"]:
    return parse_set(set_spec, privacy_losses, seed)
