"""Results of a scenario: one JSON document, and a page with its plots."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel
from zenml.enums import VisualizationType

from expunge.reproduction.results import Results
from materializers.base import PAGE
from materializers.documents import DocumentMaterializer


class ResultsMaterializer(DocumentMaterializer):
    """Results as document.json."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Results,)

    def extract_metadata(self, data: BaseModel) -> dict[str, Any]:
        assert isinstance(data, Results)
        verdicts = [conclusion.verdict for conclusion in data.conclusions]
        return {
            "scenario": data.scenario, "quick": data.quick, "partial": data.config.get("partial", False),
            "originals": data.originals, "seed": data.seed, "code": data.provenance.code,
            **{verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
        }  # fmt: skip

    def save_visualizations(self, data: BaseModel) -> dict[str, VisualizationType]:
        from expunge.reporting.results_page import results_page

        assert isinstance(data, Results)
        return self.show({PAGE: results_page(data)})
