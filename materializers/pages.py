"""Finished pages: static HTML for the dashboard, their numbers, and other pages as attachments."""

from __future__ import annotations

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType

from expunge.facts import Report
from materializers.base import PAGE, ArtifactMaterializer, to_json


class ReportMaterializer(ArtifactMaterializer):
    """report.html, numbers.json and the attachments."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Report,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA_ANALYSIS

    def write(self, data: Report) -> None:
        described = {"title": data.title, "numbers": dict(data.numbers), "attachments": sorted(data.attachments)}
        pages = {name: html.encode() for name, html in data.attachments.items()}
        self.write_files({"report.html": data.html.encode(), "report.json": to_json(described), **pages})

    def read(self, data_type: type[Any]) -> Report:
        described = self.read_json("report.json")
        attached = {name: self.read_file(name).decode() for name in described["attachments"]}
        return Report(described["title"], self.read_file("report.html").decode(), described["numbers"], attached)

    def extract_metadata(self, data: Report) -> dict[str, Any]:
        return {"title": data.title, "pages": 1 + len(data.attachments)}

    def save_visualizations(self, data: Report) -> dict[str, VisualizationType]:
        return self.show({PAGE: data.html, **{f"full_{name}": html for name, html in data.attachments.items()}})
