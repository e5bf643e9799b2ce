"""The gate's distance in calibration: oracles pass, models that remember do not, whatever the models share."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.unlearning.gate_trial import GateTrial

N, FORGET = 300, np.arange(30)
OTHERS = np.arange(60, N)


def logits(rng: np.random.Generator, count: int, memory: float) -> np.ndarray:
    """float32 [count, N, 2]; phi of class 0 has noise, a shift of the whole model, and what is remembered."""
    phi = 2 + 0.7 * rng.standard_normal((count, 1)) + 0.5 * rng.standard_normal((count, N))
    phi[:, FORGET] += memory
    return np.stack([phi, np.zeros_like(phi)], axis=-1).astype(np.float32)


def test_oracles_pass_and_models_that_remember_do_not() -> None:
    rng = np.random.default_rng(0)
    targets = np.zeros(N, dtype=np.int64)
    trial = GateTrial(logits(rng, 80, 0.0), logits(rng, 40, 1.5), targets, FORGET, OTHERS, seed=1)
    p = {memory: trial.p_value(logits(rng, 40, memory)) for memory in (0.0, 0.05, 0.3, 0.75, 1.5, -1.5)}
    assert 0.4 < p[0.0] < 0.6 and p[0.05] > 0.25
    assert p[0.3] < 0.1
    assert p[0.75] == p[1.5] == p[-1.5] == pytest.approx(1 / 81)
