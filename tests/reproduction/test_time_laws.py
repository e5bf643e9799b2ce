"""Tobit fits against a closed form and a blind optimiser; a planted law wins, and censoring does not bend it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm

from expunge.errors import UsageError
from expunge.reproduction.predict_sgld.laws import LAWS, Observed, fit_law, held_out_scores, why_not

CAP = 600.0
STEEP = (-500.0, 140.0)


def observed(loss: np.ndarray, latent: np.ndarray, group: np.ndarray | None = None) -> Observed:
    return Observed(
        loss, np.clip(latent, 0, CAP), latent > CAP, np.arange(len(loss)) if group is None else group, CAP
    )  # fmt: skip


def drawn(law: str, count: int = 60, spread: float = 60.0, seed: int = 0) -> Observed:
    rng = np.random.default_rng(seed)
    loss = np.exp(rng.uniform(2, 9, count))
    line = {
        "constant": np.full(count, 300.0), "logarithmic": STEEP[0] + STEEP[1] * np.log(loss),
        "linear": 20 + 0.08 * loss,
    }[law]  # fmt: skip
    return observed(loss, line + rng.normal(0, spread, count))


def test_without_limits_it_is_least_squares() -> None:
    rng = np.random.default_rng(1)
    loss = np.exp(rng.uniform(2, 9, 30))
    latent = 100 + 30 * np.log(loss) + rng.normal(0, 50, 30)
    made = observed(loss, latent)
    assert made.known.all()
    design = np.column_stack([np.ones(30), np.log(loss)])
    expected = np.linalg.lstsq(design, latent, rcond=None)[0]
    spread = float(np.sqrt(np.mean((latent - design @ expected) ** 2)))
    fit = fit_law("logarithmic", made)
    assert fit.coefficients == pytest.approx(expected, rel=1e-4) and fit.spread == pytest.approx(spread, rel=1e-4)


def test_with_limits_it_is_the_optimum_that_a_blind_search_finds() -> None:
    made = drawn("logarithmic", seed=2)
    assert made.censored.sum() > 5 and made.nothing.sum() > 5 and made.known.sum() > 8
    x = np.log(made.loss)

    def minus(p: np.ndarray) -> float:
        z = (made.steps - p[0] - p[1] * x) / np.exp(p[2])
        each = np.where(made.censored, norm.logsf(z), np.where(made.nothing, norm.logcdf(z), norm.logpdf(z) - p[2]))
        return -float(each.sum())

    found = minimize(minus, [0, 50, 4], method="Nelder-Mead", options={"maxiter": 20000, "xatol": 1e-8, "fatol": 1e-10})
    fit = fit_law("logarithmic", made)
    assert fit.coefficients == pytest.approx(found.x[:2], rel=1e-3)
    assert fit.spread == pytest.approx(np.exp(found.x[2]), rel=1e-3)
    scores = fit.score(made).sum() + made.known.sum() * -np.log(CAP)
    assert scores == pytest.approx(-found.fun, rel=1e-6)


def test_the_truth_is_found_through_both_limits_where_least_squares_is_not() -> None:
    made = drawn("logarithmic", count=3000, seed=3)
    assert fit_law("logarithmic", made).coefficients == pytest.approx(STEEP, rel=0.03)
    x = np.column_stack([np.ones(3000), np.log(made.loss)])
    assert np.linalg.lstsq(x, made.steps, rcond=None)[0][1] < 0.9 * STEEP[1]


@pytest.mark.parametrize("law", ["constant", "logarithmic", "linear"])
def test_the_planted_law_wins(law: str) -> None:
    scores = {name: own.mean() for name, own in held_out_scores(drawn(law, seed=5)).items()}
    assert set(scores) == set(LAWS)
    plain = ("constant", "logarithmic", "linear")
    assert max(plain, key=lambda name: scores[name]) == law
    others = [scores[law] - scores[name] for name in plain if name != law]
    # A constant lies within the other laws too, so they lose little to it.
    assert min(others) > (0.0 if law == "constant" else 0.2)


def test_a_monotone_law_follows_a_bend_and_never_falls() -> None:
    rng = np.random.default_rng(6)
    loss = np.exp(rng.uniform(2, 9, 60))
    made = observed(loss, np.where(loss < 200, 100.0, 400.0) + rng.normal(0, 40, 60))
    scores = {name: own.mean() for name, own in held_out_scores(made, ("logarithmic", "monotone")).items()}
    assert scores["monotone"] > scores["logarithmic"]
    falling = observed(loss, 500 - 40 * np.log(loss) + rng.normal(0, 40, 60))
    line = fit_law("monotone", falling).line(np.sort(loss))
    assert (np.diff(line) >= -1e-6).all()


def test_runs_of_a_set_are_left_out_together() -> None:
    """Copies of every time make no law surer of a set that it has not seen, and change no score."""
    once = drawn("logarithmic", count=20, seed=7)
    twice = Observed(*(np.tile(part, 2) for part in (once.loss, once.steps, once.censored, once.group)), CAP)
    for name in LAWS:
        np.testing.assert_allclose(
            held_out_scores(twice, (name,))[name], held_out_scores(once, (name,))[name], rtol=1e-2, atol=1e-2
        )


def test_when_no_law_can_be_fitted() -> None:
    loss = np.exp(np.linspace(1, 5, 20))
    assert why_not(drawn("constant")) == ""
    late = np.where(np.arange(20) < 13, 300.0 + np.arange(20), 900.0)
    assert "35% of the sets" in why_not(observed(loss, late))
    early = np.where(np.arange(20) < 16, -1.0, 300.0 + np.arange(20))
    assert "only 4 sets took a time of their own" in why_not(observed(loss, early))
    with pytest.raises(UsageError, match="Fewer than two different times"):
        fit_law("constant", observed(loss, np.full(20, -1.0)))
    with pytest.raises(UsageError, match="no law 'cubic'"):
        fit_law("cubic", drawn("constant"))
    with pytest.raises(UsageError, match="above 0"):
        fit_law("linear", observed(np.zeros(20), late))


def test_sets_whose_runs_took_none_of_the_time_or_all_of_it_have_no_law() -> None:
    """Their means differ, and no run's time was seen."""
    group = np.repeat(np.arange(16), 8)
    late = np.array([run < count for count in (*range(1, 7), *[0] * 10) for run in range(8)])
    times = observed(np.exp(np.linspace(1, 5, 16))[group], np.where(late, CAP + 1.0, -1.0), group)
    assert "only 0 sets took a time of their own" in why_not(times)
    some = np.where(np.arange(128) % 16 == 15, 50.0 + group, np.where(late, CAP + 1.0, -1.0))
    assert why_not(seen := observed(times.loss, some, group)) == ""
    assert all(np.isfinite(values).all() for values in held_out_scores(seen).values())
    assert "privacy loss is 0" in why_not(observed(np.zeros(128), some, group))
