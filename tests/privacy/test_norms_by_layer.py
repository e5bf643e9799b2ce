"""Are the fast rules for known layers right, alone and together, also where squares cancel or underflow?"""

from __future__ import annotations

import pytest
import torch
from gradient_cases import assert_matches, cnn, images, mlp, oracle, uses_rules, vectors
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.models import ModelSpec, build_model
from expunge.privacy import layer_handlers, norm_kernels, parameter_uses, per_example_gradient_norms
from expunge.privacy.functional_pass import norms_by_loop
from expunge.privacy.kernel_choice import KernelChoice
from expunge.privacy.losses import cross_entropy
from expunge.privacy.one_pass import norms_in_one_pass
from expunge.privacy.use_gradients import outer_kernels


def outer_product_norms(a: Tensor, g: Tensor) -> Tensor:
    return KernelChoice().run("", "", outer_kernels(a, g))


pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


SHIPPED = [
    ModelSpec("mlp", (7,), 5, options={"hidden": [16, 8]}),
    ModelSpec("mlp", (3, 8, 8), 5),
    ModelSpec("small_cnn", (1, 8, 8), 5),
    ModelSpec("small_cnn", (64,), 5, options={"width": 8, "groups": 2}),
    ModelSpec("resnet18", (3, 8, 8), 5),
    ModelSpec("resnet18", (3, 8, 8), 5, options={"norm": "batch"}),
]


@pytest.mark.parametrize("spec", SHIPPED, ids=lambda spec: f"{spec.name}-{spec.in_shape}-{spec.options}")
def test_every_model_that_ships_agrees_with_autograd(spec: ModelSpec) -> None:
    model = build_model(spec, seed=1)
    for layer in model.modules():  # statistics that are not those of an untrained model
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.5, 2.0)
    n = 3 if spec.name == "resnet18" else 9
    assert_matches(model, torch.randn(n, *spec.in_shape, dtype=torch.float64), torch.randint(0, 5, (n,)))


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
    assert_matches(mlp(), torch.randn(9, 7, dtype=torch.float64), torch.randint(0, 5, (9,)))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_cnn_with_group_norm_depthwise_strided_dilated_and_same_padding_agrees_with_autograd() -> None:
    assert_matches(cnn(), *images())


@pytest.mark.parametrize("padding_idx", [None, 0])
def test_embedding_with_layer_norm_and_sequence_linear_agrees_with_autograd(padding_idx: int | None) -> None:
    tokens = torch.randint(0, 11, (6, 9))
    tokens[:, -3:] = 0
    assert_matches(TextClassifier(padding_idx), tokens, torch.randint(0, 5, (6,)))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_frozen_parameters_do_not_count() -> None:
    model = cnn()
    model[0].weight.requires_grad_(False)
    model[3].bias.requires_grad_(False)
    model[4].weight.requires_grad_(False)
    assert_matches(model, *images())
    x, y = images()
    before = per_example_gradient_norms(model.double(), x, y)
    model[0].weight.requires_grad_(True)  # the decision depends on what trains
    assert (per_example_gradient_norms(model, x, y) > before).all()


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_a_frozen_body_costs_no_pass_through_it_and_agrees() -> None:
    model = cnn()
    for layer in list(model)[:-1]:
        layer.requires_grad_(False)
    assert_matches(model, *images())


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_with_and_without_its_parameters(affine: bool, bias: bool) -> None:
    model = nn.Sequential(
        nn.Linear(7, 6),
        nn.LayerNorm(6, elementwise_affine=affine, bias=bias),
        nn.Tanh(),
        nn.Linear(6, 5, bias=bias),
    )
    assert_matches(model, *vectors())


def test_a_word_that_an_example_repeats_counts_once_with_the_sum_of_its_slopes() -> None:
    model = nn.Sequential(nn.Embedding(4, 6, padding_idx=3), nn.Flatten(), nn.Linear(18, 5))
    tokens = torch.tensor([[0, 0, 0], [1, 0, 1], [3, 3, 3], [2, 3, 2]])
    assert_matches(model, tokens, torch.tensor([0, 1, 2, 3]))


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
    fast = norms_in_one_pass(model, cross_entropy, x, y)
    torch.testing.assert_close(fast, oracle(model, x, y), rtol=1e-10, atol=1e-14)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 9), st.integers(1, 9), st.integers(0, 10_000))
def test_both_kernels_are_the_norm_of_the_sum_of_outer_products(n, t, i, o, seed) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, t, i, dtype=torch.float64, generator=generator)
    g = torch.randn(n, t, o, dtype=torch.float64, generator=generator)
    expected = torch.einsum("nti,nto->nio", a, g).square().sum((1, 2))
    torch.testing.assert_close(norm_kernels.outer_materialised(a, g), expected)
    torch.testing.assert_close(norm_kernels.outer_gram(a, g)[0], expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(outer_product_norms(a, g), expected, rtol=1e-10, atol=0.0)


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
    loop = norms_by_loop(model.eval(), cross_entropy, x, y)
    torch.testing.assert_close(got.double(), loop, rtol=1e-5, atol=0.0)


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
    got = outer_product_norms(a, g).sqrt()
    torch.testing.assert_close(got, exact, rtol=1e-5 if dtype == torch.float32 else 1e-9, atol=0.0)
    if dtype == torch.float64:  # control: the Gram form alone is wrong here, and says so
        gram, flagged = norm_kernels.outer_gram(a, g)
        assert flagged.all()
        assert ((gram.sqrt() - exact).abs() / exact).max() > 1e-8


def test_an_exact_cancellation_is_zero_to_rounding_and_never_negative() -> None:
    a = torch.randn(2, 1, 64).expand(2, 2, 64)
    g = torch.randn(2, 1, 64) * torch.tensor([1.0, -1.0])[None, :, None]
    left = outer_product_norms(a, g)
    assert (left >= 0).all()
    assert (left.sqrt() < 1e-6 * a[:, 0].norm(dim=1) * g[:, 0].norm(dim=1)).all()


def test_rounding_in_float32_is_not_taken_for_disagreement() -> None:
    model, (x, y) = mlp(), vectors(40)
    y = torch.zeros_like(y)
    with torch.no_grad():
        model[-1].bias[0] += 15.0  # losses near 1e-6: a float32 logit has no digits left to tell them apart
    assert uses_rules(model, x.float(), y)


def test_a_second_handler_for_a_function_is_refused() -> None:
    with pytest.raises(ValueError, match="already"):
        parameter_uses.handles(F.linear)(layer_handlers.linear)
