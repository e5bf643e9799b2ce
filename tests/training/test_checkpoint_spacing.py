"""Are the scored checkpoints where they are said to be, and does the log spacing see early training better?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from expunge.errors import UsageError
from expunge.privacy import compose
from expunge.training import TrainingConfig
from expunge.training.schedule import scored_steps, spaced


def config(**given: object) -> TrainingConfig:
    noise = {"convention": "mean_gradient", "sigma": 0.1}
    plain = {"steps": 1000, "batch_size": 8, "learning_rate": 0.1, "noise": noise}
    return TrainingConfig.model_validate({**plain, **given})


@settings(deadline=None, max_examples=300)
@given(st.integers(2, 3000), st.integers(2, 80), st.sampled_from(["even", "log"]))
def test_as_many_as_asked_for_increasing_with_both_ends(total: int, count: int, spacing: str) -> None:
    got = spaced(total, count, spacing)  # type: ignore[arg-type]
    assert len(got) == min(count, total) and got[0] == 0 and got[-1] == total - 1
    assert all(type(step) is int for step in got) and (np.diff(got) > 0).all()
    if spacing == "log":  # gaps grow, up to rounding
        assert (np.diff(np.diff(got)) >= -1).all()


def test_even_is_the_default_and_what_it_was() -> None:
    for steps, checkpoints in ((1000, 35), (24, 5), (3, 35), (35, 35), (36, 35)):
        made = config(steps=steps, checkpoints=checkpoints)
        expected = sorted({round(float(x)) for x in np.linspace(0, steps - 1, min(checkpoints, steps))})
        assert made.spacing == "even" and scored_steps(made) == expected
    before = {k: v for k, v in config().model_dump(mode="json").items() if k != "spacing"}
    assert TrainingConfig.model_validate(before) == config()  # a run recorded without the key


def test_log_spacing_has_gaps_that_grow_by_a_constant_factor() -> None:
    assert scored_steps(config(checkpoints=10, spacing="log")) == [0, 1, 3, 8, 19, 42, 93, 206, 454, 999]
    assert spaced(128, 8, "log") == [0, 1, 3, 7, 15, 31, 63, 127]
    assert spaced(5, 2, "log") == [0, 4] and spaced(9, 9, "log") == list(range(9))
    many = spaced(100_000, 35, "log")
    factors = np.diff(many)[20:] / np.diff(many)[19:-1]
    assert factors.std() < 0.01 and factors.mean() > 1.2


def test_what_cannot_be_spaced_is_refused() -> None:
    with pytest.raises(ValidationError, match="spacing"):
        config(spacing="square")
    with pytest.raises(UsageError, match="Did you mean 'log'"):
        spaced(10, 3, "logs")  # type: ignore[arg-type]
    for total, count in ((1, 2), (10, 1)):
        with pytest.raises(UsageError, match="two points"):
            spaced(total, count, "log")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_where_the_loss_is_spent_early_log_spacing_is_nearer_to_it(seed: int) -> None:
    # ridge regression by gradient descent: every step's gradients are known, so is the sum over all steps
    rng = np.random.default_rng(seed)
    x, total_steps = rng.normal(size=(60, 20)) * np.linspace(3, 0.3, 20), 400
    y = x @ rng.normal(size=20) + 0.3 * rng.normal(size=60)
    w, norms = np.zeros(20), np.empty((60, total_steps))
    for step in range(total_steps):
        gradients = (x @ w - y)[:, None] * x + 0.01 * w
        norms[:, step] = np.linalg.norm(gradients, axis=1)
        w = w - 0.02 * gradients.mean(axis=0)
    s = float(np.median(norms[:, 0])) / 0.3
    exact = compose(norms, s, 0.1, range(total_steps), total_steps, 4).total
    errors = {}
    for spacing in ("even", "log"):
        steps = spaced(total_steps, 10, spacing)  # type: ignore[arg-type]
        got = compose(norms[:, steps], s, 0.1, steps, total_steps, 4).total
        errors[spacing] = float(np.median(np.abs(got / exact - 1)))
    assert errors["log"] < 0.1 < errors["even"] and errors["log"] < errors["even"] / 3
