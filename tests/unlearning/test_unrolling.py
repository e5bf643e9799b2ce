"""What records moved in the weights: against an autograd loop, against retraining at small rates, and where it ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from expunge.data import RecordTable, load_records
from expunge.errors import NotFoundError, UsageError
from expunge.models import ModelSpec, build_model
from expunge.training import TrainingConfig, Trajectory, train
from expunge.training.state import TrainingState, apply_update
from expunge.unlearning.methods import METHODS, Procedure, UnrolledRewind, apply, method_of
from expunge.unlearning.unrolling import Pushes, pushed, without

SPEC = ModelSpec("mlp", (64,), 10, options={"hidden": [6]})
FORGET = 12


@pytest.fixture(scope="module")
def table() -> RecordTable:
    whole = load_records("digits")
    return whole.select(whole.record_ids[:120])


def config(**change: Any) -> TrainingConfig:
    fields = {
        "steps": 40, "batch_size": 120, "learning_rate": 0.1, "checkpoints": 40, "noise": {"convention": "implicit"},
    }  # fmt: skip
    return TrainingConfig.model_validate({**fields, **change})


def forgotten(table: RecordTable) -> RecordTable:
    return table.select(table.record_ids[:FORGET])


def weights(trajectory: Trajectory, step: int) -> dict[str, torch.Tensor]:
    return {k: v.double() for k, v in trajectory.state(trajectory.at(step)).params.items()}


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 30, "checkpoints": 9},
        {"momentum": 0.5, "weight_decay": 0.01},
        {"batch_size": 30, "noise": {"convention": "dp_sgd", "noise_multiplier": 0.1, "clip": 0.5}},
    ],
)
def test_it_is_the_trapezoid_sum_of_the_records_own_updates(
    table: RecordTable, tmp_path: Path, change: dict[str, Any]
) -> None:
    made = config(**change)
    trajectory, forget = train(SPEC, table, made, tmp_path), forgotten(table)
    nodes = [c for c in trajectory.checkpoints if c.step <= trajectory.checkpoints[-2].step]
    rates = []
    for node in nodes:
        model = build_model(SPEC).double()
        model.load_state_dict({k: v.double() for k, v in trajectory.state(node).model_state().items()})
        total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
        for x, y in zip(torch.from_numpy(forget.features).double(), torch.from_numpy(forget.targets), strict=True):
            grads = torch.autograd.grad(F.cross_entropy(model(x[None]), y[None]), list(model.parameters()))
            norm = float(torch.sqrt(sum(g.square().sum() for g in grads)))
            shrink = min(1.0, made.noise.clip / norm) if made.noise.clip else 1.0
            for name, g in zip(total, grads, strict=True):
                total[name] += shrink * g
        scale = node.lr * made.batch_size / len(table) / made.batch_size / (1 - made.momentum)
        rates.append({name: scale * value for name, value in total.items()})
    found = pushed(trajectory, forget, [nodes[-1].step])[nodes[-1].step]
    for name in found:
        wanted = torch.zeros_like(rates[0][name])
        for before, after, a, b in zip(nodes, nodes[1:], rates, rates[1:], strict=False):
            gap = after.step - before.step
            kept = (1 - before.lr * made.weight_decay / (1 - made.momentum)) ** gap
            wanted = kept * wanted + gap / 2 * (kept * a[name] + b[name])
        np.testing.assert_allclose(found[name].double().numpy(), wanted.numpy(), rtol=1e-3, atol=1e-7)


def test_at_small_rates_it_is_the_difference_to_retraining(table: RecordTable, tmp_path: Path) -> None:
    """Full batches, no noise: what is missed is of second order, so half the rate misses half the share."""
    missed = []
    linear = ModelSpec("mlp", (64,), 10, options={"hidden": []})  # a ReLU's kinks are no second order
    for rate in (0.02, 0.01):
        trajectory = train(linear, table, config(learning_rate=rate), tmp_path / f"{rate}")
        apart = table.without(table.record_ids[:FORGET])
        same = config(learning_rate=rate, batch_size=len(apart))
        # Divided by the original's b, as every run that forgets is.
        scaled = same.model_copy(update={"learning_rate": rate * len(apart) / len(table)})
        retrained = train(linear, apart, scaled, tmp_path / f"{rate}-retrained")
        step = trajectory.checkpoints[-1].step
        a, b = weights(trajectory, step), weights(retrained, step)
        push = pushed(trajectory, forgotten(table), [step])[step]
        gap = torch.cat([(b[k] - a[k]).flatten() for k in a])
        left = gap - torch.cat([push[k].double().flatten() for k in a])
        missed.append(float(left.norm() / gap.norm()))
        wrong = gap + torch.cat([push[k].double().flatten() for k in a])
        assert float(wrong.norm() / gap.norm()) > 1.5  # the other sign
    assert missed[0] < 0.25
    assert missed[1] / missed[0] == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 5e-3), (0.9, 5e-3)])
def test_a_constant_gradient_moves_what_the_optimiser_moves(momentum: float, decay: float) -> None:
    """1,000 real updates with and without a constant part of the gradient: their difference is the push."""
    made = config(steps=1000, learning_rate=0.05, momentum=momentum, weight_decay=decay)
    part, rest = torch.tensor([3.0]), torch.tensor([1.0])
    with_part, alone = (TrainingState({"w": torch.zeros(1)}, {}, {}) for _ in range(2))
    pushes = Pushes(made)
    for step in range(1000):
        if step % 50 == 0:
            pushes.add(step, made.learning_rate, 1.0, {"w": part})
        apply_update(with_part, {"w": rest + part}, {}, made, made.learning_rate)
        apply_update(alone, {"w": rest}, {}, made, made.learning_rate)
    total = pushes.add(1000, made.learning_rate, 1.0, {"w": part})
    assert float(total["w"]) == pytest.approx(float(alone.params["w"] - with_part.params["w"]), rel=0.03)


def test_a_start_without_the_push(table: RecordTable, tmp_path: Path) -> None:
    trajectory = train(SPEC, table, config(batch_size=30, checkpoints=5), tmp_path / "original")
    forget, retain = forgotten(table), table.without(table.record_ids[:FORGET])
    step = trajectory.checkpoints[2].step
    plain = METHODS["rewind"].continuation(trajectory, step, 1)
    none = UnrolledRewind(0.0).prepared(plain, trajectory, forget, "cpu")
    half = method_of("unrolled_rewind", 0.5).prepared(plain, trajectory, forget, "cpu")
    push = pushed(trajectory, forget, [step])[step]
    for name, value in plain.start[1].params.items():
        assert torch.equal(none.start[1].params[name], value)
        assert torch.equal(half.start[1].params[name], value + 0.5 * push[name])
    before = {k: v.clone() for k, v in plain.start[1].params.items()}
    without(plain.start[1], push, 1.0)
    assert all(torch.equal(v, before[k]) for k, v in plain.start[1].params.items())
    made = apply(UnrolledRewind(0.5), trajectory, retain, step, 1, tmp_path / "made", {}, forget=forget)
    again = apply(UnrolledRewind(0.5), trajectory, retain, step, 1, tmp_path / "again", {}, forget=forget)
    assert made.final.sha256 == again.final.sha256 and made.run["strength"] == 0.5
    other = apply(UnrolledRewind(0.25), trajectory, retain, step, 1, tmp_path / "made", {}, forget=forget)
    assert other.final.sha256 != made.final.sha256
    with pytest.raises(UsageError, match="reads the records to forget"):
        apply(UnrolledRewind(), trajectory, retain, step, 1, tmp_path / "none", {})


def test_a_killed_run_goes_on_to_the_same_bytes(table: RecordTable, tmp_path: Path) -> None:
    trajectory = train(SPEC, table, config(batch_size=30, checkpoints=10), tmp_path / "original")
    retain, step = table.without(table.record_ids[:FORGET]), trajectory.checkpoints[3].step
    method = UnrolledRewind(0.5)

    def kill(done: int, of: int) -> None:
        if done == of // 2:
            raise KeyboardInterrupt

    whole = apply(method, trajectory, retain, step, 1, tmp_path / "whole", {}, forget=forgotten(table))
    with pytest.raises(KeyboardInterrupt):
        apply(method, trajectory, retain, step, 1, tmp_path / "killed", {}, progress=kill, forget=forgotten(table))
    seen: list[int] = []
    resumed = apply(
        method, trajectory, retain, step, 1, tmp_path / "killed", {}, forget=forgotten(table),
        progress=lambda done, of: seen.append(done),
    )  # fmt: skip
    assert resumed.final.sha256 == whole.final.sha256 and seen[0] > 1


def test_the_past_must_be_whole(table: RecordTable, tmp_path: Path) -> None:
    trajectory = train(SPEC, table, config(batch_size=30, checkpoints=5), tmp_path)
    steps = [c.step for c in trajectory.checkpoints]
    gone = replace(
        trajectory, checkpoints=tuple(replace(c, destroyed=c.step == steps[1]) for c in trajectory.checkpoints)
    )
    assert set(pushed(gone, forgotten(table), [steps[0]])) == {steps[0]}
    with pytest.raises(NotFoundError, match=f"before step {steps[2]} cannot be told"):
        pushed(gone, forgotten(table), [steps[2]])
    with pytest.raises(NotFoundError, match="no checkpoint at step 7"):
        pushed(trajectory, forgotten(table), [7, steps[2]])


def test_the_cost_counts_what_is_read(table: RecordTable, tmp_path: Path) -> None:
    trajectory = train(SPEC, table, config(batch_size=30, checkpoints=5), tmp_path)
    procedure, step = Procedure.of(trajectory), trajectory.checkpoints[2].step
    steps = 40 - step
    read = 3 * FORGET / (30 * 40)
    assert METHODS["unrolled_rewind"].cost(procedure, steps, FORGET) == pytest.approx(steps / 40 + read)
    assert METHODS["keep"].continuation(trajectory, 0, 1).steps == 0


def test_keeping_changes_no_weight(table: RecordTable, tmp_path: Path) -> None:
    trajectory = train(SPEC, table, config(batch_size=30, checkpoints=5), tmp_path / "original")
    made = apply(METHODS["keep"], trajectory, table.without(table.record_ids[:3]), 0, 1, tmp_path / "kept", {})
    assert made.final.sha256 == trajectory.final.sha256 and not made.checkpoints and len(made.record_ids) == 117
