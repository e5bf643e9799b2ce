"""Are the norm of a set's summed gradients and the inner products those of autograd, record by record?"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gradient_cases import Raw, cnn, images, mlp, vectors
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.data import RecordTable
from expunge.data.record_table import make_table
from expunge.errors import ExpungeError, NotFoundError, UsageError
from expunge.models import ModelSpec, build_model
from expunge.privacy import (
    NormsNotFinite,
    gradient_gram,
    per_example_gradient_norms,
    sum_norm,
    trajectory_grams,
    trajectory_sum_norms,
)
from expunge.training import NoiseConfig, TrainingConfig, Trajectory, train


def rows_by_autograd(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Gradients [n, parameters] of one backward pass each, on a float64 copy in eval mode."""
    model = copy.deepcopy(model).double().eval()
    found = []
    for x, y in zip(inputs.double(), targets, strict=True):
        model.zero_grad()
        F.cross_entropy(model(x[None]), y[None]).backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    return torch.stack(found)


class Unvectorisable(nn.Module):
    """Data-dependent control flow, which torch.func cannot vectorise."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(7, 5)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.head(x if float(x.sum()) > 0 else 2 * x)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("make", "data"), [(mlp, vectors), (cnn, images), (Raw, vectors), (Unvectorisable, vectors)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gram_and_sum_are_those_of_autograd(make: Any, data: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, (x, y) = make().to(dtype).train(), data()
    gradients = rows_by_autograd(model, x, y)
    before = copy.deepcopy(model.state_dict())
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    for chunk in (None, 4):  # six records: two chunks
        got = gradient_gram(model, x.to(dtype), y, chunk=chunk)
        assert got.dtype == np.float64 and (got == got.T).all()
        np.testing.assert_allclose(got, (gradients @ gradients.T).numpy(), rtol=tolerance, atol=tolerance)
    if make is not Unvectorisable:  # its sum depends on the batch, as its decision does
        for chunk in (128, 4):
            norm = sum_norm(model, x.to(dtype), y, chunk=chunk)
            assert norm == pytest.approx(float(gradients.sum(0).norm()), rel=10 * tolerance)
    assert model.training and all(p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_weights_scale_each_record_s_gradient_and_losses_may_be_chosen() -> None:
    torch.manual_seed(1)
    model, (x, y) = mlp().double(), vectors()
    gradients, weights = rows_by_autograd(model, x, y), torch.linspace(0, 1.5, 6, dtype=torch.float64)
    expected = float((weights[:, None] * gradients).sum(0).norm())
    assert sum_norm(model, x, y, weights=weights.numpy()) == pytest.approx(expected, rel=1e-10)
    doubled = sum_norm(model, x, y, lambda outputs, targets: 2 * F.cross_entropy(outputs, targets, reduction="none"))
    assert doubled == pytest.approx(2 * sum_norm(model, x, y), rel=1e-12)
    halves = gradient_gram(model, x, y, nn.CrossEntropyLoss(weight=torch.full((5,), 0.5, dtype=torch.float64)))
    np.testing.assert_allclose(halves, (gradients @ gradients.T).numpy() / 4, rtol=1e-10)


def test_frozen_parameters_and_unused_ones_do_not_count() -> None:
    torch.manual_seed(2)
    model, (x, y) = mlp().double(), vectors()
    model[0].weight.requires_grad_(False)
    model.register_parameter("unused", nn.Parameter(torch.ones(3, dtype=torch.float64)))
    norms = per_example_gradient_norms(model, x, y).numpy()
    gram = gradient_gram(model, x, y)
    np.testing.assert_allclose(np.diag(gram), norms**2, rtol=1e-10)
    assert sum_norm(model, x, y) == pytest.approx(float(np.sqrt(gram.sum())), rel=1e-10)


def test_what_makes_no_sense_is_refused() -> None:
    model, (x, y) = mlp().double(), vectors()
    for call in (sum_norm, gradient_gram):
        with pytest.raises(UsageError, match="n the same"):
            call(model, x, y[:-1])
        with pytest.raises(UsageError, match="no loss"):
            call(model, x, y, "cross_entropie")
        with pytest.raises(UsageError, match="outside"):
            call(model, x, y + 100)
        with pytest.raises(UsageError, match="chunk"):
            call(model, x, y, chunk=0)
    with pytest.raises(UsageError, match="weights"):
        sum_norm(model, x, y, weights=[1.0])
    x = x.clone()
    x[3, 0] = torch.inf
    with pytest.raises(NormsNotFinite) as caught:
        gradient_gram(model, x, y)
    assert caught.value.rows == (3,)
    with pytest.raises(ExpungeError, match="NaN or infinite"):
        sum_norm(model, x, y)


# --- along a trajectory ---------------------------------------------------------------------------------------------

SPEC = ModelSpec("mlp", (6,), 3, options={"hidden": [8]})


@pytest.fixture(scope="module")
def table() -> RecordTable:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 40)
    features = rng.normal(size=(40, 6)) + targets[:, None]
    return make_table(
        features=features, targets=targets, record_ids=[f"r{i:02d}" for i in range(40)], classes=3, name="made"
    )


def trained(table: RecordTable, folder: Path, **noise: Any) -> Trajectory:
    config = TrainingConfig(steps=12, batch_size=8, learning_rate=0.3, noise=NoiseConfig(**noise), checkpoints=4)
    return train(SPEC, table, config, folder)


@pytest.mark.parametrize("clip", [None, 2.0])
def test_along_a_trajectory_each_checkpoint_has_its_own(clip: float | None, table: RecordTable, tmp_path: Path) -> None:
    noise: dict[str, Any] = {"convention": "langevin", "sigma": 0.02}
    if clip is not None:
        noise = {"convention": "dp_sgd", "noise_multiplier": 1.0, "clip": clip}
    run, chosen = trained(table, tmp_path, **noise), ["r07", "r01", "r30"]
    grams = trajectory_grams(run, table, chosen)
    sums = trajectory_sum_norms(run, table, chosen)
    assert grams.shape == (4, 3, 3) and sums.shape == (4,)
    records = table.select(chosen)
    clipped = 0
    for c, checkpoint in enumerate(run.kept):
        model = build_model(run.model_spec)
        model.load_state_dict(run.state(checkpoint).model_state())
        gradients = rows_by_autograd(model, torch.from_numpy(records.features), torch.from_numpy(records.targets))
        if clip is not None:
            clipped += int((gradients.norm(dim=1) > clip).sum())
            gradients = gradients * (clip / gradients.norm(dim=1, keepdim=True)).clamp(max=1)
        np.testing.assert_allclose(grams[c], (gradients @ gradients.T).numpy(), rtol=1e-4, atol=1e-6)
        assert sums[c] == pytest.approx(float(gradients.sum(0).norm()), rel=1e-4)
    assert clip is None or 0 < clipped < 12
    with pytest.raises(NotFoundError, match="r99"):
        trajectory_grams(run, table, ["r99"])
    with pytest.raises(UsageError, match="empty"):
        trajectory_sum_norms(run, table, [])
