"""Are passes cut by what the model keeps for its backward pass, and by nothing that changes?"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from expunge.privacy import pass_sizes, per_example_gradient_norms
from expunge.privacy.pass_sizes import examples_at_once


def wide(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(channels * 64, 5))


def test_more_activations_mean_fewer_examples() -> None:
    x = torch.randn(4, 1, 8, 8)
    few, many = examples_at_once(wide(64), x), examples_at_once(wide(8), x)
    kept = 4 * (64 * 64 + 64)  # the input, and the ReLU's result, once
    assert few == pytest.approx((384 << 20) / kept, rel=0.05)
    assert many == pytest.approx(8 * few, rel=0.1)
    assert examples_at_once(wide(64), torch.randn(9, 1, 8, 8)) == few


def test_the_cut_does_not_change_the_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, x, y = wide(4).double(), torch.randn(50, 1, 8, 8, dtype=torch.float64), torch.randint(0, 5, (50,))
    whole = per_example_gradient_norms(copy.deepcopy(model), x, y)
    monkeypatch.setattr(pass_sizes, "_KEPT_BYTES", 1)
    assert examples_at_once(model, x) == 8
    torch.testing.assert_close(per_example_gradient_norms(model, x, y), whole, rtol=1e-12, atol=0.0)


def test_a_model_that_cannot_be_asked_goes_by_its_inputs() -> None:
    class Refuses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(7, 5)

        def forward(self, x: Tensor) -> Tensor:
            if len(x) < 3:
                raise ValueError("three at least")
            return self.head(x)

    assert examples_at_once(Refuses(), torch.randn(6, 7)) == (1 << 19) // 7
