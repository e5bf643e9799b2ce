"""Rates and their intervals: against scipy, scikit-learn and closed forms; too little data says how much is needed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, norm
from sklearn.metrics import roc_auc_score, roc_curve

from expunge.errors import UsageError
from expunge.evaluation.attack_rates import delong, negatives_needed, tpr_at_fpr

Pair = tuple[np.ndarray, np.ndarray]


def gaussians(members: int, others: int, shift: float, seed: int) -> Pair:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(shift, 1, members), rng.normal(0, 1, others)])
    return scores, np.repeat([1, 0], [members, others])


def test_the_rate_is_scikit_learns_and_its_interval_scipys() -> None:
    for seed in range(10):
        scores, labels = gaussians(80, 300, 1.0, seed)
        rate = tpr_at_fpr(scores, labels, 0.1)
        fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
        assert rate.value == pytest.approx(tpr[fpr <= 0.1].max())
        caught = round(rate.value * 80)
        exact = beta.ppf([0.025, 0.975], [caught, caught + 1], [80 - caught + 1, 80 - caught])
        assert rate.interval == pytest.approx(tuple(exact))


def test_the_rate_of_two_gaussians_is_its_closed_form() -> None:
    scores, labels = gaussians(20000, 20000, 1.0, 0)
    for fpr in (0.1, 0.01):
        rate = tpr_at_fpr(scores, labels, fpr)
        low, high = rate.interval
        truth = norm.cdf(1.0 - norm.ppf(1 - fpr))
        assert low - 0.01 < truth < high + 0.01
    assert tpr_at_fpr(*gaussians(20000, 20000, 0.0, 1), 0.1).value == pytest.approx(0.1, abs=0.01)


def test_ties_never_raise_the_false_positive_rate() -> None:
    labels = np.repeat([1, 0], 100)
    assert tpr_at_fpr(np.ones(200), labels, 0.1).value == 0.0
    scores = np.concatenate([np.full(100, 2.0), np.repeat([2.0, 1.0], [11, 89])])
    assert tpr_at_fpr(scores, labels, 0.1).value == 0.0  # eleven of a hundred share the members' score
    scores[100] = 1.0
    assert tpr_at_fpr(scores, labels, 0.1).value == 1.0


@pytest.mark.parametrize(("fpr", "needed"), [(0.1, 100), (0.01, 1000), (0.001, 10000)])
def test_too_few_negatives_have_no_rate(fpr: float, needed: int) -> None:
    assert negatives_needed(fpr) == needed
    rate = tpr_at_fpr(*gaussians(50, needed - 1, 1.0, 0), fpr)
    assert rate.value is None and rate.interval is None and rate.negatives_needed == needed
    assert rate.note.startswith("no power") and str(needed) in rate.note
    assert tpr_at_fpr(*gaussians(50, needed, 1.0, 0), fpr).value is not None


def test_unusable_scores_are_refused() -> None:
    scores, labels = gaussians(20, 20, 1.0, 0)
    for bad_scores, bad_labels in (
        (scores, np.ones(40)),
        (scores, np.zeros(40)),
        (np.where(labels == 1, np.nan, scores), labels),
        (scores[:10], labels),
        (scores, labels * 2),
    ):
        for statistic in (delong, lambda s, y: tpr_at_fpr(s, y, 0.1)):
            with pytest.raises(UsageError):
                statistic(bad_scores, bad_labels)
    with pytest.raises(UsageError, match="false positive rate"):
        negatives_needed(1.0)


def test_delong_is_the_pairwise_formula() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 6, 40).astype(float), rng.permutation(np.repeat([0, 1], [22, 18]))
    found = delong(scores, labels)
    assert found.value == pytest.approx(roc_auc_score(labels, scores))
    wins = np.sign(scores[labels == 1][:, None] - scores[labels == 0][None, :]) / 2 + 0.5
    variance = wins.mean(axis=1).var(ddof=1) / 18 + wins.mean(axis=0).var(ddof=1) / 22
    assert found.standard_error == pytest.approx(np.sqrt(variance))


def test_the_interval_of_delong_covers_the_closed_form() -> None:
    truth = norm.cdf(0.8 / np.sqrt(2))
    found = [delong(*gaussians(60, 80, 0.8, seed)) for seed in range(300)]
    covered = np.mean([each.interval[0] <= truth <= each.interval[1] for each in found])
    assert 0.91 <= covered <= 0.98
    separate = delong(np.arange(10.0), np.repeat([0, 1], 5))
    assert separate.value == 1.0 and separate.interval is None and "separate" in separate.note
