"""Does it matter that convolutions work in channels-last, and that a success is remembered?"""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from gradient_cases import cnn, images, oracle
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.privacy import per_example_gradient_norms
from expunge.privacy.losses import cross_entropy
from expunge.privacy.norm_ways import Way, try_one_pass
from expunge.privacy.settled_ways import recall


class Views(nn.Module):
    """`view` across channels and space, which channels-last does not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8 * 64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.body(x)).view(len(x), -1))


def test_a_model_that_views_its_channels_still_goes_in_one_pass() -> None:
    torch.manual_seed(0)
    model, (x, y) = Views().eval(), images()
    expected = oracle(model, x, y)
    way = Way(model, cross_entropy)
    found = try_one_pass(way, x.float(), y).norms
    assert found is not None and way.channels_last is False
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("channels", [1, 3])
def test_both_formats_give_the_same_norms(channels: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(channels, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.ReLU(inplace=True), nn.Conv2d(8, 16, 3, 1, 1)),
        *(nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 5)),
    ).eval()
    x, y = images(channels=channels)
    found = [Way(model, cross_entropy, channels_last=last).one_pass(x.float(), y) for last in (True, False)]
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=0.0)
    torch.testing.assert_close(found[0], oracle(model, x, y), rtol=1e-5, atol=0.0)


def test_gradients_too_small_to_square_are_found_by_a_second_pass() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 5)), torch.randn(6, 7)
    factor = torch.tensor([1.0, 1e-25, 1e-25, 1.0, 0.0, 1e-30])

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets[:, 0].long()) * targets[:, 1]

    y = torch.randint(0, 5, (6,))
    plain = per_example_gradient_norms(model, x, y)
    found = per_example_gradient_norms(model, x, torch.stack([y.float(), factor], 1), loss=loss)
    torch.testing.assert_close(found, plain * factor, rtol=1e-5, atol=0.0)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_a_success_is_remembered_for_these_weights_only() -> None:
    torch.manual_seed(0)
    model, (x, y) = cnn().float(), images()
    x = x.float()
    first = per_example_gradient_norms(model, x, y)
    assert recall(model, "cross_entropy", x) is not None
    assert torch.equal(per_example_gradient_norms(model, x, y), first)
    assert recall(model, "cross_entropy", x[:, :, :4]) is None
    assert recall(model, "squared_error", x) is None
    with torch.no_grad():
        next(model.parameters()).mul_(1.5)
    assert recall(model, "cross_entropy", x) is None
    torch.testing.assert_close(
        per_example_gradient_norms(model, x, y).double(), oracle(model, x, y), rtol=1e-5, atol=0.0
    )
    known = weakref.ref(model)
    del model
    gc.collect()
    assert known() is None


def test_examples_that_interact_under_later_weights_are_noticed() -> None:
    class Mixes(nn.Module):
        """With a gate of 0 no example depends on another."""

        def __init__(self) -> None:
            super().__init__()
            self.gate, self.head = nn.Parameter(torch.zeros(5)), nn.Linear(7, 5)

        def forward(self, x: Tensor) -> Tensor:
            out = self.head(x)
            return out + (out - out.mean(0)) * self.gate

    torch.manual_seed(0)
    model, x, y = Mixes(), torch.randn(6, 7), torch.randint(0, 5, (6,))
    per_example_gradient_norms(model, x, y)
    with torch.no_grad():
        model.gate.fill_(2.0)
    found = per_example_gradient_norms(model, x, y)
    torch.testing.assert_close(found.double(), oracle(model, x.double(), y), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("norm", [lambda: nn.BatchNorm2d(8), lambda: nn.GroupNorm(2, 8)])
def test_a_mean_far_above_the_spread_costs_no_more_digits_than_autograd(norm, channels_last: bool) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    body, layer, head = nn.Conv2d(3, 8, 3, padding=1), norm(), nn.Linear(512, 5)
    for fixed in (body, head):
        fixed.requires_grad_(False)
    body.bias += 1000
    if isinstance(layer, nn.BatchNorm2d):
        layer.running_mean += 1000
    model = nn.Sequential(body, layer, nn.ReLU(), nn.Flatten(), head).eval()
    x, y = images(32)
    single = torch.stack([autograd_norm(model, x[i : i + 1].float(), y[i : i + 1]) for i in range(len(x))])
    found = Way(model, cross_entropy, channels_last=channels_last).one_pass(x.float(), y)
    expected = oracle(model, x, y)
    worst = [float((values / expected - 1).abs().max()) for values in (found, single)]
    assert worst[0] < 1.5 * worst[1] and worst[1] > 1e-6  # float32 autograd itself loses digits here


def autograd_norm(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    trained = [p for p in model.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(F.cross_entropy(model(x), y), trained)
    return torch.cat([slope.flatten() for slope in slopes]).double().norm()


def test_a_convolution_whose_weight_is_computed_is_not_missed() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight / self.weight.norm(), self.bias, padding=1)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Standardised(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5))
    x, y = images()
    found = per_example_gradient_norms(copy.deepcopy(model).float(), x.float(), y)
    torch.testing.assert_close(found.double(), oracle(model, x, y), rtol=1e-5, atol=0.0)
