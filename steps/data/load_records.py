"""Load the records of the scenario, without any that are quarantined or erased (the replay guard)."""

from typing import Annotated

from zenml import log_metadata, step

from adapters.ledger import open_ledger, write_epoch
from adapters.ledger_age import require_current
from expunge.data import RecordTable
from expunge.data import load_records as load
from expunge.errors import UsageError
from expunge.models import build_model
from expunge.settings import ProjectSettings
from steps.shared import model_spec


@step(enable_cache=False)
def load_records(
    settings: ProjectSettings,
) -> tuple[Annotated[RecordTable, "training_records"], Annotated[RecordTable, "held_out_records"]]:
    table = load(settings.data.name, settings.data.options)
    with open_ledger() as ledger:
        require_current(ledger)  # an older one has forgotten erasures
        guarded = ledger.quarantined_among(table.record_ids)
    table = table.without(guarded)
    training, held_out = table.split(settings.data.held_out, settings.data.split_seed)
    if not len(training) or not len(held_out):
        raise UsageError(
            f"{len(table)} records split into {len(training)} for training and {len(held_out)} held out.",
            "Choose data.held_out so that both sides have records.",
        )
    build_model(model_spec(settings, training))  # refused here, a model that does not fit leaves nothing behind
    log_metadata({"kept_out_by_replay_guard": len(guarded), "erasure_epoch": write_epoch()})
    return training, held_out
