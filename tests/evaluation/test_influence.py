"""Residual influence recovers known mixtures, bounds cover, refusals refuse (METHOD section 7)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from expunge.errors import UsageError
from expunge.evaluation import model_influence, residual_influence
from expunge.evaluation.influence_estimate import NOTHING, noise_over_floored


class Arms:
    """Runs of three arms: u_i = o_i + share (x_i - o_i) in the mean, run noise with a shared part."""

    def __init__(self, seed: int, m: int = 100, shift: float = 2.3, together: float = 0.0) -> None:
        self.rng, self.m, self.together = np.random.default_rng(seed), m, together
        self.mean = self.rng.normal(0, 2, m)
        self.sd = np.exp(self.rng.normal(0, 0.5, m))
        self.memory = shift * self.sd * self.rng.normal(1, 0.3, m)

    def runs(self, share: float, count: int) -> np.ndarray:
        own = np.sqrt(1 - self.together) * self.rng.normal(size=(count, self.m))
        common = np.sqrt(self.together) * self.rng.normal(size=(count, 1))
        return self.mean + share * self.memory + self.sd * (own + common)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0, -0.3])
@pytest.mark.parametrize("oracles", [5, 8])
def test_known_mixtures_are_recovered_and_the_bounds_cover(share: float, oracles: int) -> None:
    estimates = []
    for seed in range(80):
        arms = Arms(seed)
        estimates.append(residual_influence(arms.runs(share, 5), arms.runs(0, oracles), arms.runs(1, 5)))
    influence = np.array([e.influence for e in estimates], dtype=float)
    excess = np.array([e.excess for e in estimates], dtype=float)
    assert abs(influence.mean() - share) < 0.015
    assert abs(excess.mean() - share**2) < 0.015
    # 80 runs of a 95 % bound: fewer than 68 covered has probability under 1e-3.
    assert sum(e.influence_high >= share for e in estimates) >= 68
    assert sum(e.influence_low <= share for e in estimates) >= 68
    assert sum(e.excess_high >= share**2 for e in estimates) >= 68


def test_records_that_move_together_widen_the_bounds_instead_of_breaking_them() -> None:
    covered, narrow, wide = 0, [], []
    for seed in range(60):
        arms = Arms(seed, together=0.2)
        e = residual_influence(arms.runs(0.3, 5), arms.runs(0, 5), arms.runs(1, 5))
        covered += bool(e.influence_low <= 0.3 <= e.influence_high)
        wide.append(e.influence_high - e.influence_low)
        arms = Arms(seed)
        e = residual_influence(arms.runs(0.3, 5), arms.runs(0, 5), arms.runs(1, 5))
        narrow.append(e.influence_high - e.influence_low)
    assert covered >= 46  # 90 % of 60 is 54; under 46 has probability below 1e-3
    assert np.mean(wide) > 2 * np.mean(narrow)


def test_verdicts_of_a_forgotten_an_untouched_and_an_elsewhere_model() -> None:
    arms = Arms(0)
    oracle, original = arms.runs(0, 10), arms.runs(1, 10)
    assert residual_influence(arms.runs(0, 10), oracle, original).verdict == "pass"
    untouched = residual_influence(original, oracle, original)
    assert untouched.verdict == "fail" and untouched.influence == pytest.approx(1.0, abs=0.05)
    sideways = arms.runs(0, 10) + 2 * arms.sd * np.sign(arms.rng.normal(size=arms.m))
    elsewhere = residual_influence(sideways, oracle, original)
    assert elsewhere.verdict == "fail" and elsewhere.excess > 0.3 and abs(elsewhere.influence) < 0.3
    over = residual_influence(arms.runs(-0.5, 10), oracle, original)
    assert over.verdict == "fail" and over.influence_high < -0.1 and over.direction == "beyond"


def test_nothing_is_divided_where_nothing_was_remembered() -> None:
    arms = Arms(1, m=200, shift=0.0)
    many = residual_influence(arms.runs(0, 20), arms.runs(0, 20), arms.runs(0, 20))
    assert many.verdict == NOTHING and many.influence is None and many.excess is None
    moved = residual_influence(arms.runs(0, 20) + 2 * arms.sd, arms.runs(0, 20), arms.runs(0, 20))
    assert moved.verdict == "no power" and "moved elsewhere" in moved.reason
    few = []
    for seed in range(60):
        arms = Arms(seed, shift=0.0)
        few.append(residual_influence(arms.runs(0, 5), arms.runs(0, 5), arms.runs(0, 5)))
    # The lower 95 % bound of S_o/m may exceed .05 by chance: 9 of 60 at a 5 % rate has probability under 1e-2.
    assert sum(e.influence is not None for e in few) < 9
    assert all(e.verdict in ("no power", NOTHING) and e.influence_high is None for e in few if e.influence is None)
    energies = [e.energy for e in few]
    assert abs(np.mean(energies)) < 4 * np.std(energies) / np.sqrt(60)  # unbiased at zero: never clipped
    assert min(energies) < 0


def test_pairs_that_share_an_original_do_not_enter_the_cross_term() -> None:
    values = {True: [], False: []}
    for seed in range(60):
        arms = Arms(seed, shift=1.0)
        original, oracle = arms.runs(1, 5), arms.runs(0, 8)
        # Each unlearned run keeps its own original's noise and none of the memory.
        unlearned = original - arms.memory
        for paired in values:
            values[paired].append(residual_influence(unlearned, oracle, original, paired=paired).cross)
    assert abs(np.mean(values[True])) < 4 * np.std(values[True]) / np.sqrt(60)
    assert np.mean(values[False]) > 0.1  # the shared noise reads as influence where pairing is denied


def test_bad_arms_are_named() -> None:
    arms = Arms(2)
    u, o, x = arms.runs(0, 5), arms.runs(0, 5), arms.runs(1, 5)
    cases = {
        "too few": (u[:2], o, x[:2]),
        "different records": (u[:, :-1], o, x),
        "cannot be paired": (u[:4], o, x),
        "Identical models": (np.concatenate([u[:4], o[:1]]), o, x),
        "NaN": (np.full_like(u, np.nan), o, x),
        "do not differ": (u, np.tile(o[:1], (5, 1)) + 1.0, x),
        "Give \\[runs, records\\]": (u[0], o, x),
    }
    for message, (a, b, c) in cases.items():
        with pytest.raises(UsageError, match=message):
            residual_influence(a, b, c)
    assert residual_influence(u[:4], o, x, paired=False).influence is not None


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 10), st.floats(-5, 5), st.integers(0, 20))
def test_influence_does_not_depend_on_units_or_origin(scale: float, origin: float, seed: int) -> None:
    arms = Arms(seed, m=20)
    u, o, x = arms.runs(0.3, 4), arms.runs(0, 5), arms.runs(1, 4)
    before = residual_influence(u, o, x)
    after = residual_influence(*(scale * a + origin for a in (u, o, x)))
    assert after.energy == pytest.approx(before.energy, rel=1e-6, abs=1e-9)
    assert after.verdict == before.verdict
    if before.influence is not None:
        assert after.influence == pytest.approx(before.influence, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 39])
@pytest.mark.parametrize("floor", [0.3, 1.0])
def test_the_noise_correction_against_quadrature(degrees: int, floor: float) -> None:
    """E[h(s2)] = sigma^2 E[1 / max(s2, floor)] with s2 = chi2_k / k, integrated over quantiles."""
    grid = (np.arange(400_000) + 0.5) / 400_000
    s2 = chi2.ppf(grid, degrees) / degrees
    expected = (1 / np.maximum(s2, floor)).mean()
    assert noise_over_floored(s2, floor, degrees).mean() == pytest.approx(expected, rel=2e-3)


def test_one_model_against_its_oracles() -> None:
    errors, covered, excesses = [], 0, []
    for seed in range(80):
        arms = Arms(seed, together=0.05)
        oracles, original = arms.runs(0, 40), arms.runs(1, 1)[0]
        e = model_influence(0.3 * original + 0.7 * arms.runs(0, 1)[0], oracles, original)
        errors.append(e.influence - 0.3)
        covered += bool(e.influence_low <= 0.3 <= e.influence_high)
        excesses.append(model_influence(arms.runs(0, 1)[0], oracles, original).excess)
    assert abs(np.mean(errors)) < 0.02
    assert covered >= 62
    assert abs(np.mean(excesses)) < 4 * np.std(excesses) / np.sqrt(80) + 0.01
    untouched = model_influence(original, oracles, original)
    assert untouched.influence == pytest.approx(1.0) and untouched.excess == pytest.approx(1.0)
    assert untouched.verdict == "fail" and untouched.direction == "toward"
    nothing = model_influence(arms.runs(0, 1)[0], oracles, arms.runs(0, 1)[0])
    assert nothing.influence is None
    with pytest.raises(UsageError, match="shapes"):
        model_influence(original[:-1], oracles, original)
