"""Alignment undoes any reordering of hidden units, leaves the function as it is, and refuses what it cannot follow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from expunge.data import load_records
from expunge.evaluation.loss_paths import barrier_height
from expunge.models import MODELS, ModelSpec, build_model
from expunge.training import StackedJob, TrainingConfig, train_stacked
from expunge.training.alignment import align
from expunge.training.interpolation import loss_along

State = dict[str, Tensor]
Factory = Callable[[tuple[int, ...], int], nn.Module]


def order(size: int, seed: int, groups: int = 1) -> Tensor:
    """A random order of `size` units; with groups, one that keeps every group together."""
    g = torch.Generator().manual_seed(seed)
    each = size // groups
    blocks = [torch.randperm(each, generator=g) + each * int(b) for b in torch.randperm(groups, generator=g)]
    return torch.cat(blocks)


def deep(in_shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(in_shape[0], 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 9, bias=False), nn.LayerNorm(9),
        nn.GELU(), nn.Dropout(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, classes), nn.LogSoftmax(1),
    )  # fmt: skip


def images(in_shape: tuple[int, ...], classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_shape[0], 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 6, 3, padding=1), nn.GroupNorm(1, 6), nn.SiLU(), nn.Flatten(), nn.BatchNorm1d(6 * 9),
        nn.Linear(6 * 9, 10), nn.ReLU(), nn.Linear(10, classes),
    )  # fmt: skip


class Functional(nn.Module):
    """A user's own class: layers by attribute, activations and flatten as functions."""

    def __init__(self, in_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_shape[0], 8, 3)
        self.hidden = nn.Linear(8 * 4, 11)
        self.out = nn.Linear(11, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.flatten(F.max_pool2d(F.relu(self.conv(x)), 2), 1)
        return self.out(torch.tanh(self.hidden(h) * 2.0))


def take(state: State, uses: dict[str, int], by: Tensor, blocks: dict[str, int] | None = None) -> State:
    """The state with axis `uses[name]` of each tensor reordered, `blocks[name]` entries a unit."""
    out = dict(state)
    for name, axis in uses.items():
        k = (blocks or {}).get(name, 1)
        index = (by[:, None] * k + torch.arange(k)).ravel()
        out[name] = out[name].index_select(axis, index)
    return out


def permuted(name: str, s: State, seed: int = 5) -> State:
    """A reordered copy, written out by hand for each model."""
    if name == "mlp":
        s = take(s, {"1.weight": 0, "1.bias": 0, "3.weight": 1}, order(16, seed))
        return take(s, {"3.weight": 0, "3.bias": 0, "5.weight": 1}, order(14, seed + 1))
    if name == "deep":
        norm = {f"1.{k}": 0 for k in ("weight", "bias", "running_mean", "running_var")}
        s = take(s, {"0.weight": 0, "0.bias": 0, **norm, "3.weight": 1}, order(12, seed))
        s = take(s, {"3.weight": 0, "4.weight": 0, "4.bias": 0, "7.weight": 1}, order(9, seed + 1))
        return take(s, {"7.weight": 0, "7.bias": 0, "9.weight": 1}, order(7, seed + 2))
    if name == "images":
        norm = {f"1.{k}": 0 for k in ("weight", "bias", "running_mean", "running_var")}
        flat = {f"8.{k}": 0 for k in ("weight", "bias", "running_mean", "running_var")}
        s = take(s, {"0.weight": 0, "0.bias": 0, **norm, "4.weight": 1}, order(8, seed))
        uses = {"4.weight": 0, "4.bias": 0, "5.weight": 0, "5.bias": 0, **flat, "9.weight": 1}
        s = take(s, uses, order(6, seed + 1), dict.fromkeys([*flat, "9.weight"], 9))
        return take(s, {"9.weight": 0, "9.bias": 0, "11.weight": 1}, order(10, seed + 2))
    if name == "small_cnn":
        norm = {"2.weight": 0, "2.bias": 0}
        s = take(s, {"1.weight": 0, "1.bias": 0, **norm, "4.weight": 1}, order(8, seed, groups=4))
        uses = {"4.weight": 0, "4.bias": 0, "5.weight": 0, "5.bias": 0, "9.weight": 1}
        return take(s, uses, order(16, seed + 1, groups=4), {"9.weight": 4})
    s = take(s, {"conv.weight": 0, "conv.bias": 0, "hidden.weight": 1}, order(8, seed), {"hidden.weight": 4})
    return take(s, {"hidden.weight": 0, "hidden.bias": 0, "out.weight": 1}, order(11, seed + 1))


CHAINS = {
    "mlp": ModelSpec("mlp", (20,), 4, options={"hidden": [16, 14]}),
    "deep": ModelSpec("deep", (20,), 4),
    "images": ModelSpec("images", (2, 6, 6), 4),
    "small_cnn": ModelSpec("small_cnn", (8, 8), 4, options={"width": 8}),
    "functional": ModelSpec("functional", (2, 6, 6), 4),
}


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, factory in {"deep": deep, "images": images, "functional": Functional}.items():
        monkeypatch.setitem(MODELS, name, factory)


def some_state(spec: ModelSpec, seed: int) -> State:
    """Initial weights with norms and statistics that differ from unit to unit."""
    g = torch.Generator().manual_seed(seed)
    state = {k: v.detach().clone() for k, v in build_model(spec, seed).state_dict().items()}
    for name, tensor in state.items():
        if tensor.ndim == 1 and tensor.is_floating_point():
            state[name] = tensor + 0.5 * torch.rand(tensor.shape, generator=g)
    return state


def outputs(spec: ModelSpec, state: State) -> Tensor:
    model = build_model(spec)
    model.load_state_dict(state)
    with torch.no_grad():
        return model.eval()(torch.randn(20, *spec.in_shape, generator=torch.Generator().manual_seed(9)))


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("seed", range(3))
def test_a_permuted_copy_is_put_back_exactly(name: str, seed: int) -> None:
    spec = CHAINS[name]
    original = some_state(spec, seed)
    copy = permuted(name, original, 5 + 3 * seed)
    torch.testing.assert_close(outputs(spec, copy), outputs(spec, original), rtol=1e-4, atol=1e-5)  # hand-made right
    assert any(not torch.equal(copy[k], original[k]) for k in copy)
    aligned = align(spec, original, copy)
    assert aligned.state is not None and not aligned.reason
    assert aligned.state.keys() == original.keys()
    for key, tensor in original.items():
        assert torch.equal(aligned.state[key], tensor), key


@pytest.mark.parametrize("seed", range(3))
def test_a_permuted_copy_is_put_back_where_outgoing_weights_drown_the_incoming(seed: int) -> None:
    """A ReLU network scaled down in front and up behind is the same function, and harder to match."""
    spec = CHAINS["mlp"]
    original = some_state(spec, seed)
    for name, factor in {"1.weight": 0.02, "1.bias": 0.02, "3.weight": 50.0}.items():
        original[name] = original[name] * factor
    aligned = align(spec, original, permuted("mlp", original)).state
    assert aligned is not None and all(torch.equal(aligned[key], tensor) for key, tensor in original.items())


@pytest.mark.parametrize("name", CHAINS)
def test_another_model_stays_the_same_function_and_comes_nearer(name: str) -> None:
    spec = CHAINS[name]
    reference, other = some_state(spec, 1), some_state(spec, 2)
    aligned = align(spec, reference, other)
    assert aligned.state is not None and aligned.orders is not None
    torch.testing.assert_close(outputs(spec, aligned.state), outputs(spec, other), rtol=1e-4, atol=1e-5)
    names = [k for k, _ in build_model(spec).named_parameters()]

    def distance(state: State) -> float:
        return sum(float((state[k] - reference[k]).square().sum()) for k in names)

    assert distance(aligned.state) < distance(other) - 1e-3
    for order_of in aligned.orders.values():
        assert sorted(order_of.tolist()) == list(range(len(order_of)))
    again = align(spec, reference, aligned.state).state
    assert again is not None and distance(again) <= distance(aligned.state) + 1e-6
    if name == "small_cnn":  # groups of GroupNorm stay together
        for order_of in aligned.orders.values():
            each = len(order_of) // 4
            assert all(len(set(block // each)) == 1 for block in order_of.reshape(4, each))


def test_alignment_never_leads_away_from_the_reference() -> None:
    """Models that share their early training lie near each other in the order that they have."""
    spec = ModelSpec("mlp", (20,), 4, options={"hidden": [16, 14, 12]})
    for seed in range(10):
        reference, other = some_state(spec, seed), some_state(spec, 100 + seed)
        near = {k: v + 0.7 * other[k] for k, v in reference.items()}
        aligned = align(spec, reference, near).state
        assert aligned is not None
        gaps = [sum(float((s[k] - reference[k]).square().sum()) for k in reference) for s in (aligned, near)]
        assert gaps[0] <= gaps[1] * (1 + 1e-6)


def test_the_barrier_of_a_permuted_trained_model_vanishes() -> None:
    """Before: well above 0. After: 0 up to rounding. Between two seeds: lower than before."""
    whole = load_records("digits")
    table = whole.select(whole.record_ids[:300])
    spec = ModelSpec("mlp", (64,), 10, options={"hidden": [16, 14]})
    config = TrainingConfig.model_validate(
        {"steps": 150, "batch_size": 40, "learning_rate": 0.5, "checkpoints": 2, "noise": {"convention": "implicit"}}
    )
    jobs = [StackedJob(seed, np.arange(300)) for seed in range(2)]
    one, two = train_stacked(spec, table, config, jobs, 40 / 300).states()

    def barrier(first: State, second: State) -> float:
        return float(barrier_height(loss_along(spec, first, second, [table])[0]))

    copy = permuted("mlp", one)
    undone, moved = align(spec, one, copy).state, align(spec, one, two).state
    assert undone is not None and moved is not None
    assert barrier(copy, one) > 0.3 and barrier(undone, one) == pytest.approx(0.0, abs=1e-6)
    assert barrier(moved, one) < 0.7 * barrier(two, one)


def lambda_model(build: Callable[[], nn.Module]) -> Factory:
    return lambda in_shape, classes: build()


class Forward(nn.Module):
    """Any computation over named layers."""

    def __init__(self, run: Callable[[nn.Module, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def branching(m: nn.Module, x: Tensor) -> Tensor:
    return m.a(x) if x.sum() > 0 else m.b(x)  # type: ignore[operator]


REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "skip": (
        lambda: Forward(lambda m, x: m.c(m.a(x) + m.b(x)), a=nn.Linear(6, 8), b=nn.Linear(6, 8), c=nn.Linear(8, 4)),
        (6,), "more than one input",
    ),
    "branch": (lambda: Forward(branching, a=nn.Linear(6, 4), b=nn.Linear(6, 4)), (6,), "cannot be traced"),
    "twice": (
        lambda: Forward(lambda m, x: m.c(m.b(m.b(m.a(x)))), a=nn.Linear(6, 8), b=nn.Linear(8, 8), c=nn.Linear(8, 4)),
        (6,), "used twice",
    ),
    "recurrent": (
        lambda: Forward(lambda m, x: m.c(m.a(x)[0][:, -1]), a=nn.GRU(6, 8, batch_first=True), c=nn.Linear(8, 4)),
        (5, 6), "not understood",
    ),
    "attention": (
        lambda: Forward(
            lambda m, x: m.c(m.a(x).mean(1)), a=nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), c=nn.Linear(6, 4)
        ),
        (5, 6), "not understood",
    ),
    "grouped": (
        lambda: nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 8, 1, groups=2), nn.Flatten(), nn.Linear(8 * 36, 4)),
        (2, 6, 6), "has groups",
    ),
    "two groupings": (
        lambda: nn.Sequential(nn.Conv2d(2, 8, 1), nn.GroupNorm(2, 8), nn.GroupNorm(4, 8), nn.Flatten(),
                              nn.Linear(8 * 36, 4)),
        (2, 6, 6), "do not go with",
    ),
    "weight norm": (lambda: nn.Sequential(weight_norm(nn.Linear(6, 8)), nn.Linear(8, 4)), (6,), "not understood"),
    "softmax inside": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.Softmax(1), nn.Linear(8, 4)), (6,), "Softmax",
    ),
    "unused": (lambda: Forward(lambda m, x: m.a(x), a=nn.Linear(6, 4), b=nn.Linear(6, 4)), (6,), "outside its chain"),
    "outer": (
        lambda: nn.Sequential(nn.Conv2d(2, 8, 1), nn.Linear(6, 6), nn.Flatten(), nn.Linear(8 * 36, 4)),
        (2, 6, 6), "not understood",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_refused_with_a_reason(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build, shape, words = REFUSED[name]
    monkeypatch.setitem(MODELS, "refused", lambda_model(build))
    spec = ModelSpec("refused", shape, 4)
    state = dict(build_model(spec).state_dict())
    aligned = align(spec, state, state)
    assert aligned.state is None and words in aligned.reason


def test_shared_weights_tokens_and_residual_networks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def tied(in_shape: tuple[int, ...], classes: int) -> nn.Module:
        first, second = nn.Linear(6, 6), nn.Linear(6, 6)
        second.weight = first.weight
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(6, classes))

    monkeypatch.setitem(MODELS, "tied", tied)
    monkeypatch.setitem(MODELS, "tokens", lambda_model(lambda: nn.Sequential(nn.Embedding(9, 4), nn.Flatten())))
    for spec, words in (
        (ModelSpec("tied", (6,), 4), "share weights"),
        (ModelSpec("tokens", (1,), 4, integer_inputs=True), "tokens"),
        (ModelSpec("resnet18", (3, 8, 8), 4), "more than one input"),
    ):
        state = dict(build_model(spec).state_dict())
        assert words in align(spec, state, state).reason


def test_a_model_without_hidden_units_needs_no_alignment() -> None:
    spec = ModelSpec("mlp", (6,), 4, options={"hidden": []})
    state = some_state(spec, 0)
    aligned = align(spec, some_state(spec, 1), state)
    assert aligned.state == state and aligned.orders == {}
