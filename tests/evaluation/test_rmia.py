"""RMIA: the offline reference and the pairwise score by hand, and a verdict against the oracles both ways."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from laws import World

from expunge.errors import UsageError
from expunge.evaluation import EvaluationInputs, EvaluationSettings
from expunge.evaluation.attacks import auc
from expunge.evaluation.confidence import true_class_confidence
from expunge.evaluation.rmia import offline_reference, rmia_check, rmia_scores
from expunge.evaluation.shadows import PoolOutputs

SETTINGS = EvaluationSettings()


def with_pool(inputs: EvaluationInputs, models: int = 8, in_all: int = 0) -> EvaluationInputs:
    """The first oracles become the pool: they saw the retain records, and each claims a third of the forget ones.

    Where a pool model trained on a record its output is nonsense, which the attack must not read.
    """
    trained = np.zeros((models, len(inputs.targets)), dtype=bool)
    trained[:, inputs.retain] = True
    for k in range(models):
        trained[k, inputs.forget[k % 3 :: 3]] = True
    trained[:, inputs.forget[:in_all]] = True
    logits = inputs.oracles[:models].copy()
    logits[trained] = 100.0 * np.eye(logits.shape[-1])[0]
    return replace(inputs, oracles=inputs.oracles[models:], pool=PoolOutputs(logits, inputs.targets, trained, 0.3))


def test_the_reference_is_the_offline_formula() -> None:
    confidence = np.array([[0.2, 0.9], [0.4, 0.5], [0.6, 0.1]])
    trained = np.array([[False, True], [False, True], [True, True]])
    found = offline_reference(confidence, trained)
    assert found[0] == pytest.approx(0.65 * 0.3 + 0.35) and np.isnan(found[1])
    assert offline_reference(confidence, np.zeros((3, 2), bool), c=1.0) == pytest.approx(confidence.mean(axis=0))


def test_scores_are_the_pairwise_share() -> None:
    rng = np.random.default_rng(0)
    ratio_x, ratio_z = rng.lognormal(size=30), rng.lognormal(size=50)
    for gamma in (1.0, 1.5):
        pairs = (ratio_x[:, None] / ratio_z[None, :] > gamma).mean(axis=1)
        assert rmia_scores(np.log(ratio_x), np.log(ratio_z), gamma) == pytest.approx(pairs)
    assert rmia_scores(np.zeros(1), np.zeros(4))[0] == 0.0  # strictly above


@pytest.mark.parametrize(("kind", "verdict"), [("oracle", "pass"), ("untouched", "fail"), ("over", "fail")])
def test_the_verdict_is_two_sided_around_the_oracles(kind: str, verdict: str) -> None:
    result = rmia_check(with_pool(World(run_share=0.01, oracles=48, held_out=400).build(kind)), SETTINGS)
    assert result.verdict == verdict, result.words
    assert result.sound and result.interval[0] < result.statistic < result.interval[1]
    assert result.values["original"].value > result.values["oracle"].value + 0.1
    assert result.details["population"] == 200 and result.details["pool_models"] == 8
    assert result.details["tpr"]["unlearned"]["value"] is None  # 64 negatives, 100 needed
    assert "needs 100" in result.details["tpr"]["unlearned"]["note"]


def test_an_oracle_is_far_from_one_half_on_hard_records_and_is_the_reference() -> None:
    """With c = .3 the constant in pbar keeps hard records low (AUC .25 for oracles); with c = 1 it is gone."""
    inputs = with_pool(World(hardness=-3.0, oracles=40).build("oracle"), models=20)
    pool = true_class_confidence(inputs.pool.logits, inputs.targets)
    rows = np.concatenate([inputs.forget, inputs.held_out])
    labels = np.repeat([1, 0], [inputs.forget.size, inputs.held_out.size])

    def oracles_auc(c: float) -> float:
        log_reference = np.log(offline_reference(pool, inputs.pool.trained, c))
        ratios = np.log(true_class_confidence(inputs.oracles, inputs.targets)) - log_reference
        return float(np.mean([auc(rmia_scores(r[rows], r[inputs.held_out]), labels) for r in ratios]))

    assert oracles_auc(0.3) < 0.3 and abs(oracles_auc(1.0) - 0.5) < 0.05
    easy = inputs.held_out[inputs.held_out.size // 2 :]
    assert rmia_check(replace(inputs, held_out=easy), SETTINGS).values["oracle"].value < 0.35
    assert rmia_check(replace(inputs, held_out=easy), SETTINGS).verdict != "fail"


def test_nothing_remembered_has_no_power() -> None:
    result = rmia_check(with_pool(World(shift=0.0).build()), SETTINGS)
    assert result.verdict == "no power" and "planted" in result.words


def test_what_is_missing_is_named() -> None:
    inputs = World().build()
    assert "needs the outputs of a reference pool" in rmia_check(inputs, SETTINGS).words
    few = rmia_check(with_pool(World(forget=12).build()), SETTINGS)
    assert few.verdict == "no power" and "12 records: no set-level AUC under 20 records" in few.words
    crowded = rmia_check(with_pool(inputs, in_all=50), SETTINGS)
    assert crowded.verdict == "no power" and "50 of 64 records were left out by fewer than 2" in crowded.words
    indicative = rmia_check(with_pool(World(oracles=20).build()), SETTINGS)
    assert indicative.verdict == "no power" and "12 oracles" in indicative.words
    no_population = with_pool(World(forget=20, held_out=39, retain=40, classes=2).build())
    words = rmia_check(no_population, SETTINGS.model_copy(update={"min_records": 5})).words
    assert "19 population records, 20 needed" in words


def test_a_pool_that_does_not_fit_is_refused() -> None:
    inputs = with_pool(World().build())
    pool = inputs.pool
    with pytest.raises(UsageError, match="not on the records"):
        rmia_check(replace(inputs, pool=PoolOutputs(pool.logits, (pool.targets + 1) % 4, pool.trained, 0.3)), SETTINGS)
    seen = pool.trained.copy()
    seen[0, inputs.held_out[0]] = True
    with pytest.raises(UsageError, match="held-out"):
        rmia_check(replace(inputs, pool=replace(pool, trained=seen)), SETTINGS)
    with pytest.raises(UsageError, match="probability"):
        offline_reference(np.full((2, 3), 1.5), np.zeros((2, 3), dtype=bool))
    with pytest.raises(UsageError, match="population"):
        rmia_scores(np.zeros(3), np.zeros(0))
    with pytest.raises(UsageError, match="NaN"):
        rmia_scores(np.full(3, np.nan), np.zeros(3))
