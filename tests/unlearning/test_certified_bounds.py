"""The certified bounds hold where laws are known: exactly (ridge), by integration (one weight), by sampling."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from certified_cases import WeightOnGrid, counted_without, gaussian_renyi, laws_of_ridge, ridge_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.privacy.divergences import sampled_gaussian_divergence
from expunge.unlearning.certified import HeadProblem, NoisyDescent, bounded_features
from expunge.unlearning.certified.concentration import log_square_moment
from expunge.unlearning.certified.coupling import coupled_distance, coupling_divergence, coupling_steps, price
from expunge.unlearning.certified.losses import LengthSums, logistic_loss, softmax_loss
from expunge.unlearning.certified.moments import gradient_moments, update_lipschitz
from expunge.unlearning.certified.path import unit_of_set, units_of_records
from expunge.unlearning.certified.trajectory_divergence import decay_steps, decayed, trajectory_loss

ORDERS = (1.3, 2.0, 5.0, 17.5)


def check_ridge(problem: HeadProblem, descent: NoisyDescent, rows: list[int], distance_of=coupled_distance) -> int:
    """Both bounds against the exact divergence in both directions, at several k; how many comparisons were finite."""
    unit = unit_of_set(problem, descent, rows)
    distance, finite = distance_of(problem, descent, unit), 0
    for steps in (0, 1, 2, 5, 12):
        unlearned, retrained = laws_of_ridge(problem, descent, rows, steps)
        for order in ORDERS:
            loss = trajectory_loss(problem, descent, unit, order)
            forward = gaussian_renyi(unlearned, retrained, order)
            reverse = gaussian_renyi(retrained, unlearned, order)
            coupled = float(coupling_divergence(distance, order, steps)[0])
            slack = 1e-9 + 1e-9 * max(forward, reverse)
            assert max(forward, reverse) <= coupled + slack, (order, steps, forward, reverse, coupled)
            assert forward <= decayed(loss.forward, distance.kappa, order, steps)[0] + slack, (order, steps)
            assert reverse <= decayed(loss.reverse, distance.kappa, order, steps)[0] + slack, (order, steps)
            finite += math.isfinite(coupled) + math.isfinite(loss.forward[0]) + math.isfinite(loss.reverse[0])
    return finite


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    l2=st.floats(0.05, 2.0),
    sigma=st.floats(0.02, 1.0),
    share=st.floats(0.05, 0.98),
    steps=st.integers(1, 25),
    forget=st.integers(1, 4),
    records=st.integers(6, 40),
)
def test_no_bound_is_below_the_exact_divergence_of_ridge_regression(
    seed: int, l2: float, sigma: float, share: float, steps: int, forget: int, records: int
) -> None:
    problem = ridge_problem(seed, records=records, l2=l2)
    descent = NoisyDescent(steps=steps, learning_rate=share * 2 / problem.smoothness, sigma=sigma)
    check_ridge(problem, descent, list(range(forget)))


def test_the_bounds_of_ridge_regression_are_finite_where_it_matters() -> None:
    """Otherwise the test above could pass on infinities alone."""
    problem = ridge_problem(1, records=40)
    descent = NoisyDescent(steps=20, learning_rate=1.0, sigma=0.3)
    assert check_ridge(problem, descent, [3]) >= 40


def test_one_direction_and_equal_curvature_make_the_coupling_bound_tight() -> None:
    """Negligible features leave l2 as the whole curvature: D = a gap^2 kappa^(2k) / (2 C_{T+k}), both laws' C alike.

    The bound has C_k, the noise of unlearning alone: larger by 1 / (1 - kappa^(2k)).
    """
    rows = np.full((4, 1), 1e-3)
    problem = HeadProblem.ridge(rows, np.array([[900.0], [0.0], [0.0], [0.0]]), l2=0.5)
    descent = NoisyDescent(steps=60, learning_rate=0.4, sigma=0.1)
    distance = coupled_distance(problem, descent, unit_of_set(problem, descent, [0]))
    for steps in (5, 15):
        unlearned, retrained = laws_of_ridge(problem, descent, [0], steps)
        exact = gaussian_renyi(unlearned, retrained, 3.0)
        bound = float(coupling_divergence(distance, 3.0, steps)[0])
        assert exact == pytest.approx(bound * (1 - distance.kappa ** (2 * steps)), rel=1e-4)


@pytest.mark.parametrize("wrong", ["distance", "contraction"])
def test_a_wrong_constant_is_caught(wrong: str) -> None:
    """Negative control: half the distance, or the contraction of twice the penalty, and the exact law is above."""
    rows = np.full((4, 1), 1e-3)
    problem = HeadProblem.ridge(rows, np.array([[900.0], [0.0], [0.0], [0.0]]), l2=0.5)
    descent = NoisyDescent(steps=60, learning_rate=0.4, sigma=0.1)

    def distance_of(*given: object) -> object:
        right = coupled_distance(*given)  # type: ignore[arg-type]
        return replace(right, mean=right.mean / 2) if wrong == "distance" else replace(right, kappa=right.kappa**2)

    check_ridge(problem, descent, [0])
    with pytest.raises(AssertionError):
        check_ridge(problem, descent, [0], distance_of)


def logistic_weight(seed: int) -> HeadProblem:
    rng = np.random.default_rng(seed)
    rows = bounded_features(rng.uniform(-1, 1, size=(8, 1)), intercept=False)
    return HeadProblem.classification(rows, rng.integers(0, 2, 8), classes=2, l2=0.15)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_bound_is_below_the_divergence_of_one_logistic_weight(seed: int) -> None:
    problem = logistic_weight(seed)
    descent = NoisyDescent(steps=12, learning_rate=1.5, sigma=0.25)
    law = WeightOnGrid(problem, descent, reach=5.0)
    everyone, kept = np.ones(8), counted_without(problem, [0])
    trained, without = law.after(everyone, descent.steps), law.after(kept, descent.steps)
    unit = units_of_records(problem, descent, [0])
    distance = coupled_distance(problem, descent, unit)
    for steps in (0, 2, 6):
        unlearned, retrained = law.after(kept, steps, trained), law.after(kept, steps, without)
        for order in (1.5, 3.0, 8.0):
            forward, reverse = law.renyi(unlearned, retrained, order), law.renyi(retrained, unlearned, order)
            loss = trajectory_loss(problem, descent, unit, order)
            assert 0 < max(forward, reverse) <= coupling_divergence(distance, order, steps)[0]
            assert forward <= decayed(loss.forward, distance.kappa, order, steps)[0]
            assert reverse <= decayed(loss.reverse, distance.kappa, order, steps)[0]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("sigma", [0.05, 0.4])
def test_no_moment_is_below_that_of_one_logistic_weight(seed: int, sigma: float) -> None:
    problem = logistic_weight(seed)
    descent = NoisyDescent(steps=10, learning_rate=1.5, sigma=sigma)
    law = WeightOnGrid(problem, descent, reach=3.0 + 6 * sigma)
    bounds = gradient_moments(problem, descent, units_of_records(problem, descent)).second
    density = None
    for step in range(1, descent.steps):
        density = law.after(np.ones(8), 1, density)
        exact = [law.mean(density, law.gradient(row) ** 2) for row in range(8)]
        assert np.all(exact <= bounds[:, step] + 1e-9)
        assert np.all(bounds[:, step] <= np.array(exact) + 3 * sigma)  # and not far above


def test_no_moment_is_below_what_noisy_softmax_trainings_show() -> None:
    rng = np.random.default_rng(3)
    rows = bounded_features(rng.normal(size=(30, 6)), way="normalise")
    problem = HeadProblem.classification(rows, rng.integers(0, 4, 30), classes=4, l2=0.2)
    descent = NoisyDescent(steps=12, learning_rate=2.0, sigma=0.15)
    units = units_of_records(problem, descent)
    bounds = gradient_moments(problem, descent, units).second
    runs, generator = 3000, torch.Generator().manual_seed(1)
    weights = torch.zeros(runs, *problem.weight_shape, dtype=torch.float64)
    one_hot = torch.nn.functional.one_hot(problem.targets, 4).to(torch.float64)
    for step in range(descent.steps):
        residuals = torch.softmax(weights @ problem.features.T, dim=1) - one_hot.T
        squares = (residuals**2).sum(dim=1) * (problem.features**2).sum(dim=1)
        seen, error = squares.mean(dim=0).numpy(), squares.std(dim=0).numpy() / math.sqrt(runs)
        assert np.all(seen - 4 * error <= bounds[:, step] + 1e-12)
        slope = residuals @ problem.features / 30 + problem.l2 * weights
        draws = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
        weights = weights - descent.learning_rate * slope + descent.step_noise * draws


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_bends_of_the_losses_bound_their_remainders(classes: int) -> None:
    """Against automatic derivatives at random outputs, and a mean over symmetric noise u, -u of known covariance."""
    loss = logistic_loss() if classes == 2 else softmax_loss(classes)
    generator = torch.Generator().manual_seed(classes)
    for _ in range(300):
        z = 3 * torch.randn(loss.outputs, generator=generator, dtype=torch.float64)
        u = torch.randn(loss.outputs, generator=generator, dtype=torch.float64)
        u = u * 10 ** float(torch.rand(1, generator=generator) * 4 - 3)
        target = torch.zeros(1, dtype=torch.int64)

        def gradient(at: torch.Tensor, target: torch.Tensor = target) -> torch.Tensor:
            return loss.residuals(at[None], target)[0]

        hessian = torch.autograd.functional.jacobian(gradient, z)
        assert torch.linalg.matrix_norm(hessian, ord=2) <= loss.curvature + 1e-12
        assert (hessian**2).sum() <= loss.frobenius + 1e-12
        assert torch.linalg.vector_norm(gradient(z)) <= loss.slope
        size = float(torch.linalg.vector_norm(u))
        assert torch.linalg.vector_norm(gradient(z + u) - gradient(z) - hessian @ u) <= loss.bend * size**2 + 1e-12
        # third derivative along u, u by central differences of the Hessian product
        step = 1e-4 * u / size
        third = (gradient(z + step) - 2 * gradient(z) + gradient(z - step)) / 1e-8
        assert torch.linalg.vector_norm(third) / 2 <= loss.bend + 1e-4
        left = gradient(z + u) - gradient(z) - hessian @ u - third * size**2 / 2
        assert torch.linalg.vector_norm(left) <= loss.twist * size**3 + 1e-4 * size**2
        # u = +-sqrt(outputs) e_i, each equally likely, has covariance I: local_bend must cover the mean of the thirds
        mean = sum(_third(gradient, z, axis) for axis in torch.eye(loss.outputs, dtype=torch.float64)) / 2
        local = float(loss.local_bend(z[None])[0])
        assert float(torch.linalg.vector_norm(mean)) <= local + 1e-4  # type: ignore[arg-type]
        other = float(loss.local_bend((z + u)[None])[0])
        assert abs(other - local) <= loss.steepness * size + 1e-12


def _third(gradient, z: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
    return (gradient(z + 1e-4 * axis) - 2 * gradient(z) + gradient(z - 1e-4 * axis)) / 1e-8


def test_bias_bounds_the_shift_of_a_mean_gradient_under_noise() -> None:
    """E grad l(z + u) by sampling, u normal, against the bound: below it, and not a hundred times below."""
    loss, generator = softmax_loss(10), torch.Generator().manual_seed(5)
    target = torch.zeros(1, dtype=torch.int64)
    for variance in (1e-3, 1e-2, 0.1, 1.0):
        z = torch.randn(10, generator=generator, dtype=torch.float64)
        u = torch.randn(200_000, 10, generator=generator, dtype=torch.float64) * math.sqrt(variance)
        both = torch.cat([u, -u])  # odd terms cancel, so the sampling error is of second order too
        shift = (torch.softmax(z + both, dim=1) - torch.softmax(z, dim=0)).mean(dim=0)
        seen = float(torch.linalg.vector_norm(shift))
        sums = LengthSums.of(np.ones((1, 1)))
        local = loss.local_bend(z[None]).numpy()
        bound = float(loss.bias_of_sum(np.array([variance]), sums, local, np.zeros(1))[0])
        assert seen <= bound
        assert loss.residuals(z[None], target).shape == (1, 10)
        assert bound <= 100 * seen


def test_one_step_of_one_record_is_the_gaussian_mechanism_of_the_privacy_package() -> None:
    """T = 1, k = 0: the trajectory bound is section 2's divergence at q = 1, s = n sigma sqrt(2/eta)."""
    problem = logistic_weight(0)
    descent = NoisyDescent(steps=1, learning_rate=0.7, sigma=0.3)
    unit = units_of_records(problem, descent, [2])
    s = len(problem) * descent.sigma * math.sqrt(2 / descent.learning_rate)
    known = sampled_gaussian_divergence(6.0, 1.0, float(unit.norms[0, 0]) / s)
    assert trajectory_loss(problem, descent, unit, 6.0).forward[0] == pytest.approx(known)
    assert trajectory_loss(problem, descent, unit, 6.0).reverse[0] == pytest.approx(known)


def test_a_set_of_one_is_the_record_and_opposite_records_cancel() -> None:
    problem = logistic_weight(4)
    descent = NoisyDescent(steps=5, learning_rate=1.0, sigma=0.2)
    alone, record = unit_of_set(problem, descent, [3]), units_of_records(problem, descent, [3])
    for name in ("norms", "local", "operator", "gram"):
        assert getattr(alone, name) == pytest.approx(getattr(record, name))
    rows = np.array([[0.5], [0.5], [0.4], [-0.4]])
    twins = HeadProblem.classification(rows, np.array([0, 1, 0, 1]), classes=2, l2=0.2)
    pair = unit_of_set(twins, descent, [0, 1])
    assert pair.norms[0, 0] == pytest.approx(0.0)  # at w = 0 their gradients are opposite


def test_the_square_moment_is_exact_for_a_folded_normal_far_from_zero_and_infinite_beyond() -> None:
    """F = m + sqrt(v) Z: E exp(c F^2) = (1 - 2cv)^(-1/2) exp(c m^2/(1 - 2cv))."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    c, m, v = 0.3, 4.0, 0.2
    exact = math.log((weights * np.exp(c * (m + math.sqrt(v) * nodes) ** 2)).sum() / math.sqrt(2 * math.pi))
    assert float(log_square_moment(c, m, v)) == pytest.approx(exact)
    assert math.isinf(float(log_square_moment(3.0, m, v)))


def test_k_is_the_least_that_fits_and_price_is_the_sum_it_says() -> None:
    problem = logistic_weight(1)
    descent = NoisyDescent(steps=30, learning_rate=1.0, sigma=0.1)
    units = units_of_records(problem, descent)
    distance, kappa = coupled_distance(problem, descent, units), update_lipschitz(problem, descent)
    variance = descent.step_noise**2
    assert price(kappa, variance, 7) == pytest.approx(kappa**14 / (variance * sum(kappa ** (2 * i) for i in range(7))))
    for target in (1e-3, 0.1, 2.0):
        steps = coupling_steps(distance, 4.0, target)
        for unit, k in enumerate(steps.astype(int)):
            assert coupling_divergence(distance, 4.0, k)[unit] <= target * (1 + 1e-9)
            assert k == 1 or coupling_divergence(distance, 4.0, k - 1)[unit] > target
        loss = trajectory_loss(problem, descent, units, 4.0).forward
        worn = decay_steps(loss, kappa, 4.0, target)
        fits = np.array([decayed(loss, kappa, 4.0, k)[u] for u, k in enumerate(worn)])
        assert np.all(fits <= target * (1 + 1e-9))


def test_no_bound_is_above_its_worst_case_and_a_simulation_never_raises_one() -> None:
    rng = np.random.default_rng(7)
    rows = bounded_features(rng.normal(size=(60, 5)), way="normalise")
    problem = HeadProblem.classification(rows, rng.integers(0, 3, 60), classes=3, l2=0.05)
    descent = NoisyDescent(steps=80, learning_rate=2.0, sigma=0.05)
    units = units_of_records(problem, descent)
    distance = coupled_distance(problem, descent, units)
    for steps in (1, 10, 50):
        own = coupling_divergence(distance, 10.0, steps)
        assert np.all(own <= coupling_divergence(distance.worst_case(), 10.0, steps))
        shown = coupling_divergence(distance.simulated(np.zeros(60), 4, 1e-6), 10.0, steps)
        assert np.all(shown <= own)
    loss = trajectory_loss(problem, descent, units, 10.0)
    assert np.all(loss.larger() <= loss.worst)
