"""No oracle at all: the share that matched held-out records still show, two-sided, in visibly weaker words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from laws import PoolWorld

from expunge.evaluation import EvaluationSettings
from expunge.evaluation.evidence import CheckResult
from expunge.evaluation.matched import matched_check

SETTINGS = EvaluationSettings()
LARGE: dict[str, Any] = {"forget": 300, "retain": 20, "held_out": 1500, "memory": 4.0, "pool": 4}


def judged(kind: str, seed: int = 0, **world: Any) -> CheckResult:
    return matched_check(PoolWorld(seed=seed, **(LARGE | world)).build(kind, pool=None), SETTINGS)


@pytest.mark.parametrize(
    ("kind", "verdict", "words"),
    [
        ("oracle", "pass", "no trace found: treats them like similar records that it never saw; no retrained model"),
        ("untouched", "fail", "not forgotten: treats them better"),
        ("0.5", "fail", "not forgotten: treats them better"),
        ("over", "fail", "over-forgotten: treats them worse"),
    ],
)
def test_truth_by_construction(kind: str, verdict: str, words: str) -> None:
    result = judged(kind)
    assert result.verdict == verdict and result.words.startswith(words) and result.sound
    assert result.controls["held_out"].verdict == "pass" and result.values["original"].interval[0] > 0
    truth = {"oracle": 0.0, "untouched": 1.0, "0.5": 0.5, "over": -1.0}[kind]
    assert result.statistic == pytest.approx(truth, abs=0.2)
    assert (result.p_value <= 0.05) == (verdict == "fail")
    if kind == "oracle":
        assert result.power.not_pass_given_half == 1.0


def test_an_oracle_fails_seldom_and_its_interval_holds_zero() -> None:
    """Over 100 worlds of 60 records: outside the margin in under 5 %, zero inside the 90 % interval in about 90 %."""
    failed, holds = 0, 0
    for seed in range(100):
        result = judged("oracle", seed, forget=60, held_out=200)
        failed += result.verdict == "fail"
        assert result.interval is not None
        holds += result.interval[0] <= 0 <= result.interval[1]
    assert failed <= 5 and 80 <= holds <= 98


def test_few_records_say_how_many_would_do() -> None:
    result = judged("oracle", forget=40, held_out=200, memory=1.5)
    assert result.verdict == "no power" and result.details["records_needed"] > 40
    assert f"about {result.details['records_needed']} records would do" in result.words
    tiny = judged("oracle", forget=8)
    assert tiny.verdict == "no power" and "8 matched records, 20 needed" in tiny.words


def test_nothing_remembered_is_no_power() -> None:
    result = judged("oracle", memory=0.0, seed=1)
    assert result.verdict == "no power" and not result.sound and result.statistic is None
    assert "no more of them than of similar held-out records" in result.words


def test_half_kept_and_held_back_models_show_the_power() -> None:
    law = PoolWorld(seed=3, half_kept=5, **LARGE)
    inputs = law.build(pool=None)
    spare = law.build(pool=None).unlearned[None]
    result = matched_check(replace(inputs, held_back=spare), SETTINGS)
    assert result.power.pass_given_oracle == 1.0 and result.power.not_pass_given_half == 1.0
    assert result.power.models == 5 and result.power.note == "half-kept models"


def test_a_broken_held_out_control_takes_the_verdict_away() -> None:
    """Cross-fitted difficulty that knows nothing of the records that are left over: their halves do not read alike."""
    inputs = PoolWorld(seed=0, **LARGE).build(pool=None)
    wrong = inputs.unlearned.copy()
    partners = inputs.held_out[inputs.difficulty[inputs.held_out] > np.median(inputs.difficulty[inputs.held_out])]
    wrong[partners[::2], inputs.targets[partners[::2]]] += 3.0
    lopsided = inputs.difficulty.copy()
    lopsided[partners[::2]] -= 40.0
    result = matched_check(replace(inputs, unlearned=wrong, difficulty=lopsided), SETTINGS)
    assert result.verdict == "no power" and not result.controls["held_out"].holds
    few = PoolWorld(seed=0, **(LARGE | {"forget": 100, "held_out": 101})).build(pool=None)
    assert "hold out more than twice" in matched_check(few, SETTINGS).words
