"""A look passes a retrained model, and no model that remembers, moved elsewhere, or disturbed the records that stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from expunge.data.record_table import make_table
from expunge.models import ModelSpec
from expunge.unlearning.stopping import LookReference, Staying

M, R, ORACLES = 40, 60, 20
SPEC = ModelSpec("mlp", (M + R,), 2, options={"hidden": []})


def state(phi: np.ndarray) -> dict[str, torch.Tensor]:
    """A linear model whose logits on record i, the i-th unit vector, are (phi_i, 0)."""
    weight = torch.zeros(2, M + R)
    weight[0] = torch.from_numpy(phi.astype(np.float32))
    names = [name for name, _ in torch.nn.Linear(1, 1).named_parameters()]
    assert names == ["weight", "bias"]
    from expunge.models import build_model

    own = build_model(SPEC).state_dict()
    return {name: weight if value.ndim == 2 else torch.zeros(2) for name, value in own.items()}


def logits(phi: np.ndarray) -> np.ndarray:
    return np.stack([phi, np.zeros_like(phi)], axis=-1).astype(np.float32)


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    table = make_table(
        features=np.eye(M + R, dtype=np.float32), targets=np.zeros(M + R, dtype=np.int64),
        record_ids=[f"r{k:03d}" for k in range(M + R)], subject_ids=None, classes=2, name="units",
    )  # fmt: skip
    forget, stay = table.select(table.record_ids[:M]), table.select(table.record_ids[M:])
    level = rng.normal(1, 0.5, M + R)

    def models(count: int) -> np.ndarray:
        return level + 0.3 * rng.standard_normal((count, 1)) + 0.3 * rng.standard_normal((count, M + R))

    oracles, memory = models(ORACLES), np.r_[np.full(M, 1.5), np.zeros(R)]
    original = models(1)[0] + memory
    reference = LookReference(
        SPEC, forget, logits(original[:M]), logits(oracles[:, :M]), 0.3, 0.05,
        staying=Staying(stay, logits(oracles[:, M:])),
        requests={"first": np.arange(5), "rest": np.arange(5, M), "none": np.arange(0)},
    )  # fmt: skip
    return {"reference": reference, "models": models, "memory": memory, "original": original}


def test_retrained_models_pass_and_the_original_does_not(world: dict[str, Any]) -> None:
    looks = [world["reference"].look(state(model), 10, 5) for model in world["models"](40)]
    assert np.mean([look.passed for look in looks]) >= 0.75
    assert 0.5 < np.mean([look.remembered for look in looks]) < 5  # one draw of oracles: 1.9 on average over many
    assert looks[0].remembered_by_chance == pytest.approx(M / (ORACLES + 1))
    original = world["reference"].look(state(world["original"]), 10, 5)
    assert not original.passed and original.remembered > 30 and set(original.standing_out) == {"first", "rest"}
    assert "over the target of 30%" in original.words
    assert "outside the look oracles" in original.words and original.influence == pytest.approx(1, abs=0.1)


def test_beyond_the_oracles_is_no_pass_and_nothing_remembered(world: dict[str, Any]) -> None:
    beyond = world["reference"].look(state(world["models"](1)[0] - world["memory"]), 10, 5)
    assert not beyond.passed and beyond.influence < -0.5
    assert beyond.remembered <= 3 and beyond.standing_out == ()  # the original's own noise sets some records' side


def test_records_that_stay_must_not_have_moved(world: dict[str, Any]) -> None:
    moved = world["models"](1)[0] + np.r_[np.zeros(M), np.full(R, 2.0)]
    look = world["reference"].look(state(moved), 10, 5)
    assert (
        not look.passed and look.p_staying == pytest.approx(1 / (ORACLES + 1)) and "that stay are unlike" in look.words
    )
    blind = LookReference(**{**vars(world["reference"]), "staying": None})
    assert blind.look(state(moved), 10, 5).p_staying is None


def test_one_request_that_is_still_remembered_is_named(world: dict[str, Any]) -> None:
    kept = world["models"](20) + np.r_[np.full(5, 2.5), np.zeros(M - 5 + R)]
    looks = [world["reference"].look(state(model), 10, 5) for model in kept]
    assert all("first" in look.standing_out and look.remembered >= 4 for look in looks)
    assert np.mean(["rest" in look.standing_out for look in looks]) <= 0.25
