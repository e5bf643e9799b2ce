"""The oracle for per-example gradient norms, a loop of autograd passes in float64, and models to try it on."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.privacy import per_example_gradient_norms
from expunge.privacy.losses import cross_entropy
from expunge.privacy.norm_ways import Way, try_one_pass
from expunge.privacy.parameter_uses import Ambiguous


def oracle(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """One backward pass per example on a float64 copy, written without any code under test."""
    model = copy.deepcopy(model).double().eval()
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    norms = []
    for x, y in zip(inputs, targets, strict=True):
        model.zero_grad()
        value = F.cross_entropy(model(x[None]), y[None])
        if value.requires_grad:
            value.backward()
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        norms.append(torch.cat(grads).norm() if grads else torch.zeros((), dtype=torch.float64))
    return torch.stack(norms)


def uses_rules(model: nn.Module, inputs: Tensor, targets: Tensor) -> bool:
    """Whether the one pass is found right for this model."""
    way = Way(copy.deepcopy(model).eval(), cross_entropy)
    try:
        return try_one_pass(way, inputs, targets).norms is not None
    except Ambiguous:
        return try_one_pass(way, inputs[1:], targets[1:]).norms is not None


def assert_matches(model: nn.Module, inputs: Tensor, targets: Tensor, *, rules: bool = True) -> None:
    """Norms agree with the oracle, in both precisions, by the way expected, and leave no trace in the model."""
    expected = oracle(model, inputs, targets)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        typed = copy.deepcopy(model).to(dtype)
        x = inputs.to(dtype) if inputs.is_floating_point() else inputs
        got = per_example_gradient_norms(typed, x, targets)
        assert got.dtype == dtype and got.shape == (len(inputs),) and not got.requires_grad
        torch.testing.assert_close(got.double(), expected, rtol=tolerance, atol=0.0)
        assert uses_rules(typed, x, targets) == rules
        assert all(p.grad is None for p in typed.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in typed.modules())


def images(n: int = 6, channels: int = 3, size: int = 8, classes: int = 5) -> tuple[Tensor, Tensor]:
    return torch.randn(n, channels, size, size, dtype=torch.float64), torch.randint(0, classes, (n,))


def vectors(n: int = 6) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 7, dtype=torch.float64), torch.randint(0, 5, (n,))


def sequences(n: int = 6, t: int = 3, d: int = 4) -> tuple[Tensor, Tensor]:
    return torch.randn(n, t, d, dtype=torch.float64), torch.randint(0, 5, (n,))


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


class Raw(nn.Module):
    """A parameter that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(7))
        self.head = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x * self.scale)
