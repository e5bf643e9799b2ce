"""The attacks: matched, calibrated on exchangeable data, and judged against the oracles' own value."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from laws import World
from sklearn.metrics import roc_auc_score

from expunge.evaluation import EvaluationSettings
from expunge.evaluation.attacks import LossAttack, auc, forget_efficacy, match
from expunge.evaluation.membership import confidence_check, loss_check, request_loss_values

SETTINGS = EvaluationSettings()


def test_auc_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = rng.permutation(np.repeat([0, 1], [7, 9]))
        scores = rng.integers(0, 5, 16).astype(float)  # with ties
        assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_matching_keeps_labels_and_uses_each_record_once() -> None:
    rng = np.random.default_rng(1)
    targets, difficulty = rng.integers(0, 3, 400), rng.normal(size=400)
    found = match(np.arange(50), np.arange(100, 400), targets, difficulty)
    assert found.unmatched == 0 and (targets[found.members] == targets[found.others]).all()
    assert len(set(found.others.tolist())) == 50
    random_gap = np.abs(difficulty[:50] - difficulty[100:150]).mean()
    assert np.abs(difficulty[found.members] - difficulty[found.others]).mean() < random_gap / 5
    short = match(np.arange(50), np.arange(100, 110), targets, difficulty)
    assert short.unmatched == 50 - len(short.members) > 0


def test_matched_oracles_show_no_difference_and_unmatched_ones_do() -> None:
    """Hard forget records: AUC 0.5 within its interval once held-out records of the same difficulty are chosen."""
    raw, unmatched = [], []
    rng = np.random.default_rng(2)
    for seed in range(30):
        n = 1200
        mean = rng.normal(2, 1.5, n)
        members = np.argsort(mean)[:60]  # the hardest
        mean[60:][rng.random(n - 60) < 0.3] -= 3
        rest = np.setdiff1d(np.arange(n), members)
        difficulty = mean + 0.1 * rng.normal(size=n)
        phi = mean + 0.7 * rng.normal(size=n)
        targets = rng.integers(0, 3, n)
        found = match(members, rest, targets, difficulty)
        attack = LossAttack(60, 10, seed)
        unmatched.append(auc(-phi[np.concatenate([members, rng.choice(rest, 60)])], attack.labels))
        raw.append(auc(-phi[np.concatenate([found.members, found.others])], attack.labels))
    half = 2.6 * np.std(raw, ddof=1) / np.sqrt(30)
    assert abs(np.mean(raw) - 0.5) < half + 0.02
    assert np.mean(unmatched) > 0.7  # the negative control: without matching difficulty reads as membership


def test_the_attacks_see_what_is_there_and_repeat_exactly() -> None:
    rng = np.random.default_rng(3)
    attack = LossAttack(64, 10, 0)
    members, others = rng.exponential(0.2, 64), rng.exponential(2.0, 64)
    value = attack(np.concatenate([members, others]))
    assert value > 0.8 and value == LossAttack(64, 10, 0)(np.concatenate([members, others]))
    assert attack(np.ones(128)) == 0.5
    null = [attack(rng.exponential(1.0, 128)) for _ in range(40)]
    assert abs(np.mean(null) - 0.5) < 0.06  # cross-validation leans below one half when there is nothing to learn
    seen, unseen = rng.beta(20, 1, 200), rng.beta(2, 2, 200)
    assert (
        forget_efficacy(seen, unseen, rng.beta(2, 2, 64))
        > 0.7
        > 0.3
        > forget_efficacy(seen, unseen, rng.beta(20, 1, 64))
    )


@pytest.mark.parametrize(("kind", "verdict"), [("oracle", "pass"), ("untouched", "fail"), ("over", "fail")])
def test_the_loss_attack_is_two_sided_around_the_oracles(kind: str, verdict: str) -> None:
    result = loss_check(World(run_share=0.01).build(kind), SETTINGS)
    assert result.verdict == verdict and result.sound
    low, high = result.interval
    assert low < result.statistic < high
    assert result.values["unlearned"].value - result.values["oracle"].value == pytest.approx(result.statistic)
    assert (high < 0 or low > 0) == (verdict == "fail")
    assert result.details["unmatched"] == 0


@pytest.mark.parametrize(("kind", "verdict"), [("oracle", "pass"), ("untouched", "fail")])
def test_the_confidence_attack(kind: str, verdict: str) -> None:
    result = confidence_check(World(run_share=0.01).build(kind), SETTINGS)
    assert result.verdict == verdict and result.sound
    assert result.values["original"].value < result.values["oracle"].value - 0.1


def test_little_remembered_needs_a_planted_set() -> None:
    world = World(shift=0.0)
    for check in (loss_check, confidence_check):
        assert check(world.build(), SETTINGS).verdict == "no power"
        with_planted = check(world.build(planted=True), SETTINGS)
        assert with_planted.verdict == "pass" and with_planted.little_remembered


def test_too_few_records_say_how_many_are_needed() -> None:
    inputs = World(forget=12).build()
    for check in (loss_check, confidence_check):
        result = check(inputs, SETTINGS)
        assert result.verdict == "no power" and "12 records: no set-level AUC under 20 records" in result.words
        assert result.statistic is None and result.details["records_needed"] == 20
    values = request_loss_values(inputs, inputs.forget[:1], SETTINGS)
    assert values["unlearned"].value is None
    assert values["unlearned"].note == "1 record: no set-level AUC under 20 records"


def test_the_number_of_attacked_oracles_is_capped_and_said() -> None:
    result = loss_check(World().build(), SETTINGS.model_copy(update={"mia_oracles": 25}))
    assert len(result.details["oracle_values"]) == 25 and result.details["oracles_not_attacked"] == 15


def test_both_attacks_take_seconds() -> None:
    inputs = World().build()
    start = time.process_time()
    loss_check(inputs, SETTINGS)
    confidence_check(inputs, SETTINGS)
    assert time.process_time() - start < 6


def test_the_oracles_value_is_the_reference_not_one_half() -> None:
    """Forget records harder than any held-out one: an oracle is far from 0.5, and passes."""
    inputs = World(hardness=-5.0, run_share=0.01).build()
    easy = inputs.held_out[inputs.held_out.size // 2 :]
    result = loss_check(replace(inputs, held_out=easy), SETTINGS)
    assert result.values["oracle"].value > 0.9
    assert result.verdict != "fail"
