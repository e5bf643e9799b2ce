"""The pool level: calibrated though the pool saw less data, two-sided, and no kinder where nothing can be seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from laws import PoolWorld, World
from scipy.stats import binom

from expunge.errors import UsageError
from expunge.evaluation import EvaluationInputs, EvaluationSettings
from expunge.evaluation.pool_influence import pool_check
from expunge.evaluation.pool_residuals import PoolRows
from expunge.evaluation.shadows import PoolOutputs

SETTINGS = EvaluationSettings()
LESS = {"offset": -0.8, "slope": 0.85, "gain": 0.5, "noise": 1.5}
# 3 of 65 places reach .05
RATE = 3 / 65


def p_values(worlds: int, kinds: tuple[str, ...], **world: Any) -> dict[str, np.ndarray]:
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for seed in range(worlds):
        law = PoolWorld(seed=seed, **world)
        pool, original = law.phi()
        distances = law.distances(pool, original)
        for kind in kinds:
            found[kind].append(distances.place(law.candidate(kind, original)).p_value)
    return {kind: np.array(values) for kind, values in found.items()}


def test_the_pools_law_gives_uniform_p_values_over_200_worlds() -> None:
    p = p_values(200, ("oracle",), forget=40, retain=10, held_out=90)["oracle"]
    low, high = binom.ppf([0.0005, 0.9995], 200, RATE)
    assert low <= (p <= 0.05).sum() <= high  # about .05
    assert np.abs(np.quantile(p, [0.25, 0.5, 0.75]) - [0.25, 0.5, 0.75]).max() < 0.12


@pytest.mark.parametrize("memory", [3.0, 0.0])
def test_less_data_is_taken_out(memory: float) -> None:
    """Pool phi lower on everything, noisier, and each record moved its own way: true oracles still pass.

    With nothing remembered neither the original nor a model made from it is called different.
    """
    kinds = ("oracle", "continued", "untouched") if memory == 0 else ("oracle", "continued")
    found = p_values(100, kinds, forget=40, retain=10, held_out=90, memory=memory, **LESS)
    assert all((p <= 0.05).sum() <= binom.ppf(0.999, 100, RATE) for p in found.values())


def test_power_on_known_parts() -> None:
    """Measured at 60 records of memory 3: half kept seen in all worlds, a tenth in half, over-forgetting in all."""
    found = p_values(40, ("untouched", "0.5", "0.1", "over"), **LESS)
    seen = {kind: float((p <= 0.05).mean()) for kind, p in found.items()}
    assert seen["untouched"] == seen["0.5"] == seen["over"] == 1.0
    assert 0.4 < seen["0.1"] < 0.9


@pytest.mark.parametrize(
    ("kind", "verdict", "words"),
    [
        ("oracle", "pass", "probably forgotten: like pool models that left the records out, which saw less data"),
        ("untouched", "fail", "not forgotten"),
        ("0.5", "fail", "not forgotten"),
        ("over", "fail", "over-forgotten"),
    ],
)
def test_verdicts_without_any_oracle(kind: str, verdict: str, words: str) -> None:
    result = pool_check(PoolWorld(seed=2, half_kept=8, **LESS).build(kind), SETTINGS)
    assert result.verdict == verdict and result.words.startswith(words) and result.sound
    assert result.controls["original"].verdict == "fail" and result.controls["held_out"].verdict == "pass"
    assert result.power.not_pass_given_half == 1.0 and "half-kept models" in result.power.note
    assert result.power.pass_given_oracle >= 0.9 and "by construction" in result.power.note
    assert result.details["pool_models"] == 64 and f"of {65}" in result.words
    line = result.details["correction"]["held_out_line_intercept_and_slope"]["original"]
    assert line[0] > 0.3 and line[1] > 0.9  # the pool lies lower
    if kind == "oracle":
        assert abs(result.details["share_left"]) < 0.3


def test_without_half_kept_models_the_pool_makes_its_own() -> None:
    result = pool_check(PoolWorld(seed=2, memory=4.0).build(), SETTINGS)
    assert result.verdict == "pass" and result.power.models == 64 and "a lower bound" in result.power.note
    weak = pool_check(PoolWorld(seed=2, memory=1.2, **LESS).build(), SETTINGS)
    assert weak.verdict == "no power" and "half forgotten is seen in" in weak.words


def test_little_remembered_needs_more_than_an_original_that_passes() -> None:
    little = pool_check(PoolWorld(seed=4, memory=0.0, retain=120).build(), SETTINGS)
    assert little.verdict == "no power" and "passes too" in little.words  # nothing to see anywhere
    law = PoolWorld(seed=4, memory=4.0, retain=120)
    law.memories[law.group == 0] = 0.0
    seen = pool_check(law.build(), SETTINGS)
    assert seen.verdict == "pass" and seen.little_remembered and seen.words.startswith("little was remembered")
    assert seen.controls["original"].note.startswith("on a planted set")


def test_a_constant_model_fails() -> None:
    inputs = PoolWorld(seed=2, half_kept=8).build()
    result = pool_check(replace(inputs, unlearned=np.ones_like(inputs.unlearned)), SETTINGS)
    assert result.verdict == "fail" and "same output" in result.words


def test_what_is_missing_is_named() -> None:
    few = pool_check(PoolWorld(pool=16).build(), SETTINGS)
    assert "60 of 60 records are out of fewer than 10 pool models" in few.words
    strict = pool_check(PoolWorld().build(), SETTINGS.at_level(0.01))
    assert "64 pool models left out any of the records, level 0.01 needs 99" in strict.words
    assert "reference pool" in pool_check(World().build(), SETTINGS).words
    inputs = PoolWorld(held_out=30).build()
    assert "too few to see what less data does" in pool_check(inputs, SETTINGS).words
    pool = inputs.pool
    assert pool is not None
    everywhere = pool.trained.copy()
    everywhere[:, inputs.forget[:20]] = True
    some = replace(inputs, pool=PoolOutputs(pool.logits, pool.targets, everywhere, 0.5))
    assert "20 of 60 records are out of fewer than 10 pool models" in pool_check(some, SETTINGS).words
    seen = pool.trained.copy()
    seen[0, inputs.held_out[0]] = True
    with pytest.raises(UsageError, match="trained on a held-out record"):
        replace(inputs, pool=PoolOutputs(pool.logits, pool.targets, seen, 0.5))
    with pytest.raises(UsageError, match="not on the records"):
        replace(inputs, pool=PoolOutputs(pool.logits[:, ::-1], pool.targets[::-1].copy(), pool.trained, 0.5))


def test_the_mirror_is_alike_and_never_too_large() -> None:
    law = PoolWorld(seed=1)
    rows = PoolRows.of(law.rows(0), law.rows(0), law.rows(2), law.targets, law.difficulty, 0)
    assert rows.mirror.size == 60 and np.isin(rows.mirror, law.rows(2)).all()
    assert (law.targets[rows.mirror] == law.targets[rows.mirror_pattern]).all()
    few = PoolRows.of(law.rows(0)[:3], law.rows(0)[:3], law.rows(2), law.targets, law.difficulty, 0)
    assert few.mirror.size >= 40 and len(set(few.mirror.tolist())) == few.mirror.size
    assert set(few.mirror_pattern.tolist()) <= set(law.rows(0)[:3].tolist())


def test_same_inputs_same_result() -> None:
    inputs: EvaluationInputs = PoolWorld(seed=5).build()
    assert pool_check(inputs, SETTINGS) == pool_check(inputs, SETTINGS)
