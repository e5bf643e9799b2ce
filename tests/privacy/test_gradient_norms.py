"""Are the per-example gradient norms those of an autograd loop in float64, for any model, with no trace left behind?"""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from expunge.errors import UsageError
from expunge.privacy import clip_factors, gradient_norms, hooked_pass, layer_rules, per_example_gradient_norms
from expunge.privacy.functional_pass import norms_by_loop, norms_by_vmap
from expunge.privacy.per_example_loss import resolve_loss


def oracle(model: nn.Module, inputs: Tensor, targets: Tensor, loss: str = "cross_entropy") -> Tensor:
    """One backward pass per example on a float64 copy, written without any code under test."""
    model = copy.deepcopy(model).double().eval()
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    norms = []
    for x, y in zip(inputs, targets, strict=True):
        model.zero_grad()
        out = model(x[None])
        if loss == "cross_entropy":
            value = F.cross_entropy(out, y[None])
        elif loss == "binary":
            value = F.binary_cross_entropy_with_logits(out.flatten(), y.double().flatten())
        else:
            value = F.mse_loss(out.flatten(), y.double().flatten())
        if value.requires_grad:
            value.backward()
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        norms.append(torch.cat(grads).norm() if grads else torch.zeros((), dtype=torch.float64))
    return torch.stack(norms)


def way_of(model: nn.Module) -> set[str]:
    """The ways remembered for this model."""
    return set(gradient_norms.DECISIONS.of(model))


def assert_matches(model: nn.Module, inputs: Tensor, targets: Tensor, way: str, loss: str = "cross_entropy") -> None:
    expected = oracle(model, inputs, targets, loss)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        typed = copy.deepcopy(model).to(dtype)
        x = inputs.to(dtype) if inputs.is_floating_point() else inputs
        got = per_example_gradient_norms(typed, x, targets, loss)
        assert got.dtype == dtype and got.shape == (len(inputs),) and not got.requires_grad
        torch.testing.assert_close(got.double(), expected, rtol=tolerance, atol=0.0)
        assert way_of(typed) == {way}
        assert all(p.grad is None for p in typed.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in typed.modules())


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def images(n: int = 6, channels: int = 3, size: int = 8, classes: int = 5) -> tuple[Tensor, Tensor]:
    return torch.randn(n, channels, size, size, dtype=torch.float64), torch.randint(0, classes, (n,))


# --- the fast rules -------------------------------------------------------------------------------------------------


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(7, 16), nn.ReLU(), nn.Linear(16, 16, bias=False), nn.Tanh(), nn.Linear(16, 5))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.GroupNorm(4, 8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),
        nn.GroupNorm(1, 8, affine=True),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 12, (3, 2), dilation=(2, 1), padding="same", groups=2),
        nn.ReLU(),
        nn.Conv2d(12, 12, (2, 3), stride=(1, 3), padding=(0, 2), dilation=(1, 2)),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    )


class TextClassifier(nn.Module):
    def __init__(self, padding_idx: int | None = 0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6, padding_idx=padding_idx)
        self.norm = nn.LayerNorm(6)
        self.mix = nn.Linear(6, 40)
        self.pair = nn.LayerNorm((9, 40))
        self.head = nn.Linear(40, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = F.gelu(self.mix(self.norm(self.embedding(tokens))))
        return self.head(self.pair(hidden).mean(1))


def test_mlp_agrees_with_autograd() -> None:
    assert_matches(mlp(), torch.randn(9, 7, dtype=torch.float64), torch.randint(0, 5, (9,)), "rules")


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_cnn_with_group_norm_depthwise_strided_dilated_and_same_padding_agrees_with_autograd() -> None:
    assert_matches(cnn(), *images(), "rules")


@pytest.mark.parametrize("padding_idx", [None, 0])
def test_embedding_with_layer_norm_and_sequence_linear_agrees_with_autograd(padding_idx: int | None) -> None:
    tokens = torch.randint(0, 11, (6, 9))
    tokens[:, -3:] = 0
    assert_matches(TextClassifier(padding_idx), tokens, torch.randint(0, 5, (6,)), "rules")


def test_resnet18_with_eval_mode_batch_norm_agrees_with_autograd() -> None:
    from torchvision.models import resnet18

    model = resnet18(num_classes=5)
    for layer in model.modules():  # statistics that are not those of an untrained model
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.5, 2.0)
    x, y = images(4, size=32)
    expected = oracle(model, x, y)
    got = per_example_gradient_norms(model, x.float(), y)
    assert way_of(model) == {"rules"}
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=0.0)
    torch.testing.assert_close(per_example_gradient_norms(model.double(), x, y), expected, rtol=1e-10, atol=0.0)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_frozen_parameters_do_not_count() -> None:
    model = cnn()
    model[0].weight.requires_grad_(False)
    model[3].bias.requires_grad_(False)
    model[4].weight.requires_grad_(False)
    assert_matches(model, *images(), "rules")
    x, y = images()
    before = per_example_gradient_norms(model.double(), x, y)
    model[0].weight.requires_grad_(True)  # the decision depends on what trains
    assert (per_example_gradient_norms(model, x, y) > before).all()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_a_frozen_body_costs_no_pass_through_it_and_agrees() -> None:
    model = cnn()
    for layer in list(model)[:-1]:
        layer.requires_grad_(False)
    assert_matches(model, *images(), "rules")


def test_named_losses() -> None:
    x = torch.randn(6, 7, dtype=torch.float64)
    one, two = nn.Linear(7, 1), nn.Linear(7, 2)
    assert_matches(one, x, torch.randint(0, 2, (6,)), "rules", "binary")
    assert_matches(one, x, torch.randn(6), "rules", "mse")
    assert_matches(two, x, torch.randn(6, 2), "rules", "mse")


def test_sequence_losses_are_means_over_positions() -> None:
    model = nn.Conv2d(3, 4, 3, padding=1)
    x, y = torch.randn(3, 3, 5, 5, dtype=torch.float64), torch.randint(0, 4, (3, 5, 5))
    assert_matches(model, x, y, "rules")


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 2)),
    st.one_of(st.tuples(st.integers(0, 2), st.integers(0, 3)), st.just("valid")),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.booleans(),
)
def test_any_convolution_agrees_with_the_definition(groups, ins, outs, kernel, stride, padding, dilation, bias) -> None:  # type: ignore[no-untyped-def]
    layer = nn.Conv2d(groups * ins, groups * outs, kernel, stride, padding, dilation, groups, bias).double()
    model = nn.Sequential(layer, nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    x, y = torch.randn(3, groups * ins, 9, 8, dtype=torch.float64), torch.randint(0, 4 * groups * outs, (3,))
    loss = resolve_loss("cross_entropy")
    fast = hooked_pass.norms_by_rules(model, hooked_pass.covered_layers(model), x, y, loss)
    torch.testing.assert_close(fast, oracle(model, x, y), rtol=1e-10, atol=1e-14)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 9), st.integers(1, 9), st.integers(0, 10_000))
def test_both_kernels_are_the_norm_of_the_sum_of_outer_products(n, t, i, o, seed) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, t, i, dtype=torch.float64, generator=generator)
    g = torch.randn(n, t, o, dtype=torch.float64, generator=generator)
    expected = torch.einsum("nti,nto->nio", a, g).square().sum((1, 2))
    torch.testing.assert_close(layer_rules._materialised(a, g), expected)
    torch.testing.assert_close(layer_rules._gram(a, g)[0], expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(layer_rules.outer_product_norms(a, g), expected, rtol=1e-10, atol=0.0)


# --- accuracy where squares cancel or underflow ---------------------------------------------------------------------


def test_tiny_losses_keep_their_relative_accuracy_in_float32() -> None:
    model = mlp()
    with torch.no_grad():
        model[-1].bias += torch.tensor([60.0, 0, 0, 0, 0])  # loss of class 0 near e^-60: squares underflow in float32
    x = torch.randn(8, 7)
    y = torch.zeros(8, dtype=torch.long)
    got = per_example_gradient_norms(model, x, y)
    expected = oracle(model, x, y)
    # log-softmax in float32 rounds p - 1 for the true class to 0, so compare with the same gradient at the logits
    assert (expected < 1e-20).all() and (got > 0).all()
    assert got.double().median() < 1e-20
    loop = norms_by_loop(model.eval(), x, y, resolve_loss("cross_entropy"))
    torch.testing.assert_close(got.double(), loop, rtol=1e-5, atol=0.0)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_scaled_down_losses_scale_the_norms_exactly() -> None:
    model, (x, y) = cnn(), images()
    x = x.float()

    def tiny(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="none") * 2.0**-100

    got = per_example_gradient_norms(model, x, y, tiny)
    expected = oracle(model, x, y) * 2.0**-100
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_positions_that_cancel_keep_their_accuracy(dtype: torch.dtype) -> None:
    # rows come in pairs of opposite slope; what is left is 1e-6 (float64) or 1e-2 (float32) of what cancels
    rest = 1e-6 if dtype == torch.float64 else 1e-2
    a = torch.randn(3, 4, 64, dtype=torch.float64)
    g = torch.randn(3, 4, 64, dtype=torch.float64)
    a[:, 1], a[:, 3] = a[:, 0], a[:, 2]
    g[:, 1], g[:, 3] = -g[:, 0] * (1 + rest), -g[:, 2] * (1 - rest)
    a, g = a.to(dtype), g.to(dtype)
    exact = torch.einsum("nti,nto->nio", a.double(), g.double()).square().sum((1, 2)).sqrt()
    got = layer_rules.outer_product_norms(a, g).sqrt()
    torch.testing.assert_close(got, exact, rtol=1e-5 if dtype == torch.float32 else 1e-9, atol=0.0)
    if dtype == torch.float64:  # control: the Gram form alone is wrong here, and says so
        gram, flagged = layer_rules._gram(a, g)
        assert flagged.all()
        assert ((gram.sqrt() - exact).abs() / exact).max() > 1e-8


def test_an_exact_cancellation_is_zero_to_rounding_and_never_negative() -> None:
    a = torch.randn(2, 1, 64).expand(2, 2, 64)
    g = torch.randn(2, 1, 64) * torch.tensor([1.0, -1.0])[None, :, None]
    left = layer_rules.outer_product_norms(a, g)
    assert (left >= 0).all()
    assert (left.sqrt() < 1e-6 * a[:, 0].norm(dim=1) * g[:, 0].norm(dim=1)).all()


# --- everything else, exactly ---------------------------------------------------------------------------------------


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


class Raw(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(7))
        self.head = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x * self.scale)


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


def _vector(n: int = 6) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 7, dtype=torch.float64), torch.randint(0, 5, (n,))


def _sequence(n: int = 6, t: int = 3, d: int = 4) -> tuple[Tensor, Tensor]:
    return torch.randn(n, t, d, dtype=torch.float64), torch.randint(0, 5, (n,))


def test_weight_tying() -> None:
    assert_matches(Tied(), torch.randint(0, 11, (6, 4)), torch.randint(0, 11, (6,)), "vmap")


@pytest.mark.parametrize("build", [Twice, Raw, Functional, Interacting])
def test_models_the_rules_do_not_cover_fall_back_and_agree(build: type[nn.Module]) -> None:
    assert_matches(build(), *_vector(), "vmap")


def test_functional_use_of_a_weight_is_caught_even_where_it_matters_little() -> None:
    model, (x, y) = Functional(size=1e-3), _vector()
    expected = oracle(model, x, y)
    torch.testing.assert_close(per_example_gradient_norms(model, x.float(), y).double(), expected, rtol=1e-5, atol=0)
    rules = hooked_pass.covered_layers(model)  # control: the rules alone accept this model, and are wrong
    fast = hooked_pass.norms_by_rules(model, rules, x.float(), y, resolve_loss("cross_entropy"))
    assert ((fast - expected).abs() / expected).max() > 1e-5


def test_interacting_examples_get_the_gradient_they_have_alone() -> None:
    model, (x, y) = Interacting().double(), _vector()
    together = per_example_gradient_norms(model, x, y)
    alone = torch.cat([per_example_gradient_norms(model, x[i : i + 1], y[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(together, alone)
    assert way_of(model) == {"vmap"}


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
    model, (x, y) = Gated().double(), _vector()
    for _ in range(2):
        torch.testing.assert_close(per_example_gradient_norms(model, x, y), oracle(model, x, y))
        with torch.no_grad():
            model.scale.weight.fill_(1.0)


def test_rounding_in_float32_is_not_taken_for_disagreement() -> None:
    model, (x, y) = mlp(), _vector(40)
    y = torch.zeros_like(y)
    with torch.no_grad():
        model[-1].bias[0] += 15.0  # losses near 1e-6: a float32 logit has no digits left to tell them apart
    per_example_gradient_norms(model, x.float(), y)
    assert way_of(model) == {"rules"}


def test_a_single_example_decides_nothing() -> None:
    model, (x, y) = mlp(), (torch.randn(1, 7), torch.tensor([2]))
    per_example_gradient_norms(model, x, y)
    assert way_of(model) == set()


@pytest.mark.parametrize("n", [3, 6])
def test_an_axis_as_long_as_the_batch_is_not_taken_for_it(n: int) -> None:
    assert_matches(PositionFirst(), *_sequence(n=n, t=3), "vmap")


def test_recurrent_network() -> None:
    model, (x, y) = Recurrent(), _sequence()
    expected = oracle(model, x, y)
    torch.testing.assert_close(per_example_gradient_norms(model.double(), x, y), expected, rtol=1e-10, atol=0.0)
    assert way_of(model) <= {"vmap", "loop"}


def test_attention_in_eval_mode_and_its_fused_kernel_switch_restored() -> None:
    torch.backends.mha.set_fastpath_enabled(True)
    model, (x, y) = Attention(), _sequence(d=8)
    expected = oracle(model, x, y)
    torch.testing.assert_close(per_example_gradient_norms(model.double(), x, y), expected, rtol=1e-10, atol=0.0)
    assert torch.backends.mha.get_fastpath_enabled()


def test_data_dependent_branches_go_through_the_loop() -> None:
    assert_matches(Branching(), *_vector(), "loop")


def test_subclasses_replaced_forwards_and_parametrizations_have_no_rule() -> None:
    custom = nn.Sequential(CustomLinear(7, 5))
    assert_matches(custom, *_vector(), "vmap")
    replaced = nn.Linear(7, 5)
    replaced.forward = lambda x: F.linear(x, replaced.weight.tanh())  # type: ignore[method-assign]
    assert layer_rules.find_rule(replaced) is None
    normalised = nn.Sequential(parametrize_weight(nn.Linear(7, 7)), nn.Tanh(), nn.Linear(7, 5))
    assert_matches(normalised, *_vector(), "vmap")


def parametrize_weight(layer: nn.Linear) -> nn.Module:
    class Squash(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return torch.tanh(weight)

    return parametrize.register_parametrization(layer, "weight", Squash())


def test_circular_padding_and_embedding_options_have_no_rule_and_agree() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.Flatten(), nn.Linear(256, 5))
    assert_matches(model, *images(), "vmap")
    for options in ({"max_norm": 0.5}, {"scale_grad_by_freq": True}, {"sparse": True}):
        assert layer_rules.find_rule(nn.Embedding(5, 3, **options)) is None


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

    model, (x, y) = Overwrites(), _vector()
    with pytest.raises(hooked_pass.NotCovered, match="overwritten"):
        hooked_pass.norms_by_rules(
            model.double(), hooked_pass.covered_layers(model), x, y, resolve_loss("cross_entropy")
        )


def test_nested_outputs_with_a_callable_loss() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(7, 5)

        def forward(self, x: Tensor) -> dict[str, tuple[Tensor]]:
            return {"logits": (self.head(x),)}

    def loss(outputs: dict[str, tuple[Tensor]], targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs["logits"][0], targets, reduction="none")

    model, (x, y) = Nested().double(), _vector()
    plain = nn.Sequential(model.head)
    torch.testing.assert_close(per_example_gradient_norms(model, x, y, loss), oracle(plain, x, y))
    with pytest.raises(UsageError, match="returns a dict"):
        per_example_gradient_norms(model, x, y)


def test_a_layer_under_no_grad_and_an_unused_layer_count_nothing() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head, self.spare = nn.Linear(7, 7), nn.Linear(7, 5), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                h = self.body(x)
            return self.head(h)

    model, (x, y) = Cut().double(), _vector()
    torch.testing.assert_close(per_example_gradient_norms(model, x, y), oracle(model, x, y))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_vmap_and_loop_agree_with_each_other() -> None:
    model, (x, y) = cnn().double().eval(), images()
    loss = resolve_loss("cross_entropy")
    torch.testing.assert_close(norms_by_vmap(model, x, y, loss, 2), norms_by_loop(model, x, y, loss))


# --- what is left behind, and what is refused -----------------------------------------------------------------------


def test_modes_gradients_buffers_and_random_state_are_left_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(7, 7), nn.BatchNorm1d(7), nn.Dropout(0.5), nn.Linear(7, 5)).train()
    model[1].eval()
    model[3].weight.grad = torch.ones(5, 7)
    state = copy.deepcopy(model.state_dict())
    x, y = _vector()
    random_state = torch.get_rng_state()
    first = per_example_gradient_norms(model, x.float(), y)
    assert torch.equal(first, per_example_gradient_norms(model, x.float(), y))
    assert torch.equal(random_state, torch.get_rng_state())
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
    assert torch.equal(model[3].weight.grad, torch.ones(5, 7))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_model_that_counts_its_calls_does_not_notice() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(7, 5)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.head(x)

    model, (x, y) = Counting(), _vector()
    assert_matches(model, x, y, "rules")
    assert model.calls == 0


@pytest.mark.parametrize("where", ["model", "loss"])
def test_nothing_is_left_behind_by_an_exception(where: str) -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(7, 7), nn.Linear(7, 5)

        def forward(self, x: Tensor) -> Tensor:
            h = self.body(x)
            if where == "model":
                raise RuntimeError("broken")
            return self.head(h)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("broken")

    model, (x, y) = Failing().train(), _vector()
    with pytest.raises(RuntimeError, match="broken"):
        per_example_gradient_norms(model, x.float(), y, loss)
    assert all(m.training for m in model.modules())
    assert not any(m._forward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_works_under_no_grad_and_inference_mode() -> None:
    model, (x, y) = mlp().double(), _vector()
    expected = per_example_gradient_norms(model, x, y)
    with torch.no_grad():
        torch.testing.assert_close(per_example_gradient_norms(model, x, y), expected)
    with torch.inference_mode():
        torch.testing.assert_close(per_example_gradient_norms(model, x + 0, y), expected)


@pytest.mark.parametrize("build", [mlp, Raw])
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_chunks_do_not_change_the_norms(build, chunk: int) -> None:  # type: ignore[no-untyped-def]
    model, (x, y) = build().double(), _vector(9)
    torch.testing.assert_close(per_example_gradient_norms(model, x, y, chunk=chunk), oracle(model, x, y))


def test_no_examples_give_no_norms() -> None:
    assert per_example_gradient_norms(mlp(), torch.zeros(0, 7), torch.zeros(0, dtype=torch.long)).shape == (0,)


def test_norms_that_are_not_finite_are_returned() -> None:
    x = torch.randn(4, 7)
    x[2, 0] = float("nan")
    norms = per_example_gradient_norms(mlp(), x, torch.zeros(4, dtype=torch.long))
    assert norms.isnan().tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(5, track_running_stats=False), nn.SyncBatchNorm(5, track_running_stats=False)]
)
def test_batch_norm_without_running_statistics_is_refused(layer: nn.Module) -> None:
    with pytest.raises(UsageError, match="GroupNorm"):
        per_example_gradient_norms(nn.Sequential(nn.Linear(7, 5), layer), *_vector())


def test_losses_that_are_not_per_example_are_refused() -> None:
    model, (x, y) = mlp().double(), _vector()
    for wrong in (F.cross_entropy, nn.CrossEntropyLoss(), lambda o, t: o, lambda o, t: o[:2, 0]):
        with pytest.raises(UsageError, match="one loss per example"):
            per_example_gradient_norms(model, x, y, wrong)
        with pytest.raises(UsageError, match="one loss per example"):
            per_example_gradient_norms(Raw().double(), x, y, wrong)
    with pytest.raises(UsageError, match="cross_entropy"):
        per_example_gradient_norms(model, x, y, "cross_entropi")
    with pytest.raises(UsageError, match="one target per output"):
        per_example_gradient_norms(model, x, y, "mse")


def test_other_wrong_arguments_are_refused() -> None:
    model, (x, y) = mlp().double(), _vector()
    with pytest.raises(UsageError, match="first axis"):
        per_example_gradient_norms(model, x, y[:3])
    with pytest.raises(UsageError, match="chunk"):
        per_example_gradient_norms(model, x, y, chunk=0)
    with pytest.raises(UsageError, match="no trainable"):
        per_example_gradient_norms(mlp().requires_grad_(False), x, y)
    with pytest.raises(UsageError, match="lazy"):
        per_example_gradient_norms(nn.LazyLinear(5), x, y)
    with pytest.raises(UsageError, match=r"nn\.Module"):
        per_example_gradient_norms(lambda x: x, x, y)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="tensors"):
        per_example_gradient_norms(model, x.numpy(), y)  # type: ignore[arg-type]


def test_a_second_rule_for_a_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="already"):
        layer_rules.rule_for(nn.Linear)(lambda layer, a, g: a)


def test_decisions_do_not_keep_models_alive() -> None:
    model = mlp()
    per_example_gradient_norms(model, *(t.float() if t.is_floating_point() else t for t in _vector()))
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


def test_clip_factors_bound_every_norm() -> None:
    norms = torch.tensor([0.0, 0.5, 1.0, 4.0, float("inf"), float("nan")])
    assert clip_factors(norms, 1.0)[:5].tolist() == [1.0, 1.0, 1.0, 0.25, 0.0]
    assert clip_factors(norms, 1.0)[5].isnan()
    for bound in (0.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="bound"):
            clip_factors(norms, bound)
