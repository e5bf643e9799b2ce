"""What is left of phi after the shared part: unit variance, no correlation, and nothing made up where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from factor_world import FactorWorld

from expunge.evaluation.whitening import Whitening, _shrunk_correlation


def whitened(fit: Whitening, forget: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Residuals times the symmetric root of the precision: identity covariance if the fit is right."""
    values, vectors = np.linalg.eigh(fit.precision)
    return fit.residuals(forget, controls) @ (vectors * np.sqrt(values)) @ vectors.T


@pytest.mark.parametrize("share", [0.0, 0.4, 0.7])
def test_fresh_oracles_come_out_white(share: float) -> None:
    world = FactorWorld(1, share)
    fit = Whitening.fit(*world.runs(400), components=4)
    fresh = world.runs(3000)
    above_floor = fit.scale > 1.001 * fit.scale.min()  # a record of little spread is divided by the floor instead
    assert above_floor.sum() > 0.8 * world.m
    variance = fit.residuals(*fresh).var(axis=0)[above_floor]
    assert 0.9 < variance.mean() < 1.1 and variance.min() > 0.7 and variance.max() < 1.35
    covariance = np.cov(whitened(fit, *fresh).T)
    off = covariance[~np.eye(world.m, dtype=bool)]
    assert np.abs(np.diag(covariance)[above_floor] - 1).max() < 0.35 and np.sqrt((off**2).mean()) < 0.08
    assert abs(fit.residuals(*fresh).mean(axis=0)).max() < 0.3
    raw = np.corrcoef(fresh[0].T)[~np.eye(world.m, dtype=bool)]
    assert share < 0.1 or np.sqrt((raw**2).mean()) > 2 * np.sqrt((off**2).mean())  # there was something to remove


@pytest.mark.parametrize(("share", "at_most"), [(0.4, 0.75), (0.7, 0.45)])
def test_control_variates_take_the_shared_part_out(share: float, at_most: float) -> None:
    """Of fresh runs' variance about 1 - share is left, and without components all of it."""
    world = FactorWorld(2, share)
    oracles, fresh = world.runs(200), world.runs(2000)
    raw = fresh[0].var(axis=0)

    def left(components: int) -> float:
        fit = Whitening.fit(*oracles, components=components)
        return float(((fit.residuals(*fresh) * fit.scale).var(axis=0) / raw).mean())

    assert 1 - share < left(4) < at_most
    assert left(0) == pytest.approx(1.0)


def test_precision_sees_what_the_controls_do_not() -> None:
    """Correlation among forget records alone is left by the control variates and taken by the precision."""
    rng = np.random.default_rng(3)

    def runs(count: int) -> tuple[np.ndarray, np.ndarray]:
        together = rng.normal(size=(count, 1))
        return 0.8 * together + 0.6 * rng.normal(size=(count, 10)), rng.normal(size=(count, 30))

    fit = Whitening.fit(*runs(300), components=4)
    fresh = runs(2000)
    before = np.corrcoef(fit.residuals(*fresh).T)[~np.eye(10, dtype=bool)]
    after = np.corrcoef(whitened(fit, *fresh).T)[~np.eye(10, dtype=bool)]
    assert before.mean() > 0.5 and abs(after.mean()) < 0.05


def test_few_oracles_shrink_to_the_identity() -> None:
    """Noise of few oracles is not read as correlation, a correlation of .5 is; all stays invertible."""
    rng = np.random.default_rng(4)
    mixing = np.linalg.cholesky(0.5 * np.eye(40) + 0.5)

    def off_diagonal(count: int, mix: np.ndarray) -> tuple[float, float]:
        """Root mean square of the shrunk and of the raw sample correlations."""
        x = rng.normal(size=(count, 40)) @ mix.T
        x = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
        shrunk = _shrunk_correlation(x, count - 1)
        assert np.linalg.eigvalsh(shrunk).min() > 0.01
        both = [matrix[~np.eye(40, dtype=bool)] for matrix in (shrunk, np.corrcoef(x.T))]
        return float(np.sqrt((both[0] ** 2).mean())), float(np.sqrt((both[1] ** 2).mean()))

    for count, at_most in ((12, 0.12), (60, 0.02), (2000, 0.01)):
        shrunk, raw = off_diagonal(count, np.eye(40))
        assert shrunk < at_most and raw > 2 * shrunk
    known = [off_diagonal(count, mixing)[0] for count in (60, 2000)]
    assert known[0] == pytest.approx(0.5, abs=0.12) and known[1] == pytest.approx(0.5, abs=0.03)
    few = Whitening.fit(rng.normal(size=(10, 40)), rng.normal(size=(10, 30)), components=0)
    assert np.abs(few.precision - np.eye(40)).mean() < 0.1


def test_control_records_that_say_nothing_do_no_harm() -> None:
    world = FactorWorld(5, 0.6)
    forget, controls = world.runs(80)
    fresh_forget, fresh_controls = world.runs(50)
    constant = np.full((80, 5), 7.0)
    alone = Whitening.fit(forget, controls, components=4)
    beside = Whitening.fit(forget, np.hstack([controls, constant]), components=4)
    padded = np.hstack([fresh_controls, np.full((50, 5), 7.0)])
    assert beside.residuals(fresh_forget, padded) == pytest.approx(alone.residuals(fresh_forget, fresh_controls))


def test_constant_control_records_alone_are_as_none() -> None:
    forget, _ = FactorWorld(5, 0.6).runs(80)
    only = Whitening.fit(forget, np.full((80, 5), 7.0), components=4)
    assert only.slope == pytest.approx(0.0) and np.isfinite(only.precision).all()


def test_a_fresh_value_at_a_control_that_never_moved_does_no_harm() -> None:
    world = FactorWorld(6, 0.6)
    forget, controls = world.runs(80)
    still = np.hstack([controls, np.full((80, 1), 7.0)])
    fit = Whitening.fit(forget, still, components=4)
    f, c = world.run()
    expected = fit.residuals(f, np.append(c, 7.0))
    assert fit.residuals(f, np.append(c, 9.0)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("components", [0, 8])
def test_one_record(components: int) -> None:
    world = FactorWorld(7, 0.7, m=1)
    fit = Whitening.fit(*world.runs(100), components=components)
    assert fit.precision.shape == (1, 1) and fit.precision[0, 0] == pytest.approx(1.0)
    residuals = fit.residuals(*world.runs(1000))
    assert residuals.shape == (1000, 1) and 0.7 < residuals.std() < 1.3


def test_records_without_spread_have_a_floor() -> None:
    """A record on which all oracles agree does not blow up: its deviation is at least .3 of the median variance's."""
    world = FactorWorld(8, 0.0)
    forget, controls = world.runs(60)
    forget[:, 0] = 3.0
    fit = Whitening.fit(forget, controls, components=4)
    assert fit.scale[0] == pytest.approx(np.sqrt(0.3) * np.sqrt(np.median(_variances(fit, forget, controls))), rel=0.02)
    same = Whitening.fit(np.ones((60, 3)), controls, components=4)
    assert np.isfinite(same.residuals(np.ones(3), controls[0])).all()


def _variances(fit: Whitening, forget: np.ndarray, controls: np.ndarray) -> np.ndarray:
    residuals = fit.residuals(forget, controls) * fit.scale
    return (residuals**2).sum(axis=0) / (len(forget) - 1 - 4)
