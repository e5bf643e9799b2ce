"""The gate's distance in calibration: oracles pass, models that remember do not, whatever the models share."""

from __future__ import annotations

import numpy as np

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
    trial = GateTrial(logits(rng, 80, 0.0), logits(rng, 40, 1.5), targets, FORGET, OTHERS, 0.05 / 3, seed=1)
    shares = {memory: trial.passes(logits(rng, 40, memory)) for memory in (0.0, 0.05, 0.75, 1.5, -1.5)}
    assert shares[0.0] >= 0.9 and shares[0.05] >= 0.7
    assert shares[0.75] == shares[1.5] == shares[-1.5] == 0.0
    again = GateTrial(logits(np.random.default_rng(0), 80, 0.0), logits(rng, 40, 1.5), targets, FORGET, OTHERS, 0.5, 1)
    assert again.passes(logits(np.random.default_rng(3), 40, 0.0)) < 0.8  # the level is the test's own
