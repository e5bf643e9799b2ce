"""Do gradient norms leave the model as it was, and are inputs they cannot be computed from refused in plain words?"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from gradient_cases import Raw, assert_matches, mlp, oracle, vectors
from torch import Tensor, nn

from expunge.errors import UsageError
from expunge.privacy import NormsNotFinite, per_example_gradient_norms


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_modes_gradients_buffers_hooks_flags_and_random_state_are_left_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(7, 7), nn.BatchNorm1d(7), nn.Dropout(0.5), nn.Linear(7, 5)).train()
    model[1].eval()
    model[3].weight.grad = torch.ones(5, 7)
    model[0].bias.requires_grad_(False)
    seen: list[Tensor] = []
    handle = model[2].register_forward_hook(lambda layer, args, output: seen.append(output))
    state = copy.deepcopy(model.state_dict())
    x, y = vectors()
    random_state = torch.get_rng_state()
    first = per_example_gradient_norms(model, x.float(), y)
    assert torch.equal(first, per_example_gradient_norms(model, x.float(), y))
    assert torch.equal(random_state, torch.get_rng_state())
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
    assert torch.equal(model[3].weight.grad, torch.ones(5, 7))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["0.bias"]
    assert all(p.grad is None for name, p in model.named_parameters() if name != "3.weight")
    assert [len(m._forward_hooks) for m in model.modules()] == [0, 0, 0, 1, 0] and handle.id in model[2]._forward_hooks


def test_a_model_that_counts_its_calls_does_not_notice() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(7, 5)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.head(x)

    model, (x, y) = Counting(), vectors()
    assert_matches(model, x, y)
    assert model.calls == 0


def test_nothing_is_left_behind_by_an_exception() -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(7, 7), nn.Linear(7, 5)

        def forward(self, x: Tensor) -> Tensor:
            self.body(x)
            raise RuntimeError("broken")

    model, (x, y) = Failing().train(), vectors()
    with pytest.raises(RuntimeError, match="broken"):
        per_example_gradient_norms(model, x.float(), y)
    assert all(m.training for m in model.modules())
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_works_under_no_grad_and_inference_mode() -> None:
    model, (x, y) = mlp().double(), vectors()
    expected = per_example_gradient_norms(model, x, y)
    with torch.no_grad():
        torch.testing.assert_close(per_example_gradient_norms(model, x, y), expected)
    with torch.inference_mode():
        torch.testing.assert_close(per_example_gradient_norms(model, x + 0, y), expected)


@pytest.mark.parametrize("build", [mlp, Raw])
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_chunks_do_not_change_the_norms(build, chunk: int) -> None:  # type: ignore[no-untyped-def]
    model, (x, y) = build().double(), vectors(9)
    torch.testing.assert_close(per_example_gradient_norms(model, x, y, chunk=chunk), oracle(model, x, y))


@pytest.mark.parametrize("build", [mlp, Raw])
def test_no_examples_give_no_norms_and_one_gives_one(build) -> None:  # type: ignore[no-untyped-def]
    model = build().double()
    none = per_example_gradient_norms(model, torch.zeros(0, 7), torch.zeros(0, dtype=torch.long))
    assert none.shape == (0,) and none.dtype == torch.float64
    x, y = vectors(1)
    torch.testing.assert_close(per_example_gradient_norms(model, x, y), oracle(model, x, y), rtol=1e-10, atol=0.0)


@pytest.mark.parametrize("build", [mlp, Raw])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_an_error_that_names_the_rows(build, bad: float) -> None:  # type: ignore[no-untyped-def]
    model, x, y = build(), torch.randn(5, 7), torch.zeros(5, dtype=torch.long)
    x[2, 0] = x[4, 1] = bad
    with pytest.raises(NormsNotFinite, match=r"2 record\(s\) is NaN or infinite; the first is at row 2") as caught:
        per_example_gradient_norms(model, x, y)
    assert caught.value.rows == (2, 4)
    with torch.no_grad():
        next(model.parameters()).fill_(bad)
    with pytest.raises(NormsNotFinite, match=r"5 record\(s\)"):
        per_example_gradient_norms(model, torch.randn(5, 7), y)


class Shaped(nn.Module):
    """Returns whatever `shape` makes of its logits."""

    def __init__(self, shape: Callable[[Tensor], object], raw: bool) -> None:
        super().__init__()
        self.head, self.shape = nn.Linear(7, 5), shape
        self.scale = nn.Parameter(torch.ones(5), requires_grad=raw)

    def forward(self, x: Tensor) -> object:
        return self.shape(self.head(x) * self.scale)


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    ("shape", "named"),
    [
        (lambda out: out[:, 0], "model returned"),
        (lambda out: out[:, :, None], "model returned"),
        (lambda out: torch.cat([out, out]), "model returned"),
        (lambda out: {"logits": out}, "model returned dict"),
        (lambda out: out[:, :2], r"outside 0\.\.1"),
    ],
)
def test_a_model_of_the_wrong_shape_is_refused(shape, named: str, raw: bool) -> None:  # type: ignore[no-untyped-def]
    x = torch.randn(6, 7)
    with pytest.raises(UsageError, match=named):
        per_example_gradient_norms(Shaped(shape, raw), x, torch.full((6,), 4))


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(5, track_running_stats=False), nn.SyncBatchNorm(5, track_running_stats=False)]
)
def test_batch_norm_without_running_statistics_is_refused(layer: nn.Module) -> None:
    with pytest.raises(UsageError, match="GroupNorm"):
        per_example_gradient_norms(nn.Sequential(nn.Linear(7, 5), layer), *vectors())


def test_other_wrong_arguments_are_refused() -> None:
    model, (x, y) = mlp().double(), vectors()
    with pytest.raises(UsageError, match="n the same"):
        per_example_gradient_norms(model, x, y[:3])
    for wrong in (y[:, None], torch.zeros(6, 7)):
        with pytest.raises(UsageError):
            per_example_gradient_norms(model, x, wrong)
    with pytest.raises(UsageError, match="chunk"):
        per_example_gradient_norms(model, x, y, chunk=0)
    with pytest.raises(UsageError, match="no trainable"):
        per_example_gradient_norms(mlp().requires_grad_(False), x, y)
    with pytest.raises(UsageError, match=r"nn\.Module"):
        per_example_gradient_norms(lambda x: x, x, y)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="tensors"):
        per_example_gradient_norms(model, x.numpy(), y)  # type: ignore[arg-type]
