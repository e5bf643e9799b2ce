"""Trained models: safetensors and a JSON description, hash-verified on load."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from zenml.enums import ArtifactType, VisualizationType

from expunge.errors import IntegrityError
from expunge.models import ModelSpec
from expunge.models.trained import TrainedModel
from materializers.base import PAGE, ArtifactMaterializer, to_json

WEIGHTS = "model.safetensors"


class TrainedModelMaterializer(ArtifactMaterializer):
    """model.safetensors and model.json."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (TrainedModel,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.MODEL

    def write(self, data: TrainedModel) -> None:
        self.write_files(
            {
                WEIGHTS: weights_bytes(data),
                "model.json": to_json({"spec": data.spec.to_dict(), "facts": dict(data.facts)}),
            }
        )

    def read(self, data_type: type[Any]) -> TrainedModel:
        described = self.read_json("model.json")
        try:
            state = load_safetensors(self.read_file(WEIGHTS))
        except SafetensorError as error:
            raise IntegrityError(f"{self.uri}/{WEIGHTS} is unreadable: {error}.") from error
        return TrainedModel(ModelSpec.from_dict(described["spec"]), state, described["facts"])

    def extract_metadata(self, data: TrainedModel) -> dict[str, Any]:
        return {**data.facts, "sha256": _sha256(data), "architecture": data.spec.name}

    def save_visualizations(self, data: TrainedModel) -> dict[str, VisualizationType]:
        from expunge.reporting.artifact_pages import document_page

        tensors = {name: list(tensor.shape) for name, tensor in data.state.items()}
        facts = {"sha256": _sha256(data), **data.facts, "model": data.spec.to_dict(), "tensors": tensors}
        return self.show({PAGE: document_page("Trained model", facts)})

    def compute_content_hash(self, data: TrainedModel) -> str:
        return _sha256(data)


def weights_bytes(model: TrainedModel) -> bytes:
    """The safetensors bytes of a model: the same for the same weights."""
    content: bytes = save_safetensors({k: v.detach().cpu().contiguous() for k, v in sorted(model.state.items())})
    return content


def _sha256(model: TrainedModel) -> str:
    return hashlib.sha256(weights_bytes(model)).hexdigest()
