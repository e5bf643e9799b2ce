"""Outputs of models on records (logits): what evaluation reads. Destroyed with the records they speak of."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from zenml.enums import ArtifactType

from expunge.evaluation.inputs import EvaluationInputs, PlantedSet
from expunge.unlearning.calibration import PlantedOutputs
from materializers.base import ArtifactMaterializer, to_json

_ARRAYS = (
    "targets", "forget", "retain", "held_out", "original", "unlearned", "oracles", "held_back", "half_kept",
    "difficulty",
)  # fmt: skip
_NAMES = ("record_ids", "oracle_ids", "held_back_ids", "half_kept_ids", "look_ids")
_PLANTED = ("targets", "original", "oracles", "held_back")


class PlantedOutputsMaterializer(ArtifactMaterializer):
    """outputs.safetensors and planted.json."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (PlantedOutputs,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def write(self, data: PlantedOutputs) -> None:
        arrays = {name: getattr(data, name) for name in _PLANTED}
        self.write_files({"outputs.safetensors": _pack(arrays), "planted.json": to_json(data.record_ids)})

    def read(self, data_type: type[Any]) -> PlantedOutputs:
        arrays = load_arrays(self.read_file("outputs.safetensors"))
        return PlantedOutputs(record_ids=tuple(self.read_json("planted.json")), **arrays)

    def extract_metadata(self, data: PlantedOutputs) -> dict[str, Any]:
        return {"records": len(data.record_ids), "oracles": len(data.oracles), "held_back": len(data.held_back)}


class EvaluationInputsMaterializer(ArtifactMaterializer):
    """outputs.safetensors and names.json."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (EvaluationInputs,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def write(self, data: EvaluationInputs) -> None:
        arrays = {name: getattr(data, name) for name in _ARRAYS}
        arrays |= {f"requests/{request}": rows for request, rows in data.requests.items()}
        if data.planted is not None:
            arrays |= {f"planted/{name}": getattr(data.planted, name) for name in _PLANTED}
            if data.planted.difficulty is not None:
                arrays["planted/difficulty"] = data.planted.difficulty
        names = {name: list(getattr(data, name)) for name in _NAMES}
        self.write_files({"outputs.safetensors": _pack(arrays), "names.json": to_json(names)})

    def read(self, data_type: type[Any]) -> EvaluationInputs:
        arrays = load_arrays(self.read_file("outputs.safetensors"))
        names: dict[str, Any] = {name: tuple(values) for name, values in self.read_json("names.json").items()}
        planted = {k.removeprefix("planted/"): v for k, v in arrays.items() if k.startswith("planted/")}
        requests = {k.removeprefix("requests/"): v for k, v in arrays.items() if k.startswith("requests/")}
        parts: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
        return EvaluationInputs(**parts, **names, requests=requests, planted=PlantedSet(**planted) if planted else None)

    def extract_metadata(self, data: EvaluationInputs) -> dict[str, Any]:
        return {
            "forget": len(data.forget),
            "retain": len(data.retain),
            "held_out": len(data.held_out),
            "oracles": len(data.oracles),
            "held_back": len(data.held_back),
            "half_kept": len(data.half_kept),
        }


def _pack(arrays: dict[str, Any]) -> bytes:
    content: bytes = save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return content
