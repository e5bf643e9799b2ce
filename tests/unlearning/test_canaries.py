"""Canaries: noise that repeats, a closed-form score, and an experiment that sees memory and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from laws import World

from expunge.data import RecordTable, load_records
from expunge.data.record_table import make_table
from expunge.errors import NotFoundError, UsageError
from expunge.evaluation import EvaluationSettings
from expunge.evaluation.canary_scores import CanaryScores
from expunge.evaluation.gus import gus_check, normal_test
from expunge.models import ModelSpec, build_model
from expunge.training import TrainingConfig, Trajectory
from expunge.unlearning.canaries import FRESH, canary_noise, canary_scores, gus_experiment, input_directions, poison
from expunge.unlearning.methods import METHODS, Procedure, apply


@pytest.fixture(scope="module")
def table() -> RecordTable:
    whole = load_records("digits")
    return whole.select(whole.record_ids[:600])


def linear(classes: int, width: int = 64) -> ModelSpec:
    return ModelSpec("mlp", (width,), classes, options={"hidden": []})


def test_noise_belongs_to_the_record_and_the_seed(table: RecordTable) -> None:
    ids = table.record_ids[:20]
    noise = canary_noise(ids, (64,), 1)
    np.testing.assert_array_equal(noise[::-1], canary_noise(ids[::-1], (64,), 1))
    assert abs(noise.mean()) < 0.1 and noise.std() == pytest.approx(1.0, abs=0.05)
    for other in (canary_noise(ids, (64,), 2), canary_noise(ids, (64,), 1, FRESH)):
        assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.1


def test_poison_changes_the_canaries_and_the_fingerprint_alone(table: RecordTable) -> None:
    ids = table.record_ids[3:8]
    changed = poison(table, ids, 0.5, 1)
    rows = table.rows(ids)
    np.testing.assert_allclose(
        changed.features[rows] - table.features[rows], 0.5 * canary_noise(ids, (64,), 1), atol=1e-6
    )
    others = np.setdiff1d(np.arange(len(table)), rows)
    np.testing.assert_array_equal(changed.features[others], table.features[others])
    assert changed.fingerprint != table.fingerprint and changed.record_ids == table.record_ids
    assert table.fingerprint == table.select(table.record_ids).fingerprint and "canaries" not in table.source
    assert poison(table, ids, 0.5, 1).fingerprint == changed.fingerprint
    assert poison(table, ids, 0.5, 2).fingerprint != changed.fingerprint
    tokens = make_table(features=np.ones((4, 3), dtype=np.int64), targets=[0, 1, 0, 1], record_ids="abcd", name="t")
    with pytest.raises(UsageError, match="Token ids"):
        poison(tokens, ["a"], 0.5, 1)
    with pytest.raises(UsageError, match="deviation 0"):
        poison(table, ids, 0.0, 1)
    with pytest.raises(NotFoundError):
        poison(table, ["nobody"], 0.5, 1)


def test_directions_are_the_closed_form_of_a_linear_model_and_autograds_of_any(table: RecordTable) -> None:
    """Softmax regression: grad_x loss = W^T (p - onehot)."""
    ids = table.record_ids[:30]
    part = table.select(ids)
    spec = linear(10)
    state = {k: v.detach() * 3 for k, v in build_model(spec, 1).state_dict().items()}
    w, x, y = state["1.weight"].double(), torch.from_numpy(part.features).double(), torch.from_numpy(part.targets)
    p = (x @ w.T + state["1.bias"].double()).softmax(1)
    closed = ((p - F.one_hot(y, 10)) @ w).numpy()
    closed /= np.linalg.norm(closed, axis=1, keepdims=True)
    np.testing.assert_allclose(input_directions(spec, state, table, ids), closed, atol=1e-5)
    noise = canary_noise(ids, (64,), 7)
    np.testing.assert_allclose(canary_scores(spec, state, table, ids, 7), -(closed * noise).sum(1), atol=1e-4)

    deep = ModelSpec("small_cnn", (64,), 10)
    model = build_model(deep, 2).eval()
    leaf = torch.from_numpy(part.features).requires_grad_(True)
    (one,) = torch.autograd.grad(F.cross_entropy(model(leaf), y, reduction="sum"), leaf)
    expected = F.normalize(one.double(), dim=1).numpy()
    np.testing.assert_allclose(input_directions(deep, model.state_dict(), table, ids, chunk=7), expected, atol=1e-4)


def test_certain_models_keep_a_direction_and_constant_ones_have_none(table: RecordTable) -> None:
    """At logits of thousands the loss and its gradient are exactly 0 in float32; the direction is not."""
    spec, ids = linear(10), table.record_ids[:30]
    state = {k: v.detach() for k, v in build_model(spec, 1).state_dict().items()}
    sure = {k: 1e4 * v for k, v in state.items()}
    directions = input_directions(spec, sure, table, ids)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0)
    constant = {k: torch.zeros_like(v) for k, v in state.items()}
    assert np.isnan(canary_scores(spec, constant, table, ids, 1)).all()
    with pytest.raises(UsageError, match="no input gradient"):
        input_directions(ModelSpec("mlp", (64,), 10, integer_inputs=True), state, table, ids)


def test_one_step_on_the_noise_scores_positive(table: RecordTable) -> None:
    """The sign: W - eta (p - y) (x + xi)^T adds -eta |p - y|^2 xi to the gradient at x, and the minus makes it +."""
    ids = table.record_ids[:200]
    poisoned = poison(table, ids, 0.5, 1).select(ids)
    spec = linear(10)
    state = {k: v.detach() for k, v in build_model(spec, 1).state_dict().items()}
    before = canary_scores(spec, state, table, ids, 1)
    after = []
    for row, record_id in enumerate(poisoned.record_ids):
        x, y = torch.from_numpy(poisoned.features[row]), int(poisoned.targets[row])
        p = (state["1.weight"] @ x + state["1.bias"]).softmax(0)
        residual = p - F.one_hot(torch.tensor(y), 10)
        stepped = {**state, "1.weight": state["1.weight"] - 0.01 * torch.outer(residual, x)}
        after.append(canary_scores(spec, stepped, table, [record_id], 1)[0])
    rise = np.array(after) - before[np.argsort(np.array(ids))]
    assert (rise > 0).mean() > 0.95
    assert normal_test(before).p_value > 0.05


CONFIG = TrainingConfig.model_validate(
    {"steps": 200, "batch_size": 60, "learning_rate": 0.5, "checkpoints": 5,
     "noise": {"convention": "mean_gradient", "sigma": 0.005}}
)  # fmt: skip


def last_weights(trajectory: Trajectory, retain: RecordTable, directory: Path) -> dict[str, torch.Tensor]:
    return trajectory.state(trajectory.final).model_state()


def by(method: str, amount: int) -> Any:
    def unlearn(trajectory: Trajectory, retain: RecordTable, directory: Path) -> dict[str, torch.Tensor]:
        new = apply(METHODS[method], trajectory, retain, amount, 77, directory, {})
        assert len(retain) == 300
        return new.state(new.final).model_state()

    return unlearn


def test_the_experiment_sees_what_is_remembered_and_nothing_else(table: RecordTable, tmp_path: Path) -> None:
    procedure = Procedure(ModelSpec("mlp", (64,), 10, options={"hidden": [32]}), CONFIG, 0.12)
    training, canaries = table.record_ids[:500], table.record_ids[:200]

    def run(unlearn: Any) -> CanaryScores:  # in one folder, where the trained original is found again
        return gus_experiment(procedure, table, training, canaries, unlearn, 1.0, 1, tmp_path)

    untouched = run(last_weights)
    np.testing.assert_array_equal(untouched.unlearned, untouched.original)
    original = normal_test(untouched.original)
    assert original.z > 5 and original.p_value < 1e-6
    assert normal_test(untouched.oracle).p_value > 0.0125
    for fresh in untouched.fresh.values():
        assert len(fresh) == 200 and normal_test(fresh).p_value > 0.0125
    retrained = run(by("retrain", 0))
    np.testing.assert_array_equal(retrained.original, untouched.original)
    assert normal_test(retrained.unlearned).p_value > 0.05
    # Ten steps of fine-tuning change the outputs and leave the noise where it was.
    briefly = run(by("fine_tune", 10))
    assert normal_test(briefly.unlearned).z > 4 and not np.array_equal(briefly.unlearned, briefly.original)

    inputs = World(forget=24, retain=40, held_out=60, oracles=19).build()
    verdicts = [gus_check(replace(inputs, canaries=c), EvaluationSettings()) for c in (untouched, briefly, retrained)]
    assert [v.verdict for v in verdicts] == ["fail", "fail", "no power"] and all(v.sound for v in verdicts)
    assert "half forgotten would be seen" in verdicts[2].words and "canaries are needed" in verdicts[2].words
    easier = gus_check(replace(inputs, canaries=retrained), EvaluationSettings(power_needed=0.3))
    assert easier.verdict == "pass"


def test_canaries_outside_the_training_records_are_refused(table: RecordTable, tmp_path: Path) -> None:
    procedure = Procedure(ModelSpec("mlp", (64,), 10), CONFIG, 0.12)
    ids = table.record_ids
    for canaries in (ids[:1], ids[5:9], ids[:5]):
        with pytest.raises(UsageError, match="canaries among 5"):
            gus_experiment(procedure, table, ids[:5], canaries, last_weights, 0.4, 1, tmp_path)
