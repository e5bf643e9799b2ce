"""U-LiRA on Gaussian worlds of known truth: identical laws read one half, memory is seen, both controls come out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from laws import World, logits_of
from scipy.stats import norm

from expunge.errors import UsageError
from expunge.evaluation import EvaluationInputs, EvaluationSettings
from expunge.evaluation.attacks import auc
from expunge.evaluation.shadows import ShadowOutputs
from expunge.evaluation.u_lira import lira_scores, u_lira, u_lira_check

SETTINGS = EvaluationSettings()
INPUTS = World(forget=30, retain=30, held_out=60, oracles=3, held_back=0, half_kept=0).build()


def shadow_phi(
    models: int, records: int, shift: float, seed: int, run_share: float = 0.05, balanced: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """phi [M, a] and membership: each record's law is N(mean, sd), shifted by ``shift`` sd where a model trained."""
    rng = np.random.default_rng(seed)
    sd, mean = np.exp(rng.normal(-0.3, 0.3, records)), rng.normal(2.0, 1.5, records)
    draw = rng.random((models, records))
    trained = np.argsort(draw, axis=0) < models // 2 if balanced else draw < 0.5
    noise = np.sqrt(1 - run_share) * rng.normal(size=(models, records))
    noise += np.sqrt(run_share) * rng.normal(size=(models, 1))
    return mean + sd * (noise + shift * trained), trained


def shadow_inputs(
    models: int, forget: int, after: float, before: float | None, retain: int = 0, retain_change: float = 0.0
) -> EvaluationInputs:
    """Shadow outputs in which a record to forget is remembered by ``after`` sd after unlearning, ``before`` before."""
    records = forget + retain
    phi, trained = shadow_phi(models, records, 0.0, seed=7)
    is_forget = np.arange(records) < forget
    targets = np.random.default_rng(0).integers(0, 4, records)
    memory = np.where(is_forget, after, 1.0 + retain_change) * trained * phi.std(axis=0)
    was = np.where(is_forget, before or 0.0, 1.0) * trained * phi.std(axis=0)
    rng = np.random.default_rng(1)
    fields: dict[str, Any] = {"before": None if before is None else logits_of(phi + was, targets, 4, rng)}
    shadows = ShadowOutputs(logits_of(phi + memory, targets, 4, rng), targets, trained, is_forget, **fields)
    return replace(INPUTS, shadows=shadows)


def pair_auc(phi: np.ndarray, trained: np.ndarray) -> float:
    return auc(lira_scores(phi, trained).ravel(), trained.ravel().astype(np.int64))


@pytest.mark.parametrize(("models", "records"), [(8, 100), (16, 100), (32, 60), (64, 60), (65, 61)])
def test_identical_laws_read_one_half(models: int, records: int) -> None:
    """Mean over 30 seeds within three standard errors of .5; fitted and scored on the same shadows it is not."""
    found = [pair_auc(*shadow_phi(models, records, 0.0, seed)) for seed in range(30)]
    assert abs(np.mean(found) - 0.5) < 3 * np.std(found, ddof=1) / np.sqrt(30) + 1e-3


@pytest.mark.parametrize(("models", "low", "high"), [(16, 0.66, 0.70), (64, 0.57, 0.60)])
def test_fits_that_hold_the_scored_model_are_the_trap(models: int, low: float, high: float) -> None:
    naive = []
    for seed in range(10):
        phi, trained = shadow_phi(models, 100, 0.0, seed)
        inside, outside = np.where(trained, phi, np.nan), np.where(trained, np.nan, phi)
        scores = norm.logpdf(phi, np.nanmean(inside, axis=0), np.nanstd(inside, axis=0, ddof=1))
        scores -= norm.logpdf(phi, np.nanmean(outside, axis=0), np.nanstd(outside, axis=0, ddof=1))
        naive.append(auc(scores.ravel(), trained.ravel().astype(np.int64)))
    assert low < np.mean(naive) < high


def test_scores_are_the_refitted_ratios() -> None:
    """Closed forms against fits made one model at a time: own side and one partner of the other side left out."""
    phi, trained = shadow_phi(12, 4, 1.0, 0, balanced=False)
    trained[:3], trained[3:6] = True, False
    found = lira_scores(phi, trained, variance_floor=0.0)
    for k in range(12):
        for i in range(4):
            own = np.flatnonzero((trained[:, i] == trained[k, i]) & (np.arange(12) != k))
            other = np.flatnonzero(trained[:, i] != trained[k, i])
            possible = []
            for partner in other:
                rest = other[other != partner]
                fits = [norm(phi[r, i].mean(), phi[r, i].std(ddof=1)) for r in (own, rest)]
                sign = 1 if trained[k, i] else -1
                possible.append(sign * (fits[0].logpdf(phi[k, i]) - fits[1].logpdf(phi[k, i])))
            assert np.isclose(possible, found[k, i], rtol=1e-6, atol=1e-9).any()


def test_memory_of_a_known_size_has_its_closed_form() -> None:
    """Two Gaussians one sd apart: AUC Phi(1/sqrt 2) for a known law, a little less for fitted ones."""
    found = np.mean([pair_auc(*shadow_phi(128, 60, 1.0, seed)) for seed in range(5)])
    truth = norm.cdf(1 / np.sqrt(2))
    assert truth - 0.02 < found < truth + 0.005
    over = np.mean([pair_auc(*shadow_phi(128, 60, -1.0, seed)) for seed in range(5)])
    assert over == pytest.approx(found, abs=0.02)  # over-forgotten: told just as well


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_interval_over_models_covers(shift: float) -> None:
    """At identical laws the jackknife is wider than needed (it covers 100 %), elsewhere it covers about 90 %."""
    group = {"forget": np.ones(30, dtype=bool)}
    found = [u_lira(*shadow_phi(32, 30, shift, seed), group)["forget"] for seed in range(20)]
    centre = 0.5 if shift == 0 else np.mean([each.auc for each in found])
    covered = [each.auc_interval[0] <= centre <= each.auc_interval[1] for each in found]
    assert np.mean(covered) >= 0.75
    for each in found[:3]:
        assert abs(each.null.mean() - 0.5) < 0.02 and len(each.null) == 60
        assert each.rates[0].value is not None and each.rates[1].value is None  # 480 negatives


@pytest.mark.parametrize(
    ("after", "before", "verdict"),
    [(0.0, 2.0, "pass"), (2.0, 2.0, "fail"), (-2.0, 2.0, "fail"), (0.0, 0.0, "no power"), (0.0, None, "no power")],
)
def test_the_check_and_its_controls(after: float, before: float | None, verdict: str) -> None:
    result = u_lira_check(shadow_inputs(48, 40, after, before, retain=20), SETTINGS)
    assert result.verdict == verdict, result.words
    assert result.controls["null"].holds
    assert result.sound == (before == 2.0)
    assert (result.p_value <= 0.05) == (after != 0.0)
    low, high = result.interval
    assert low < result.statistic < high
    assert result.values["unlearned"].value == pytest.approx(0.5 + result.statistic)


def test_retained_records_are_reported_before_and_after() -> None:
    more = u_lira_check(shadow_inputs(48, 40, 0.0, 2.0, retain=30, retain_change=1.0), SETTINGS)
    same = u_lira_check(shadow_inputs(48, 40, 0.0, 2.0, retain=30), SETTINGS)
    low, _ = more.details["retain"]["auc_change_interval"]
    assert low > 0 and more.values["retain"].value > more.values["retain_original"].value
    low, high = same.details["retain"]["auc_change_interval"]
    assert low <= 0 <= high


def test_what_is_missing_is_named() -> None:
    assert u_lira_check(INPUTS, SETTINGS).words == (
        "no power: needs shadow models of the whole procedure; `expunge evaluate --shadows 64` trains them"
    )
    few = u_lira_check(shadow_inputs(48, 12, 0.0, 2.0), SETTINGS)
    assert few.verdict == "no power" and "20 records needed" in few.words and few.statistic is None
    assert "at least 8 needed" in u_lira_check(shadow_inputs(6, 40, 0.0, 2.0), SETTINGS).words
    assert "shadows are needed" in u_lira_check(shadow_inputs(8, 20, 0.6, 2.0), SETTINGS).words
    wide = u_lira_check(shadow_inputs(24, 30, 0.5, 2.0), SETTINGS)
    assert wide.verdict == "no power" and wide.details["models_needed"] > 24
    assert f"about {wide.details['models_needed']} shadows would decide" in wide.words
    everyone = shadow_inputs(16, 40, 0.0, 2.0)
    trained = np.ones_like(everyone.shadows.trained)
    one_class = u_lira_check(replace(everyone, shadows=replace(everyone.shadows, trained=trained)), SETTINGS)
    assert one_class.verdict == "no power" and "0 records" in one_class.words


def test_unusable_arrays_are_refused() -> None:
    phi, trained = shadow_phi(16, 10, 0.0, 0)
    with pytest.raises(UsageError, match="do not match"):
        lira_scores(phi, trained[:, :5])
    with pytest.raises(UsageError, match="NaN"):
        lira_scores(np.where(trained, np.nan, phi), trained)
    with pytest.raises(UsageError, match="three models"):
        lira_scores(phi, np.ones_like(trained))
    with pytest.raises(UsageError, match="do not differ"):
        lira_scores(np.full_like(phi, 0.1), trained)
    with pytest.raises(UsageError, match="both sides"):
        u_lira(phi, np.ones_like(trained), {"forget": np.ones(10, dtype=bool)})
