"""Record tables: only ids and a fingerprint are stored; the records stay in their source and are read from there."""

from __future__ import annotations

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
        return table

    def extract_metadata(self, data: RecordTable) -> dict[str, Any]:
        return record_facts(data)

    def save_visualizations(self, data: RecordTable) -> dict[str, VisualizationType]:
        from expunge.reporting.artifact_pages import record_table_page

        return self.show({PAGE: record_table_page(record_facts(data))})

    def compute_content_hash(self, data: RecordTable) -> str:
        return data.fingerprint


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
