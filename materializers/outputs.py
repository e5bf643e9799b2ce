"""Outputs of models on records (logits): what evaluation reads. Destroyed with the records they speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

import numpy as np
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from zenml.enums import ArtifactType

from expunge.errors import UsageError
from expunge.evaluation.canary_scores import CanaryScores
from expunge.evaluation.inputs import EvaluationInputs, PlantedSet
from expunge.evaluation.loss_paths import BarrierPaths, PathLosses
from expunge.evaluation.shadows import PoolOutputs, ShadowOutputs
from expunge.unlearning.calibration import PlantedOutputs
from expunge.unlearning.reference_pool import ReferencePool
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


class ReferencePoolMaterializer(ArtifactMaterializer):
    """outputs.safetensors and pool.json: the models' outputs, who trained on what, and whose they are; no weights."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (ReferencePool,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def write(self, data: ReferencePool) -> None:
        described = {name: getattr(data, name) for name in ("record_ids", "seeds", "share_left_out")}
        arrays = {name: getattr(data, name) for name in ("logits", "trained", "targets")}
        self.write_files({"outputs.safetensors": _pack(arrays), "pool.json": to_json(described)})

    def read(self, data_type: type[Any]) -> ReferencePool:
        described = self.read_json("pool.json")
        return ReferencePool(
            **load_arrays(self.read_file("outputs.safetensors")),
            record_ids=tuple(described["record_ids"]),
            seeds=tuple(described["seeds"]),
            share_left_out=described["share_left_out"],
        )

    def extract_metadata(self, data: ReferencePool) -> dict[str, Any]:
        return {
            "models": len(data),
            "records": len(data.record_ids),
            "share_left_out": data.share_left_out,
            "retrainings": data.cost,
        }


class EvaluationInputsMaterializer(ArtifactMaterializer):
    """outputs.safetensors and names.json. Temperatures are not stored: they follow from the outputs."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (EvaluationInputs,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def write(self, data: EvaluationInputs) -> None:
        if data.temperatures:
            raise UsageError("Calibrated outputs are not stored.", "Store the outputs as the models gave them.")
        arrays: dict[str, Any] = {name: getattr(data, name) for name in _ARRAYS}
        arrays |= {f"requests/{request}": rows for request, rows in data.requests.items()}
        facts: dict[str, Any] = {}
        for name in _PARTS:
            part = getattr(data, name)
            if part is not None:
                own, facts[name] = split_part(part)
                arrays |= {f"{name}/{path}": array for path, array in own.items()}
        names = {name: list(getattr(data, name)) for name in _NAMES} | {"parts": facts}
        self.write_files({"outputs.safetensors": _pack(arrays), "names.json": to_json(names)})

    def read(self, data_type: type[Any]) -> EvaluationInputs:
        arrays = load_arrays(self.read_file("outputs.safetensors"))
        names = self.read_json("names.json")
        # Outputs that were stored before the other parts were have a planted set at most.
        described = names.get("parts", {"planted": {}} if _below(arrays, "planted") else {})
        parts: dict[str, Any] = {
            name: join_part(_PARTS[name], _below(arrays, name), facts) for name, facts in described.items()
        }
        parts |= {name: arrays[name] for name in _ARRAYS} | {name: tuple(names[name]) for name in _NAMES}
        return EvaluationInputs(**parts, requests=_below(arrays, "requests"))

    def extract_metadata(self, data: EvaluationInputs) -> dict[str, Any]:
        return {
            "forget": len(data.forget),
            "retain": len(data.retain),
            "held_out": len(data.held_out),
            "oracles": len(data.oracles),
            "held_back": len(data.held_back),
            "half_kept": len(data.half_kept),
            "pool": 0 if data.pool is None else len(data.pool),
        }


def split_part(part: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays of a dataclass by path, and what else it holds as JSON; None and mappings are walked into."""
    arrays: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    values = part if isinstance(part, Mapping) else {field.name: getattr(part, field.name) for field in fields(part)}
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif isinstance(value, Mapping) or is_dataclass(value):
            own, facts[name] = split_part(value)
            arrays |= {f"{name}/{path}": array for path, array in own.items()}
        else:
            facts[name] = value
    return arrays, facts


def join_part(kind: type[Any], arrays: dict[str, Any], facts: dict[str, Any]) -> Any:
    """The dataclass of `split_part` again."""
    if kind is BarrierPaths:
        paths = {
            name: facts[name] and {group: PathLosses(**_below(arrays, f"{name}/{group}")) for group in facts[name]}
            for name in ("plain", "aligned")
        }
        return BarrierPaths(**{**facts, **paths})
    given = {name: value for name, value in arrays.items() if "/" not in name}
    nested = {name: {**value, **_below(arrays, name)} for name, value in facts.items() if isinstance(value, dict)}
    return kind(**{**facts, **nested, **given})


def _below(arrays: dict[str, Any], folder: str) -> dict[str, Any]:
    """Arrays whose path begins with a folder, without it."""
    return {path.removeprefix(f"{folder}/"): array for path, array in arrays.items() if path.startswith(f"{folder}/")}


_PARTS: dict[str, type[Any]] = {
    "planted": PlantedSet,
    "pool": PoolOutputs,
    "shadows": ShadowOutputs,
    "barriers": BarrierPaths,
    "canaries": CanaryScores,
}


def _pack(arrays: dict[str, Any]) -> bytes:
    content: bytes = save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    return content
