"""Do outputs come back from the store as they were, with everything that only some checks read?"""

from __future__ import annotations

import io
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from laws import World

from expunge.errors import IntegrityError, UsageError
from expunge.evaluation.canary_scores import CanaryScores
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.loss_paths import BarrierPaths, PathLosses
from expunge.evaluation.shadows import PoolOutputs, ShadowOutputs
from expunge.unlearning.reference_pool import ReferencePool
from materializers.outputs import EvaluationInputsMaterializer, ReferencePoolMaterializer


class Shelf(dict[str, bytes]):
    """An artifact store in memory."""

    def __bool__(self) -> bool:
        return True  # ZenML takes its own store in place of a false one

    def exists(self, path: str) -> bool:
        return path in self

    def open(self, path: str, mode: str) -> Any:
        shelf = self

        class File(io.BytesIO):
            def close(self) -> None:
                if "w" in mode:
                    shelf[path] = self.getvalue()
                super().close()

        return File(b"" if "w" in mode else self[path])


RNG = np.random.default_rng(0)
INPUTS = World(forget=12, retain=20, held_out=30, oracles=19).build(planted=True)


def membership(models: int, records: int) -> Any:
    return RNG.random((models, records)) < 0.5


def paths() -> PathLosses:
    return PathLosses(
        RNG.random((2, 3)), RNG.random((2, 3)), RNG.random((4, 2, 3)), RNG.random((1, 2, 3)), RNG.random((0, 2, 3))
    )


TRAINED = membership(6, 62) & ~np.isin(np.arange(62), INPUTS.held_out)
POOL = PoolOutputs(RNG.normal(size=(6, 62, 4)), INPUTS.targets, TRAINED, 0.5)
SHADOWS = ShadowOutputs(
    RNG.normal(size=(8, 5, 4)), np.arange(5) % 4, membership(8, 5), np.arange(5) < 3, RNG.normal(size=(8, 5, 4))
)
COUNTS = {"retain": 20, "forget": 12}
BARRIERS = BarrierPaths(
    {g: paths() for g in COUNTS}, {g: paths() for g in COUNTS}, "", COUNTS, {"retain": 99, "forget": 12}
)
FRESH = {role: RNG.normal(size=4) for role in ("original", "unlearned", "oracle")}
CANARIES = CanaryScores(*RNG.normal(size=(3, 5)), FRESH, 0.1, {"oracle": 1})
CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no planted set": {"planted": None},
    "pool": {"pool": POOL},
    "shadows": {"shadows": SHADOWS},
    "shadows without before": {"shadows": replace(SHADOWS, before=None)},
    "barriers": {"barriers": BARRIERS},
    "barriers that are not aligned": {"barriers": replace(BARRIERS, aligned=None, not_aligned="no chain")},
    "canaries": {"canaries": CANARIES},
    "everything": {"pool": POOL, "shadows": SHADOWS, "barriers": BARRIERS, "canaries": CANARIES},
    "requests": {"requests": {"a": np.array([0, 3]), "b/c": np.array([1])}, "look_ids": ("seed 1",)},
}


def assert_same(one: Any, other: Any) -> None:
    """Equal through and through, types of arrays included."""
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif is_dataclass(one):
        assert type(one) is type(other)
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, dict):
        assert sorted(one) == sorted(other)
        for name, value in one.items():
            assert_same(value, other[name])
    else:
        assert one == other


@pytest.mark.parametrize("change", CHANGES)
def test_evaluation_inputs_come_back(change: str) -> None:
    inputs = replace(INPUTS, **CHANGES[change])
    kept = EvaluationInputsMaterializer("memory/outputs", Shelf())
    kept.save(inputs)
    assert_same(inputs, kept.load(EvaluationInputs))


def test_calibrated_outputs_are_refused() -> None:
    with pytest.raises(UsageError, match="not stored"):
        EvaluationInputsMaterializer("memory/outputs", Shelf()).save(INPUTS.calibrated())


def test_a_planted_set_stored_before_the_other_parts_comes_back() -> None:
    import hashlib
    import json

    shelf = Shelf()
    kept = EvaluationInputsMaterializer("memory/outputs", shelf)
    kept.save(INPUTS)
    names = json.loads(shelf["memory/outputs/names.json"])
    del names["parts"]
    shelf["memory/outputs/names.json"] = json.dumps(names).encode()
    index = json.loads(shelf["memory/outputs/index.json"])
    index["names.json"] = hashlib.sha256(shelf["memory/outputs/names.json"]).hexdigest()
    shelf["memory/outputs/index.json"] = json.dumps(index).encode()
    assert_same(INPUTS, kept.load(EvaluationInputs))


def pool() -> ReferencePool:
    logits = RNG.normal(size=(4, 7, 3)).astype(np.float32)
    names = tuple(f"record-{i}" for i in range(7))
    return ReferencePool(logits, membership(4, 7), np.arange(7) % 3, names, (1, 2, 3, 2**62), 0.4)


def test_a_reference_pool_comes_back_and_names_its_records() -> None:
    shelf, made = Shelf(), pool()
    kept = ReferencePoolMaterializer("memory/pool", shelf)
    kept.save(made)
    assert_same(made, kept.load(ReferencePool))
    assert kept.read_json("pool.json")["record_ids"] == list(made.record_ids), "what a purge reads"
    assert kept.extract_metadata(made) == {
        "models": 4, "records": 7, "share_left_out": 0.4, "retrainings": pytest.approx(4 * 0.6)
    }  # fmt: skip


def test_a_changed_pool_is_named() -> None:
    shelf = Shelf()
    kept = ReferencePoolMaterializer("memory/pool", shelf)
    kept.save(pool())
    content = shelf["memory/pool/outputs.safetensors"]
    shelf["memory/pool/outputs.safetensors"] = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(IntegrityError, match=r"outputs\.safetensors"):
        kept.load(ReferencePool)
