"""Gradient norms and privacy losses: parquet tables with their settings beside them."""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from zenml.enums import ArtifactType, VisualizationType

from expunge.data import load_records
from expunge.privacy.scores import GradientNorms, PrivacyLosses
from materializers.base import PAGE, ArtifactMaterializer, to_json
from materializers.tables import table_at_hand

DRAWN = 24


class GradientNormsMaterializer(ArtifactMaterializer):
    """norms.parquet: record_id and one float32 column a checkpoint."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (GradientNorms,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def write(self, data: GradientNorms) -> None:
        columns = {str(step): data.norms[:, i] for i, step in enumerate(data.steps)}
        self.write_files(
            {
                "norms.parquet": _parquet(data.record_ids, columns),
                "settings.json": to_json({"steps": list(data.steps), "settings": data.settings}),
            }
        )

    def read(self, data_type: type[Any]) -> GradientNorms:
        described = self.read_json("settings.json")
        table = pq.read_table(io.BytesIO(self.read_file("norms.parquet")))
        norms = np.column_stack([table[str(step)].to_numpy() for step in described["steps"]])
        return GradientNorms(norms, tuple(table["record_id"].to_pylist()), described["steps"], described["settings"])

    def remove_records(self, gone: Collection[str]) -> dict[str, Any]:
        """Take these records' rows out of the stored table, for good; returns its facts."""
        return _without(self, self.read(GradientNorms), gone)

    def extract_metadata(self, data: GradientNorms) -> dict[str, Any]:
        return {"records": len(data), "checkpoints": len(data.steps), "median_norm": float(np.median(data.norms))}

    def save_visualizations(self, data: GradientNorms) -> dict[str, VisualizationType]:
        from expunge.reporting.artifact_pages import norms_page

        return self.show({PAGE: norms_page(data)})


class PrivacyLossesMaterializer(ArtifactMaterializer):
    """losses.parquet: record_id, total and one float64 column a checkpoint (the cumulative curve)."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (PrivacyLosses,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def write(self, data: PrivacyLosses) -> None:
        columns = {"total": data.total} | {str(step): data.cumulative[:, i] for i, step in enumerate(data.steps)}
        described = {
            "steps": list(data.steps),
            "order": data.order,
            "label": data.label,
            "reasons": list(data.reasons),
            "settings": data.settings,
        }
        self.write_files({"losses.parquet": _parquet(data.record_ids, columns), "settings.json": to_json(described)})

    def read(self, data_type: type[Any]) -> PrivacyLosses:
        described = self.read_json("settings.json")
        table = pq.read_table(io.BytesIO(self.read_file("losses.parquet")))
        return PrivacyLosses(
            tuple(table["record_id"].to_pylist()),
            table["total"].to_numpy(),
            np.column_stack([table[str(step)].to_numpy() for step in described["steps"]]),
            described["steps"],
            described["order"],
            described["label"],
            described["reasons"],
            described["settings"],
        )

    def remove_records(self, gone: Collection[str]) -> dict[str, Any]:
        """Take these records' rows out of the stored table and out of its page, for good; returns its facts."""
        return _without(self, self.read(PrivacyLosses), gone)

    def extract_metadata(self, data: PrivacyLosses) -> dict[str, Any]:
        quantiles = np.quantile(data.total, [0.05, 0.5, 0.95])
        names = ("loss_p05", "loss_median", "loss_p95")
        return {
            "records": len(data),
            "order": float(data.order),
            "label": data.label,
            **{name: float(value) for name, value in zip(names, quantiles, strict=True)},
        }

    def save_visualizations(self, data: PrivacyLosses) -> dict[str, VisualizationType]:
        from expunge.reporting.artifact_pages import losses_page

        return self.show({PAGE: losses_page(data, _hardest(data))})


def _without(materializer: Any, data: Any, gone: Collection[str]) -> dict[str, Any]:
    left = data.select([r for r in data.record_ids if r not in gone])
    materializer.replace(left)
    facts: dict[str, Any] = materializer.extract_metadata(left)
    return facts


def _hardest(losses: PrivacyLosses) -> list[Any]:
    """The hardest records, drawn where their data set has pictures; the records are read from their source."""
    from expunge.reporting.artifact_pages import HardRecord

    source = losses.settings.get("data_source")
    table = (table_at_hand(source) or load_records(source["name"], source["options"])) if source else None
    found = []
    for record_id, loss in losses.hardest(DRAWN):
        image, target = None, ""
        if table is not None and record_id in table.position:
            row = table.position[record_id]
            label = int(table.targets[row])
            target = table.class_names[label] if table.class_names else str(label)
            if table.image_shape is not None:
                image = table.features[row].reshape(table.image_shape)
        found.append(HardRecord(record_id, target, loss, image))
    return found


def _parquet(record_ids: tuple[str, ...], columns: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"record_id": list(record_ids), **columns}), buffer)
    return buffer.getvalue()
