"""JSON documents: plans, runs, evidence, decisions, predictors, forget sets, facts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import BaseModel
from zenml.enums import ArtifactType, VisualizationType

from expunge.evaluation.evidence import Evidence, GateDecision, Record
from expunge.facts import Facts
from expunge.privacy.forget_sets import ForgetSet
from expunge.unlearning.plan import Document, UnlearningPlan, UnlearningRun
from expunge.unlearning.predictor import BudgetPredictor
from materializers.base import PAGE, ArtifactMaterializer, to_json


class DocumentMaterializer(ArtifactMaterializer):
    """Any of our pydantic documents as document.json."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Document, Record)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def write(self, data: BaseModel) -> None:
        self.write_files({"document.json": to_json(data.model_dump(mode="json"))})

    def read(self, data_type: type[Any]) -> Any:
        return data_type.model_validate_json(self.read_file("document.json"))

    def extract_metadata(self, data: BaseModel) -> dict[str, Any]:
        return {
            name: value
            for name in _SHOWN
            if isinstance(value := getattr(data, name, None), str | int | float | bool) and value != ""
        }

    def save_visualizations(self, data: BaseModel) -> dict[str, VisualizationType]:
        return self.show({PAGE: _page(data)})


_SHOWN = (
    "format", "method", "rewind_step", "predicted_steps", "predicted_cost", "budget_steps", "forget_records", "reason",
    "steps_spent", "stop_reason", "guarantee", "level", "passed", "words",
)  # fmt: skip


def _page(data: BaseModel) -> str:
    from expunge.reporting import artifact_pages

    pages: dict[type[Any], Callable[[Any], str]] = {
        UnlearningPlan: artifact_pages.plan_page,
        UnlearningRun: artifact_pages.run_page,
        Evidence: artifact_pages.evidence_page,
        GateDecision: artifact_pages.decision_page,
        BudgetPredictor: artifact_pages.calibration_page,
    }
    show = pages.get(type(data))
    return show(data) if show else artifact_pages.document_page(type(data).__name__, data.model_dump(mode="json"))


class FactsMaterializer(ArtifactMaterializer):
    """Facts as facts.json."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Facts,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def write(self, data: Facts) -> None:
        self.write_files({"facts.json": to_json({"title": data.title, "values": dict(data.values)})})

    def read(self, data_type: type[Any]) -> Facts:
        raw = self.read_json("facts.json")
        return Facts(raw["title"], raw["values"])

    def save_visualizations(self, data: Facts) -> dict[str, VisualizationType]:
        from expunge.reporting.artifact_pages import document_page

        return self.show({PAGE: document_page(data.title, data.values)})


class ForgetSetMaterializer(ArtifactMaterializer):
    """forget_set.json; its page shows no record id, for pages are looked at and this artifact is destroyed."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (ForgetSet,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def write(self, data: ForgetSet) -> None:
        self.write_files({"forget_set.json": to_json(dict(data.__dict__))})

    def read(self, data_type: type[Any]) -> ForgetSet:
        raw = self.read_json("forget_set.json")
        return ForgetSet(**{**raw, "record_ids": tuple(raw["record_ids"]), "request_ids": tuple(raw["request_ids"])})

    def extract_metadata(self, data: ForgetSet) -> dict[str, Any]:
        return {"records": len(data), "kind": data.kind, "requests": len(data.request_ids)}

    def save_visualizations(self, data: ForgetSet) -> dict[str, VisualizationType]:
        from expunge.reporting.artifact_pages import document_page

        facts = {"records": len(data), "kind": data.kind, "how": data.description, "requests": list(data.request_ids)}
        return self.show({PAGE: document_page("Forget set", facts)})
