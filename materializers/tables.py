"""Record tables: only ids and a fingerprint are stored; the records stay in their source and are read from there."""

from __future__ import annotations

import weakref
from collections.abc import Collection
from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType

from expunge.data import RecordTable, load_records
from expunge.errors import IntegrityError
from materializers.base import PAGE, ArtifactMaterializer, to_json


class RecordTableMaterializer(ArtifactMaterializer):
    """ids, source and fingerprint as JSON; loading reads the source again and compares the fingerprint."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (RecordTable,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def write(self, data: RecordTable) -> None:
        self.write_files(
            {
                "records.json": to_json(
                    {"source": data.source, "record_ids": data.record_ids, "fingerprint": data.fingerprint}
                )
            }
        )

    def read(self, data_type: type[Any]) -> RecordTable:
        raw = self.read_json("records.json")
        whole = load_records(raw["source"]["name"], raw["source"]["options"])
        gone = [r for r in raw["record_ids"] if r not in whole.position]
        if gone:
            raise IntegrityError(
                f"{len(gone)} record(s) of this data version are no longer in data set {whole.name!r}.",
                "A record must stay in its source until its deletion run is done; put it back or train again.",
            )
        table = whole.select(raw["record_ids"])
        if table.fingerprint != raw["fingerprint"]:
            raise IntegrityError(
                f"Data set {whole.name!r} has changed since this version of it was recorded.",
                "Train again on the changed data, or restore them.",
            )
        remember_table(table)
        return table

    def load_source(self) -> dict[str, Any]:
        """How the records are loaded: loader and options, without loading them."""
        return dict(self.read_json("records.json")["source"])

    def remove_records(self, gone: Collection[str]) -> dict[str, Any]:
        """Take these records out of the stored table, for good; returns its facts. They may be gone from the source
        already, the others may not.
        """
        raw = self.read_json("records.json")
        whole = load_records(raw["source"]["name"], raw["source"]["options"])
        table = whole.select([r for r in raw["record_ids"] if r not in gone])
        self.replace(table)
        return record_facts(table)

    def extract_metadata(self, data: RecordTable) -> dict[str, Any]:
        return record_facts(data)

    def save_visualizations(self, data: RecordTable) -> dict[str, VisualizationType]:
        from expunge.reporting.artifact_pages import record_table_page

        return self.show({PAGE: record_table_page(record_facts(data))})

    def compute_content_hash(self, data: RecordTable) -> str:
        return data.fingerprint


_at_hand: weakref.ref[RecordTable] | None = None


def remember_table(table: RecordTable) -> None:
    """Somebody holds this table: whoever wants to look at a few of its records need not load it again."""
    global _at_hand
    _at_hand = weakref.ref(table)


def table_at_hand(source: dict[str, Any]) -> RecordTable | None:
    """The table that was loaded last from this source, or a part of it, if somebody still holds it."""
    table = _at_hand() if _at_hand is not None else None
    return table if table is not None and table.source == source else None


def record_facts(table: RecordTable) -> dict[str, Any]:
    """Counts and the fingerprint: what may be said of a table for ever."""
    return {
        "data_set": table.name,
        "records": len(table),
        "subjects": len(set(table.subject_ids)),
        "classes": table.classes,
        "record_shape": list(table.features.shape[1:]),
        "fingerprint": table.fingerprint,
    }
