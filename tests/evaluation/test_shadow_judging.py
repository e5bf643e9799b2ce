"""Judging by shadow models: intervals over models, memberships without meaning, a verdict with both controls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from expunge.evaluation.shadow_judging import (
    equivalence,
    gaussian_shift,
    judge_shadows,
    over_models,
    permuted_rows,
)


def test_the_interval_over_models_is_the_classical_one_for_a_mean() -> None:
    x = np.random.default_rng(0).normal(size=20)
    value, half = over_models(lambda rows: np.array([x[rows].mean()]), 20)
    assert value[0] == pytest.approx(x.mean())
    assert half[0] == pytest.approx(1.7291328 * x.std(ddof=1) / np.sqrt(20))  # t of 19 degrees, 95 %
    many = np.random.default_rng(1).normal(size=640)
    _, grouped = over_models(lambda rows: np.array([many[rows].mean()]), 640)
    assert grouped[0] == pytest.approx(1.69552 * many.std(ddof=1) / np.sqrt(640), rel=0.4)


def test_permuted_rows_move_whole_models() -> None:
    trained = np.random.default_rng(0).random((12, 5)) < 0.5
    for each in permuted_rows(trained, 0, 5):
        assert sorted(map(tuple, each)) == sorted(map(tuple, trained))


@pytest.mark.parametrize(
    ("value", "half", "verdict", "needed"),
    [
        (0.02, 0.05, "pass", None),
        (-0.02, 0.05, "pass", None),
        (0.3, 0.1, "fail", None),
        (-0.3, 0.1, "fail", None),
        (0.05, 0.1, "no power", 256),
        (0.15, 0.1, "no power", 256),
        (0.1, 0.1, "no power", None),
        (0.102, 0.02, "no power", None),  # 6,400 models: not a piece of advice
    ],
)
def test_equivalence_is_two_sided_and_says_what_it_would_take(
    value: float, half: float, verdict: str, needed: int | None
) -> None:
    found = equivalence(value, half, 0.1, 64)
    assert found.verdict == verdict
    assert found.models_needed == needed or (needed and abs(found.models_needed - needed) <= 1)


def test_a_pass_needs_the_models_before_unlearning_to_fail() -> None:
    null = np.random.default_rng(0).normal(0, 0.02, 60)
    good, bad = equivalence(0.0, 0.03, 0.1, 64), equivalence(0.4, 0.03, 0.1, 64)
    assert judge_shadows(good, bad, null, 64).verdict == "pass"
    assert judge_shadows(good, None, null, 64).verdict == "no power"
    assert "remember" in judge_shadows(good, good, null, 64).reason
    near = judge_shadows(equivalence(0.102, 0.02, 0.1, 64), bad, null, 64)
    assert near.verdict == "no power" and "near the margin" in near.reason and "forget more" in near.to_do
    assert judge_shadows(bad, bad, null, 64).verdict == "fail" and judge_shadows(bad, bad, null, 64).p_value == 1 / 61
    loud = judge_shadows(bad, bad, null * 10, 64)
    assert loud.verdict == "no power" and not loud.controls["null"].holds
    needed = int(loud.reason.split("about ")[1].split()[0])
    assert needed == loud.models_needed
    assert 64 * 4 < needed < 64 * 40  # a null ten times too wide


def test_the_shift_of_two_gaussians_has_the_auc_it_is_named_for() -> None:
    assert norm.cdf(gaussian_shift(0.1) / np.sqrt(2)) == pytest.approx(0.6)
