"""KLOM: its published bias is reproduced, the null removes it, and what is left has a verdict with both controls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import rel_entr
from scipy.stats import norm
from test_u_lira import INPUTS, shadow_inputs, shadow_phi

from expunge.errors import UsageError
from expunge.evaluation import EvaluationSettings
from expunge.evaluation.ensembles import priorities, split_arms
from expunge.evaluation.klom import histogram_kl, klom, klom_check, margin_nats

SETTINGS = EvaluationSettings()


@pytest.mark.parametrize(("models", "reads"), [(5, 7.95), (64, 0.63)])
def test_identical_laws_read_what_the_method_says(models: int, reads: float) -> None:
    phi = np.random.default_rng(0).normal(size=(2 * models, 4000))
    first = np.arange(2 * models)[:, None] + np.zeros(4000, dtype=int) < models
    assert histogram_kl(phi, first, ~first).mean() == pytest.approx(reads, rel=0.03)


@pytest.mark.parametrize("models", [20, 128])
def test_the_null_removes_the_bias(models: int) -> None:
    found = [klom(*shadow_phi(models, 100, 0.0, seed)) for seed in range(8)]
    excess = [each.excess for each in found]
    assert min(each.raw for each in found) > 0.5  # no law differs from any other
    assert abs(np.mean(excess)) < 3 * np.std(excess, ddof=1) / np.sqrt(8) + 0.02
    assert all(each.excess == pytest.approx(each.split - each.null) for each in found)


def test_two_gaussians_read_about_their_divergence_with_many_models() -> None:
    """KL of two unit Gaussians one sd apart is 1/2 nat; 2,000 models an arm come close on a histogram of 20 bins."""
    rng = np.random.default_rng(0)
    first = np.arange(4000)[:, None] + np.zeros(20, dtype=int) < 2000
    phi = rng.normal(size=(4000, 20)) + first
    assert histogram_kl(phi, first, ~first).mean() == pytest.approx(0.5, abs=0.05)
    assert histogram_kl(phi, first, first).max() == 0.0


def test_one_record_is_a_plain_histogram() -> None:
    rng = np.random.default_rng(1)
    p, q = rng.normal(1, 1, 30), rng.normal(0, 1, 40)
    edges = np.linspace(min(p.min(), q.min()), max(p.max(), q.max()), 21)
    shares = [np.histogram(x, edges)[0] / len(x) for x in (p, q)]
    plain = rel_entr(shares[0], np.maximum(shares[1], 1e-5)).sum()
    side = (np.arange(70) < 30)[:, None]
    assert histogram_kl(np.concatenate([p, q])[:, None], side, ~side)[0] == pytest.approx(plain)
    assert histogram_kl(np.full((4, 1), 200.0), side[28:32], ~side[28:32])[0] == 0.0  # cut and constant


def test_the_split_is_disjoint_and_of_one_size() -> None:
    _, trained = shadow_phi(41, 30, 0.0, 0, balanced=False)
    unlearned, never, other = split_arms(trained, priorities(trained.shape, 0)[0])
    assert not (unlearned & ~trained).any() and not ((never | other) & trained).any() and not (never & other).any()
    sizes = np.minimum(trained.sum(axis=0), (~trained).sum(axis=0) // 2)
    for side in (unlearned, never, other):
        assert (side.sum(axis=0) == sizes).all()


def test_the_margin_is_the_reading_of_a_known_attack() -> None:
    """Gaussians with AUC .6 read the margin, on fresh data and both ways."""
    shift = np.sqrt(2) * norm.ppf(0.6)
    margin = margin_nats(32, 0.1)
    for sign in (1, -1):
        excess = np.mean([klom(*shadow_phi(128, 200, sign * shift, seed)).excess for seed in range(6)])
        assert excess == pytest.approx(margin, abs=0.05)


@pytest.mark.parametrize(
    ("after", "before", "verdict"),
    [(0.0, 2.0, "pass"), (2.0, 2.0, "fail"), (-2.0, 2.0, "fail"), (0.0, 0.0, "no power")],
)
def test_the_check_and_its_controls(after: float, before: float, verdict: str) -> None:
    result = klom_check(shadow_inputs(256, 80, after, before), SETTINGS)
    assert result.verdict == verdict, result.words
    assert result.controls["null"].holds and result.sound == (before == 2.0)
    assert result.interval[0] < result.statistic < result.interval[1]
    assert result.details["models_an_arm_of_split_and_null"] == 64


def test_too_few_models_say_how_many() -> None:
    result = klom_check(shadow_inputs(64, 30, 0.0, 2.0), SETTINGS)
    assert result.verdict == "no power" and result.statistic is None
    assert result.words == "no power: 32 models an arm, 64 needed; `expunge evaluate --shadows 128` trains them"
    assert "`expunge evaluate --shadows 128` trains them" in klom_check(INPUTS, SETTINGS).words
    assert "5 records to forget among the shadows, 20 needed" in klom_check(shadow_inputs(128, 5, 0, 2), SETTINGS).words


def test_unusable_arrays_are_refused() -> None:
    phi, trained = shadow_phi(16, 10, 0.0, 0)
    for bad in (trained[:, :5], np.ones_like(trained)):
        with pytest.raises(UsageError):
            histogram_kl(phi, bad, ~bad)
    with pytest.raises(UsageError, match="NaN"):
        histogram_kl(np.where(trained, np.nan, phi), trained, ~trained)
