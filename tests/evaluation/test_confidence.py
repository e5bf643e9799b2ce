"""phi, loss, margin and the intervals, against direct formulas and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import logits_of
from scipy.special import softmax
from scipy.stats import binomtest

from expunge.errors import UsageError
from expunge.evaluation.confidence import (
    accuracy,
    loss,
    margin,
    phi,
    predicted_label,
    share_interval,
    true_class_confidence,
)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 8), st.integers(1, 6), st.integers(0, 99))
def test_every_signal_follows_from_the_softmax(classes: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(0, 3, (2, n, classes)), rng.integers(0, classes, n)
    p = softmax(logits, axis=-1)[:, np.arange(n), targets]
    assert true_class_confidence(logits, targets) == pytest.approx(p)
    assert phi(logits, targets) == pytest.approx(np.log(p / (1 - p)), rel=1e-6, abs=1e-6)
    assert loss(logits, targets) == pytest.approx(-np.log(p))
    right = predicted_label(logits) == targets
    assert ((margin(logits, targets) > 0) == right).all()
    assert accuracy(logits, targets) == pytest.approx(right.mean(axis=-1))


def test_phi_survives_saturation() -> None:
    logits = np.array([[1000.0, 0.0, 0.0], [-1000.0, 0.0, 0.0]])
    values = phi(logits, np.array([0, 0]))
    assert values == pytest.approx([1000 - np.log(2), -1000 - np.log(2)])
    assert loss(logits, np.array([0, 0])) == pytest.approx([0.0, 1000 + np.log(2)])


def test_the_laws_of_these_tests_make_the_phi_they_promise() -> None:
    rng = np.random.default_rng(0)
    targets, wanted = rng.integers(0, 4, 9), rng.normal(size=(3, 9))
    assert phi(logits_of(wanted, targets, 4, rng), targets) == pytest.approx(wanted)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (1, 1), (37, 64)])
@pytest.mark.parametrize("method", ["wilson", "clopper-pearson"])
def test_intervals_are_those_of_scipy(successes: int, trials: int, method: str) -> None:
    name = {"wilson": "wilson", "clopper-pearson": "exact"}[method]
    expected = binomtest(successes, trials).proportion_ci(0.95, method=name)
    assert share_interval(successes, trials, 0.95, method) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_bad_shapes_are_named() -> None:
    for call in (
        lambda: phi(np.zeros((3, 2)), np.zeros(2, dtype=int)),
        lambda: phi(np.zeros((3, 1)), np.zeros(3, dtype=int)),
        lambda: phi(np.zeros((3, 2)), np.array([0, 1, 2])),
        lambda: accuracy(np.zeros((0, 2)), np.zeros(0, dtype=int)),
        lambda: share_interval(3, 2),
    ):
        with pytest.raises(UsageError):
            call()
