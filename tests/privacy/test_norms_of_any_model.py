"""Are models that the fast rules do not cover recognised, and are their norms still exactly those of autograd?"""

from __future__ import annotations

import pytest
import torch
from gradient_cases import Raw, assert_matches, cnn, images, mlp, oracle, sequences, uses_rules, vectors
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from expunge.privacy import per_example_gradient_norms
from expunge.privacy.functional_pass import VMAP_FAILURES, norms_by_loop, norms_by_vmap
from expunge.privacy.losses import cross_entropy
from expunge.privacy.one_pass import norms_in_one_pass
from expunge.privacy.parameter_uses import NotCovered


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embedding(tokens).mean(1))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(7, 7), nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.inner(torch.tanh(self.inner(x)))))


class Functional(nn.Module):
    """Uses a layer's weight once through the layer and once behind its back: no hook can see that."""

    def __init__(self, size: float = 1.0) -> None:
        super().__init__()
        self.body, self.head, self.size = nn.Linear(7, 7), nn.Linear(7, 5), size

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(x))) + self.size * F.linear(x, self.head.weight)


class Interacting(nn.Module):
    """Subtracts the mean of the batch: a record's gradient is then defined alone, in a batch of one."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(7, 7), nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        return self.head(torch.tanh(h - 0.5 * h.mean(0, keepdim=True)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.gru(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).mean(1))


class Branching(nn.Module):
    """Looks at the values: cannot be vectorised."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = Raw(), Raw()

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) if x.sum() > 0 else self.b(x)


class PositionFirst(nn.Module):
    """Hands its layer [positions, batch, features]; with as many positions as records no shape gives it away."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(x.transpose(0, 1))).mean(0))


class CustomLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2 + self.weight.sum()


def test_weight_tying() -> None:
    assert_matches(Tied(), torch.randint(0, 11, (6, 4)), torch.randint(0, 11, (6,)))


@pytest.mark.parametrize("build", [Twice, Raw, Functional])
def test_repeated_raw_and_functional_uses_agree(build: type[nn.Module]) -> None:
    assert_matches(build(), *vectors())


def test_interacting_examples_fall_back_and_agree() -> None:
    assert_matches(Interacting(), *vectors(), rules=False)


class Hidden(nn.Module):
    """Uses a weight once through its layer and once where no torch function call shows it."""

    def __init__(self, size: float = 1e-3) -> None:
        super().__init__()
        self.body, self.head, self.size = nn.Linear(7, 7), nn.Linear(7, 5), size

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(x))) + self.size * _Product.apply(x, self.head.weight)


class _Product(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return x @ weight.T

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, g):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        return g @ weight, g.T @ x


def test_a_use_that_no_function_call_shows_is_found_in_the_graph() -> None:
    model, (x, y) = Hidden(), vectors()
    assert_matches(model, x, y, rules=False)
    with pytest.raises(NotCovered, match=r"head\.weight is used in a way that no function call shows"):
        norms_in_one_pass(model.double(), cross_entropy, x, y)


def test_interacting_examples_get_the_gradient_they_have_alone() -> None:
    model, (x, y) = Interacting().double(), vectors()
    together = per_example_gradient_norms(model, x, y)
    alone = torch.cat([per_example_gradient_norms(model, x[i : i + 1], y[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(together, alone)
    assert not uses_rules(model, x, y)


class Gated(nn.Module):
    """The use of the weight behind the layer's back is switched off at first."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(7, 5)
        self.register_buffer("gate", torch.zeros(()))
        self.scale = nn.LayerNorm(5)
        nn.init.zeros_(self.scale.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x) + self.scale(F.linear(x, self.head.weight.detach())) @ self.head.weight @ self.head.weight.T


def test_the_rules_are_checked_again_when_the_weights_change() -> None:
    model, (x, y) = Gated().double(), vectors()
    for _ in range(2):
        torch.testing.assert_close(per_example_gradient_norms(model, x, y), oracle(model, x, y))
        with torch.no_grad():
            model.scale.weight.fill_(1.0)


def test_a_single_example_cannot_vouch_for_the_rules_and_is_right() -> None:
    model, (x, y) = mlp(), (torch.randn(1, 7), torch.tensor([2]))
    assert not uses_rules(model, x, y)
    torch.testing.assert_close(per_example_gradient_norms(model, x, y).double(), oracle(model, x, y), rtol=1e-5, atol=0)


@pytest.mark.parametrize("n", [3, 6])
def test_an_axis_as_long_as_the_batch_is_not_taken_for_it(n: int) -> None:
    assert_matches(PositionFirst(), *sequences(n=n, t=3))


def test_recurrent_network() -> None:
    assert_matches(Recurrent(), *sequences())


def test_attention_in_eval_mode_and_its_fused_kernel_switch_restored() -> None:
    torch.backends.mha.set_fastpath_enabled(True)
    model, (x, y) = Attention(), sequences(d=8)
    expected = oracle(model, x, y)
    torch.testing.assert_close(per_example_gradient_norms(model.double(), x, y), expected, rtol=1e-10, atol=0.0)
    assert torch.backends.mha.get_fastpath_enabled()


def test_data_dependent_branches_go_through_the_loop() -> None:
    model, (x, y) = Branching().double(), vectors()
    assert_matches(model, x, y, rules=False)
    with pytest.raises(VMAP_FAILURES):
        norms_by_vmap(model, cross_entropy, x, y, 6)


def test_subclasses_replaced_forwards_and_parametrizations_have_no_rule() -> None:
    custom = nn.Sequential(CustomLinear(7, 5))
    assert_matches(custom, *vectors(), rules=False)
    replaced = nn.Linear(7, 5)
    replaced.forward = lambda x: F.linear(x, replaced.weight.tanh())  # type: ignore[method-assign]
    with pytest.raises(NotCovered, match="weight is used by tanh"):
        norms_in_one_pass(replaced, cross_entropy, torch.randn(6, 7), torch.randint(0, 5, (6,)))
    normalised = nn.Sequential(parametrize_weight(nn.Linear(7, 7)), nn.Tanh(), nn.Linear(7, 5))
    assert_matches(normalised, *vectors(), rules=False)


def parametrize_weight(layer: nn.Linear) -> nn.Module:
    class Squash(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return torch.tanh(weight)

    return parametrize.register_parametrization(layer, "weight", Squash())


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_convolutions_that_do_not_pad_with_zeros_agree(mode: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode), nn.Flatten(), nn.Linear(256, 5))
    assert_matches(model, *images())


def test_sparse_embedding_and_one_that_renormalises_agree_and_stay_as_they_were() -> None:
    tokens, y = torch.randint(0, 11, (5, 4)), torch.randint(0, 5, (5,))
    for options in ({"sparse": True}, {"max_norm": 0.5}):
        embedding = nn.Embedding(11, 6, **options)
        model = nn.Sequential(embedding, nn.Flatten(), nn.Linear(24, 5)).double()
        dense = nn.Sequential(nn.Embedding(11, 6), nn.Flatten(), nn.Linear(24, 5)).double()
        dense.load_state_dict(model.state_dict())
        if "max_norm" in options:
            with torch.no_grad():
                dense[0].weight.copy_(torch.renorm(dense[0].weight, 2, 0, 0.5))
        before = embedding.weight.detach().clone()
        got = per_example_gradient_norms(model, tokens, y)
        assert torch.equal(embedding.weight, before)
        torch.testing.assert_close(got, oracle(dense, tokens, y), rtol=1e-6, atol=0.0)


def test_in_place_change_of_a_layers_input_is_seen() -> None:
    class Overwrites(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(7, 5)

        def forward(self, x: Tensor) -> Tensor:
            h = x * 1
            out = self.head(h)
            h.zero_()
            return out

    model, (x, y) = Overwrites(), vectors()
    with pytest.raises(NotCovered, match="overwritten"):
        norms_in_one_pass(model.double(), cross_entropy, x, y)


def test_a_layer_under_no_grad_and_an_unused_layer_count_nothing() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head, self.spare = nn.Linear(7, 7), nn.Linear(7, 5), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                h = self.body(x)
            return self.head(h)

    assert_matches(Cut(), *vectors())


def test_frozen_and_unused_parameters_count_nothing_without_rules_either() -> None:
    model = Twice()
    model.spare = nn.Parameter(torch.randn(3))
    model.inner.weight.requires_grad_(False)
    model.head.bias.requires_grad_(False)
    assert_matches(model, *vectors())


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_vmap_and_loop_agree_with_each_other() -> None:
    model, (x, y) = cnn().double().eval(), images()
    torch.testing.assert_close(norms_by_vmap(model, cross_entropy, x, y, 2), norms_by_loop(model, cross_entropy, x, y))
