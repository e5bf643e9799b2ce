"""What becomes of each kind of artifact in a purge, and how are the record ids read that one holds?"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

from adapters.prefixes import KIND as PREFIX

METHOD = "deleted from the artifact store, the DVC cache and its remote (Clear, NIST SP 800-88 Rev. 2)"
ROWS_METHOD = "rows of the records taken out of a table that stays (Clear, NIST SP 800-88 Rev. 2)"
LOGS_METHOD = "log files deleted from the artifact store (Clear, NIST SP 800-88 Rev. 2)"

_NUMBERS = "numbers about models and record sets; holds no record, no id and no weights"
KEPT = {
    "budget_predictor": _NUMBERS,
    "audit_evidence": f"{_NUMBERS} (records under keyed pseudonyms)",
    "certificates": "paths of certificates by opaque request id",
    "due_requests": "opaque request ids only",
    "drift_report": _NUMBERS,
    "erasure_report": _NUMBERS,
    "evidence": f"{_NUMBERS} (records under keyed pseudonyms)",
    "gate_decision": _NUMBERS,
    "lineage": "hashes, dates and opaque ids (records and people under keyed pseudonyms)",
    "nothing": "stands in for what a run did without",
    "promotion": "name and stage of a model version",
    "purge": "hashes, counts and reasons of earlier purges",
    "reproduction_results": f"{_NUMBERS} (of data sets that are not the project's)",
    "registered_model": "name and stage of a model version",
    "scored_shard": _NUMBERS,
    "scoring_report": _NUMBERS,
    "shadow_evidence": f"{_NUMBERS} (records under keyed pseudonyms)",
    "scoring_shards": "step numbers only",
    "unlearning_plan": _NUMBERS,
    "unlearning_run": f"{_NUMBERS} (requests under their opaque ids)",
    "utility": _NUMBERS,
}


def _parquet_ids(name: str) -> Callable[[Any], list[str]]:
    def ids(reader: Any) -> list[str]:
        import pyarrow.parquet as pq

        table = pq.read_table(io.BytesIO(reader.read_file(name)), columns=["record_id"])
        return list(table["record_id"].to_pylist())

    return ids


def _json_ids(name: str, key: str | None) -> Callable[[Any], list[str]]:
    def ids(reader: Any) -> list[str]:
        raw = json.loads(reader.read_file(name))
        return list(raw if key is None else raw[key])

    return ids


# Kinds whose bytes lie in DVC.
WITH_CHECKPOINTS = ("trajectory", PREFIX)

# Tables of records that mean the same without some of them; anything else that holds the records goes as a whole.
ROWS_GO = frozenset({"held_out_records", "gradient_norms", "privacy_losses"})

READERS: dict[str, Callable[[Any], list[str]]] = {
    "training_records": _json_ids("records.json", "record_ids"),
    "held_out_records": _json_ids("records.json", "record_ids"),
    "gradient_norms": _parquet_ids("norms.parquet"),
    "privacy_losses": _parquet_ids("losses.parquet"),
    "planted_outputs": _json_ids("planted.json", None),
    "reference_pool": _json_ids("pool.json", "record_ids"),
    "forget_set": _json_ids("forget_set.json", "record_ids"),
    "evaluation_outputs": _json_ids("names.json", "record_ids"),
}
