"""The weaker levels of evidence: what they need, what decides there, and that no check trips over missing oracles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from laws import PoolWorld, World

from expunge.errors import UsageError
from expunge.evaluation import EvaluationInputs, EvaluationSettings, Evidence, decide, run_checks
from expunge.evaluation.utility import utility_check

REQUESTS = {"large": np.arange(40), "small": np.array([41, 42])}


@pytest.fixture(scope="module")
def inputs() -> EvaluationInputs:
    return PoolWorld(seed=0, half_kept=8, offset=-0.5, noise=1.3, retain=80).build(requests=REQUESTS)


@pytest.fixture(scope="module")
def evidence(inputs: EvaluationInputs) -> Evidence:
    return run_checks(inputs, level="pool")


def test_every_check_answers_without_oracles(evidence: Evidence) -> None:
    own = {"pool_influence", "matched", "utility"}
    for result in evidence.checks:
        if result.name not in own:
            assert result.verdict == "no power" and result.words.startswith("no power"), result.name
    for name in (
        "influence",
        "influence_share",
        "mia_loss",
        "mia_confidence",
        "mia_forest",
        "drift",
        "calibration",
        "rmia",
    ):
        assert "needs 19" in evidence.check(name).words or "19 needed" in evidence.check(name).words
    assert Evidence.model_validate_json(evidence.model_dump_json()) == evidence


def test_what_decides_and_what_is_said(evidence: Evidence, inputs: EvaluationInputs) -> None:
    assert [result.name for result in evidence.checks if result.gating] == ["pool_influence"]
    assert evidence.check("pool_influence").verdict == "pass" and evidence.oracles.count == 64
    assert "weaker evidence than retrained models (64 of them)" in evidence.words and "indicative" not in evidence.words
    weakest = run_checks(replace(inputs, pool=None), ["utility"], level="oracle-free")
    assert [result.name for result in weakest.checks if result.gating] == ["matched"]
    assert weakest.words.endswith("without a retrained model: the weakest evidence.") and weakest.oracles.count == 0


def test_requests_have_accuracies_and_no_verdict(evidence: Evidence) -> None:
    for request in evidence.requests:
        assert request.verdict == "no power" and not request.influence_rank and not request.places
        assert request.forget_accuracy["unlearned"].value is not None
        assert request.forget_accuracy["oracle"].note == request.mia["oracle"].note[:10] == "no oracles"
    assert evidence.utility["held_out_gap_unlearned"].note == "no oracles"


def test_the_utility_guard_compares_with_the_original(evidence: Evidence, inputs: EvaluationInputs) -> None:
    result = utility_check(PoolWorld(held_out=4000, noise=1.0).build("continued"), EvaluationSettings())
    assert result.verdict == "pass" and "no retrained model" in result.words and result.sound
    damaged = inputs.unlearned.copy()
    rows = inputs.held_out[::3]
    damaged[rows, inputs.targets[rows]] = -20
    assert utility_check(replace(inputs, unlearned=damaged), EvaluationSettings()).verdict == "fail"
    constant = utility_check(replace(inputs, unlearned=np.ones_like(damaged)), EvaluationSettings())
    assert constant.verdict == "fail" and constant.controls["constant"].holds
    gate = decide(evidence, guarantee="empirical", retrained=False, erased_ids_in_training=0)
    assert any(finding.name == "utility" and "no retrained model" in finding.words for finding in gate.findings)


def test_a_level_without_its_data_is_refused(inputs: EvaluationInputs) -> None:
    with pytest.raises(UsageError, match="level oracle needs oracles"):
        run_checks(inputs)
    with pytest.raises(UsageError, match="level pool needs a reference pool"):
        run_checks(World(oracles=19).build(), level="pool")
    with pytest.raises(UsageError, match="no spread"):
        World(oracles=2).build()


def test_gating_at_each_level() -> None:
    own = EvaluationSettings()
    assert own.gating_at("oracle") == own.gating
    assert own.gating_at("pool") == ("pool_influence",) and own.gating_at("oracle-free") == ("matched",)
    named = EvaluationSettings(gating=("matched", "pool_influence"))
    assert named.gating_at("pool") == named.gating == named.gating_at("oracle-free")
