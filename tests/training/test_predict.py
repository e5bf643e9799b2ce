"""Outputs of a module that somebody brings: the same whatever the chunk, and refused where they would mislead."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from expunge.errors import UsageError
from expunge.training import model_logits

FEATURES = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)


def module() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)).eval()


@pytest.mark.parametrize("chunk", [1, 7, 50, 1024])
def test_logits_are_those_of_one_pass_for_any_chunk(chunk: int) -> None:
    model = module()
    logits = model_logits(model, FEATURES, chunk)
    with torch.no_grad():
        expected = model(torch.from_numpy(FEATURES)).numpy()
    assert logits.dtype == np.float32 and logits.shape == (50, 3)
    assert logits == pytest.approx(expected, abs=1e-6)
    assert not any(part.training for part in model.modules())


def test_tensors_and_other_precisions_are_taken() -> None:
    model = module()
    expected = model_logits(model, FEATURES)
    assert model_logits(model, torch.from_numpy(FEATURES)) == pytest.approx(expected)
    assert model_logits(model, FEATURES.astype(np.float64)) == pytest.approx(expected, abs=1e-6)
    assert model_logits(model.double(), FEATURES) == pytest.approx(expected, abs=1e-6)
    words = nn.Sequential(nn.EmbeddingBag(12, 4), nn.Linear(4, 2)).eval()
    assert model_logits(words, np.arange(12).reshape(4, 3)).shape == (4, 2)


def test_a_module_in_training_mode_is_refused_and_told_what_to_call() -> None:
    with pytest.raises(UsageError, match=r"Sequential: the module is in training mode\. Call model\.eval\(\)"):
        model_logits(module().train(), FEATURES)
    partly = module()
    partly[3].train()
    with pytest.raises(UsageError, match=r"its part '3' is in training mode\. Call model\.eval\(\)"):
        model_logits(partly, FEATURES)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_outputs_that_are_not_numbers_are_refused(bad: float) -> None:
    features = FEATURES.copy()
    features[[3, 20]] = bad
    with pytest.raises(UsageError, match="NaN or infinite outputs for 2 of 50 records"):
        model_logits(nn.Linear(6, 3).eval(), features, chunk=8)


def test_outputs_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Unflatten gives \(50, 1, 6\) for 50 records"):
        model_logits(nn.Unflatten(1, (1, 6)).eval(), FEATURES)
    with pytest.raises(UsageError, match="LSTM gives tuple for 50 records"):
        model_logits(nn.LSTM(6, 3).eval(), FEATURES)
