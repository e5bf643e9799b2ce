"""Temperature: found, taken out before models are compared, and reported by a check that nothing else shares."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from laws import World, logits_of
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from expunge.evaluation import EvaluationInputs, EvaluationSettings, Evidence, run_checks
from expunge.evaluation.calibration import calibration_check
from expunge.evaluation.confidence import LIMIT, temperatures

SETTINGS = EvaluationSettings(gating=("influence",), mia_sample=60, mia_folds=5)
NAMES = ["influence", "influence_share", "mia_loss", "mia_confidence", "utility", "drift", "calibration"]
WORLD = World(seed=6, oracles=40, retain=80, held_out=250, half_kept=8, run_share=0.01)


def answers(count: int, n: int, seed: int = 0, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits [count, n, 4] of similar models and targets drawn from the first's softmax: its temperature is one."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (n, 4)) + rng.normal(0, 1, (count, n, 4))
    p = softmax(logits[0], axis=-1)
    return logits, (p.cumsum(axis=-1) > rng.random((n, 1))).argmax(axis=-1)


def test_a_known_temperature_is_found() -> None:
    logits, targets = answers(1, 20_000)
    for known in (0.3, 1.0, 4.0):
        assert temperatures(logits * known, targets)[0] == pytest.approx(known, rel=0.03)


def test_it_is_the_minimum_of_the_cross_entropy() -> None:
    logits, targets = answers(5, 300, seed=1)

    def nll(log_t: float, z: np.ndarray) -> float:
        return float(-log_softmax(z / np.exp(log_t), axis=-1)[np.arange(300), targets].mean())

    for z, found in zip(logits, temperatures(logits, targets), strict=True):
        best = minimize_scalar(nll, bounds=(-LIMIT, LIMIT), args=(z,), method="bounded", options={"xatol": 1e-8})
        assert nll(float(np.log(found)), z) <= best.fun + 1e-7


def test_dividing_the_logits_divides_the_temperature_and_a_shift_does_nothing() -> None:
    logits, targets = answers(3, 400, seed=2)
    found = temperatures(logits, targets)
    for by in (0.4, 1.7, 5.0):
        assert temperatures(logits / by, targets) == pytest.approx(found / by, rel=1e-4)
    shift = np.random.default_rng(0).normal(0, 5, (3, 400, 1))
    assert temperatures(logits + shift, targets) == pytest.approx(found, rel=1e-6)
    assert temperatures(logits / found[:, None, None], targets) == pytest.approx(1.0, rel=1e-4)


def test_where_no_temperature_is_best_it_is_bounded() -> None:
    _, targets = answers(1, 200)
    low, high = np.exp([-LIMIT, LIMIT])
    constant = np.zeros((1, 200, 4))
    always_right = np.where(np.arange(4) == targets[:, None], 3.0, 0.0)[None]
    for logits in (constant, constant + 3.0, always_right, -always_right, 1e6 * always_right):
        found = temperatures(logits, targets)
        assert np.isfinite(found).all() and low * 0.999 <= found[0] <= high * 1.001
    assert temperatures(always_right, targets)[0] < 0.02 and temperatures(-always_right, targets)[0] > 50


@pytest.fixture(scope="module")
def inputs() -> EvaluationInputs:
    return WORLD.build()


@pytest.fixture(scope="module")
def plain(inputs: EvaluationInputs) -> Evidence:
    return run_checks(inputs, NAMES, settings=SETTINGS)


def assert_all_but_the_temperature_agrees(one: Evidence, other: Evidence) -> None:
    for name in NAMES[:-1]:
        a, b = one.check(name), other.check(name)
        assert (a.verdict, a.p_value) == (b.verdict, b.p_value), name
        assert a.statistic == pytest.approx(b.statistic, abs=1e-4), name


@pytest.mark.parametrize("temperature", [0.4, 3.0])
def test_an_oracle_behind_a_temperature_is_judged_as_the_oracle(
    inputs: EvaluationInputs, plain: Evidence, temperature: float
) -> None:
    hidden = run_checks(replace(inputs, unlearned=inputs.unlearned / temperature), NAMES, settings=SETTINGS)
    assert plain.check("influence").verdict == "pass"
    assert_all_but_the_temperature_agrees(hidden, plain)
    before, after = plain.check("calibration"), hidden.check("calibration")
    assert before.verdict == "pass" and after.verdict == "fail" and not after.gating
    assert after.statistic == pytest.approx(before.statistic / temperature, rel=1e-4)
    assert f"temperature {after.statistic:.2f}" in after.words and after.p_value == pytest.approx(1 / 41)
    assert after.values["unlearned"].value == after.statistic


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_the_original_behind_a_temperature_still_fails(inputs: EvaluationInputs, temperature: float) -> None:
    bare = run_checks(replace(inputs, unlearned=inputs.original), NAMES, settings=SETTINGS)
    hidden = run_checks(replace(inputs, unlearned=inputs.original / temperature), NAMES, settings=SETTINGS)
    for name in ("influence", "mia_loss", "mia_confidence"):
        assert bare.check(name).verdict == hidden.check(name).verdict == "fail"
    assert_all_but_the_temperature_agrees(hidden, bare)
    assert hidden.check("calibration").verdict == "fail"


def test_every_model_is_taken_at_its_own_temperature(inputs: EvaluationInputs) -> None:
    """Oracles, held-back and half-kept models of any sharpness are the models they were."""
    rng = np.random.default_rng(0)
    sharp = {
        role: getattr(inputs, role) * np.exp(rng.normal(0, 0.5, (len(getattr(inputs, role)), 1, 1)))
        for role in ("oracles", "held_back", "half_kept")
    }
    before = inputs.calibrated()
    after = replace(inputs, **sharp).calibrated()
    for role in ("original", "unlearned", "oracles", "held_back", "half_kept"):
        assert after.phi[role] == pytest.approx(before.phi[role], rel=1e-3, abs=1e-3)
    assert after.calibrated() is after or after.calibrated().phi["oracles"] == pytest.approx(after.phi["oracles"])
    assert {role: len(found) for role, found in after.temperatures.items()} == {
        "original": 1, "unlearned": 1, "oracles": 40, "held_back": 5, "half_kept": 8
    }  # fmt: skip


def test_only_held_out_records_say_how_sharp_a_model_is(inputs: EvaluationInputs) -> None:
    """What a model says of the records to forget does not move its temperature: memory is not taken out with it."""
    changed = inputs.unlearned.copy()
    changed[inputs.forget] *= 7.0
    changed[inputs.retain] *= 0.2
    found = replace(inputs, unlearned=changed).calibrated().temperatures["unlearned"]
    assert found == pytest.approx(inputs.calibrated().temperatures["unlearned"])


def test_the_check_reads_the_oracles_and_says_when_they_are_few(inputs: EvaluationInputs) -> None:
    result = calibration_check(inputs, SETTINGS)
    low, high = result.values["oracle"].interval
    assert low < result.values["oracle"].value < high and result.controls["oracle"].of == 5
    assert calibration_check(inputs.calibrated(), SETTINGS).statistic == pytest.approx(result.statistic)
    few = calibration_check(replace(inputs, oracles=inputs.oracles[:10]), SETTINGS)
    assert few.verdict == "no power" and "10 oracles, a verdict at level 0.05 needs 19" in few.words


def test_oracles_fail_at_the_level() -> None:
    """Each oracle in the candidate's place: places 1 and 2 of 40 reach .05."""
    inputs = World(seed=3, oracles=40, retain=20, held_out=150, half_kept=0, held_back=0).build()
    known = inputs.calibrated().temperatures
    failed = 0
    for k in range(40):
        moved = {"oracles": np.delete(known["oracles"], k), "unlearned": known["oracles"][[k]]}
        failed += calibration_check(replace(inputs, temperatures={**known, **moved}), SETTINGS).verdict == "fail"
    assert 1 <= failed <= 3


def test_the_laws_of_these_tests_have_a_temperature() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 4, 500)
    logits = logits_of(rng.normal(1, 2, 500), targets, 4, rng)[None]
    assert 0.2 < temperatures(logits, targets)[0] < 5
