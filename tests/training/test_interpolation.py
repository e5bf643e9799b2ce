"""The loss on the line between two models: exact at both ends, without a barrier where it is convex."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from expunge.data import RecordTable, load_records
from expunge.data.record_table import make_table
from expunge.errors import UsageError
from expunge.evaluation.confidence import loss
from expunge.evaluation.loss_paths import barrier_height
from expunge.models import MODELS, ModelSpec, build_model
from expunge.training import predict
from expunge.training.interpolation import between, loss_along

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def table() -> RecordTable:
    whole = load_records("digits")
    return whole.select(whole.record_ids[:200])


def spec_of(table: RecordTable, name: str = "mlp", **options: object) -> ModelSpec:
    return ModelSpec(name, tuple(table.features.shape[1:]), table.classes, options=options)


def states(spec: ModelSpec, count: int = 2, scale: float = 1.0) -> list[State]:
    return [{k: v.detach() * scale for k, v in build_model(spec, seed).state_dict().items()} for seed in range(count)]


def test_the_line_passes_through_both_models_and_what_lies_between(table: RecordTable) -> None:
    spec = spec_of(table, hidden=[8])
    first, second = states(spec)
    forget = table.select(table.record_ids[:30])
    losses = loss_along(spec, first, second, [table, forget], points=5, chunk=64)
    assert losses.shape == (2, 5) and losses.dtype == np.float64
    for column, t in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        state = {name: (1 - t) * first[name] + t * second[name] for name in first}
        for row, own in enumerate((table, forget)):
            expected = loss(predict(spec, state, own).astype(np.float64), own.targets).mean()
            assert losses[row, column] == pytest.approx(expected, rel=1e-5)
    back = loss_along(spec, second, first, [table, forget], points=5)
    np.testing.assert_allclose(back[:, ::-1], losses, rtol=1e-5)


def test_a_convex_loss_has_no_barrier_and_a_permuted_network_has_one(table: RecordTable) -> None:
    """Logistic regression: every point lies on or under the chord. Two hidden units exchanged: a barrier."""
    spec = spec_of(table, hidden=[])
    for scale in (1.0, 20.0):
        path = loss_along(spec, *states(spec, scale=scale), [table])[0]
        chord = np.linspace(path[0], path[-1], 25)
        assert (path <= chord + 1e-6 * chord.max()).all() and path[12] < chord[12]
        assert barrier_height(path) == pytest.approx(0.0, abs=1e-6 * chord.max())

    x = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    plane = make_table(
        features=x, targets=(x[:, 0] > x[:, 1]).astype(np.int64), record_ids=[f"r{i:03d}" for i in range(100)],
        classes=2, name="plane",
    )  # fmt: skip
    small = spec_of(plane, hidden=[2])
    one = {
        "1.weight": 4 * torch.eye(2), "1.bias": torch.zeros(2),
        "3.weight": 4 * torch.tensor([[0.0, 1.0], [1.0, 0.0]]), "3.bias": torch.zeros(2),
    }  # fmt: skip
    swap = torch.tensor([1, 0])
    two = one | {"1.weight": one["1.weight"][swap], "3.weight": one["3.weight"][:, swap]}
    path = loss_along(small, one, two, [plane])[0]
    assert path[0] == pytest.approx(path[-1], rel=1e-6)
    # Half way both units see the same, so the outputs are equal: the loss there is ln 2 exactly.
    assert path[12] == pytest.approx(np.log(2), rel=1e-6)
    assert barrier_height(path) == pytest.approx(np.log(2) - path[0], rel=1e-5)
    assert barrier_height(loss_along(small, one, one, [plane])[0]) == pytest.approx(0.0, abs=1e-9)


def batch_norm_model(in_shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(nn.Linear(in_shape[0], 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(), nn.Linear(6, classes))


def test_batch_statistics_are_those_of_the_first_table_at_every_point(
    table: RecordTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "batch_norm", batch_norm_model)
    spec = spec_of(table, "batch_norm")
    first, second = states(spec)
    forget = table.select(table.record_ids[:30])
    losses = loss_along(spec, first, second, [table, forget], points=3)
    x, y = torch.from_numpy(table.features), torch.from_numpy(table.targets)
    for column, t in enumerate((0.0, 0.5, 1.0)):
        w = {name: between(first[name], second[name], t) for name in first}
        hidden = F.linear(x, w["0.weight"], w["0.bias"])
        mean, variance = hidden.mean(0), hidden.var(0)
        normal = (hidden - mean) / (variance + 1e-5).sqrt() * w["1.weight"] + w["1.bias"]
        expected = F.cross_entropy(F.linear(F.relu(normal), w["4.weight"], w["4.bias"]), y)
        assert losses[0, column] == pytest.approx(float(expected), rel=1e-5)
    # What the models carry as statistics is not used, and is used by a plain prediction: the negative control.
    stale = {**first, "1.running_var": torch.full((6,), 100.0)}
    np.testing.assert_array_equal(loss_along(spec, stale, second, [table, forget], points=3), losses)
    plain = loss(predict(spec, stale, table).astype(np.float64), table.targets).mean()
    assert abs(plain - losses[0, 0]) > 0.01
    # In equal chunks the averages are nearly the same.
    np.testing.assert_allclose(loss_along(spec, first, second, [table], points=3, chunk=50), losses[:1], rtol=0.02)


def test_what_cannot_be_a_line_is_refused(table: RecordTable, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(table, hidden=[8])
    first, second = states(spec)
    with pytest.raises(UsageError, match="two points"):
        loss_along(spec, first, second, [table], points=1)
    with pytest.raises(UsageError, match="tables with records"):
        loss_along(spec, first, second, [])
    with pytest.raises(UsageError, match=r"'3.weight' is \(10, 9\)"):
        loss_along(spec, first, states(spec_of(table, hidden=[9]))[0] | {"1.weight": second["1.weight"],
                   "1.bias": second["1.bias"]}, [table])  # fmt: skip
    monkeypatch.setitem(MODELS, "batch_norm", batch_norm_model)
    normal = spec_of(table, "batch_norm")
    with pytest.raises(UsageError, match="one record"):
        loss_along(normal, *states(normal), [table.select(table.record_ids[:1])])
