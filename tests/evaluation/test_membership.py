"""The attacks: matched, calibrated on exchangeable data, and judged against the oracles' own value."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from laws import World, logits_of
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score

from expunge.evaluation import EvaluationSettings
from expunge.evaluation.attacks import ForestAttack, LossAttack, auc, forest_features, forget_efficacy, match
from expunge.evaluation.confidence import loss
from expunge.evaluation.membership import (
    confidence_check,
    forest_check,
    loss_check,
    request_loss_values,
)
from expunge.evaluation.roc import roc_details

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


def test_the_low_rate_stands_beside_the_loss_auc_where_there_are_enough_negatives() -> None:
    rates = loss_check(World(oracles=20).build("untouched"), SETTINGS).details["tpr_on_raw_loss"]
    assert rates["original"]["value"] is None and "64 negatives" in rates["original"]["note"]
    world = World(forget=120, held_out=600, oracles=20, half_kept=0, held_back=1)
    details = loss_check(world.build("oracle"), SETTINGS).details
    low, high = details["raw_loss_auc"]["original"]["interval"]
    assert 0.5 < low < details["raw_loss_auc"]["original"]["value"] < high < 1
    rates = details["tpr_on_raw_loss"]
    assert rates["original"]["value"] > rates["unlearned"]["value"]
    low, high = rates["unlearned"]["interval"]
    assert 0 <= low <= rates["unlearned"]["value"] <= high <= 1


def test_the_features_of_the_forest_are_scipys() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(0, 3, (50, 4)), rng.integers(0, 4, 50)
    features = forest_features(logits, targets)
    p = softmax(logits, axis=-1)
    own = p[np.arange(50), targets]
    wrong = np.where(np.arange(4) == targets[:, None], -np.inf, logits).max(axis=-1)
    expected = [-np.log(own), own, logits[np.arange(50), targets] - wrong, entropy(p, axis=-1), np.log(own / (1 - own))]
    assert features == pytest.approx(np.stack(expected, axis=-1))
    saturated = forest_features(np.array([[1000.0, 0.0], [-1000.0, 0.0]]), np.array([0, 0]))
    assert np.isfinite(saturated).all()


def test_the_forest_sees_what_a_line_on_the_loss_cannot() -> None:
    """Members of middling loss among others of very low and very high loss; on noise it reads one half."""
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 4, 200)
    others = rng.choice([-3.0, 3.0], 100) + rng.normal(0, 0.5, 100)
    logits = logits_of(np.concatenate([rng.normal(0, 0.5, 100), others]), targets, 4, rng)
    features = forest_features(logits, targets)
    forest = ForestAttack(100, 5, 0)
    value = forest(features)
    assert value > 0.95 > 0.7 > LossAttack(100, 10, 0)(features[:, 0])
    assert value == ForestAttack(100, 5, 0)(features)
    assert forest(np.ones((200, 5))) == 0.5
    assert abs(np.mean([forest(rng.normal(size=(200, 5))) for _ in range(3)]) - 0.5) < 0.08


@pytest.fixture
def small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight trees; the default is run by the test above."""
    monkeypatch.setattr("expunge.evaluation.attacks.FOREST_TREES", 8)


@pytest.mark.parametrize(("kind", "verdict"), [("oracle", "pass"), ("untouched", "fail"), ("over", "fail")])
@pytest.mark.usefixtures("small_forests")
def test_the_forest_is_judged_as_the_loss_attack_is(kind: str, verdict: str) -> None:
    half_kept = 12 if kind == "oracle" else 0
    world = World(run_share=0.01, forget=100, held_out=400, half_kept=half_kept, shift=4.0)
    result = forest_check(world.build(kind), SETTINGS)
    assert result.verdict == verdict, result.words
    assert result.sound and result.name == "mia_forest"
    assert len(result.details["oracle_values"]) == 20 and result.details["oracles_not_attacked"] == 20
    assert len(result.details["half_kept_values"]) == min(half_kept, result.details["controls_attacked_at_most"])


@pytest.mark.usefixtures("small_forests")
def test_the_forest_with_few_records_and_with_few_oracles() -> None:
    few = forest_check(World(forget=12).build(), SETTINGS)
    assert few.verdict == "no power" and "12 records: no set-level AUC under 20 records" in few.words
    small = World(forget=24, held_out=100, oracles=4, held_back=1, half_kept=1).build()
    indicative = forest_check(small, SETTINGS)
    assert indicative.verdict == "no power" and "4 oracles" in indicative.words


def test_the_roc_curves_are_those_of_the_raw_loss_on_the_matched_records() -> None:
    inputs = World(oracles=20, half_kept=2).build("oracle")
    details = loss_check(inputs, SETTINGS).details
    found = details["roc"]
    matching = match(inputs.forget, inputs.held_out, inputs.targets, inputs.difficulty)

    def scores(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        each = -loss(logits, inputs.targets)
        return each[matching.members], each[matching.others]

    pairs = [scores(logits) for logits in inputs.oracles]
    assert found == roc_details(scores(inputs.original), scores(inputs.unlearned), pairs)
    assert (found["members"], found["others"]) == (64, 64) and len(found["oracle_band"][0]) == 3
    for role in ("original", "unlearned"):  # the area under the points is the AUC beside them
        false, true = np.array(found[role]).T
        assert np.trapezoid(true, false) == pytest.approx(details["raw_loss_auc"][role]["value"], abs=0.02)
    capped = loss_check(inputs, SETTINGS.model_copy(update={"mia_oracles": 5})).details["roc"]
    assert capped["oracle_band"] == roc_details(pairs[0], pairs[0], pairs[:5])["oracle_band"]
    assert "roc" not in forest_check(World(forget=24, held_out=100, oracles=4, half_kept=0).build(), SETTINGS).details
