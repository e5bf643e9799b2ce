"""The certificate of a convex head: what it says, when it refuses, and that what runs is what it is about."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from certified_cases import counted_without, gaussian_renyi, laws_of_ridge, ridge_law, ridge_problem

from expunge.errors import UsageError
from expunge.training.config import TrainingConfig
from expunge.unlearning.certified import (
    CertifiedUnlearning,
    HeadProblem,
    NoisyDescent,
    Simulations,
    bounded_features,
    certify_head,
    retrain_head,
    steps_of_each_record,
    train_head,
    unlearn_head,
)
from expunge.unlearning.certified.target import ORDERS, renyi_target

FEW_ORDERS = (2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 40.0, 80.0, 160.0)


@pytest.fixture(scope="module")
def problem() -> HeadProblem:
    rng = np.random.default_rng(11)
    rows = bounded_features(rng.normal(size=(300, 4)), way="normalise")
    return HeadProblem.classification(rows, (rows[:, 0] > 0).astype(int), classes=2, l2=0.02)


@pytest.fixture(scope="module")
def descent(problem: HeadProblem) -> NoisyDescent:
    return NoisyDescent(steps=60, learning_rate=2 / (problem.smoothness + problem.l2), sigma=0.02)


def certified(problem: HeadProblem, descent: NoisyDescent, rows: list[int], **given: float) -> CertifiedUnlearning:
    return certify_head(problem, descent, rows, **{"epsilon": 1.0, "delta": 1e-5, "orders": FEW_ORDERS, **given})


def test_a_certificate_states_its_k_its_constants_and_its_assumptions(
    problem: HeadProblem, descent: NoisyDescent
) -> None:
    found = certified(problem, descent, [5])
    assert found.guarantee == "certified(1, 1e-05)"
    assert found.steps is not None and found.target is not None and found.order in FEW_ORDERS
    assert found.divergence is not None and 0 < found.divergence <= found.target
    assert found.target == pytest.approx(float(renyi_target(found.order, 1.0, 1e-5)))
    assert found.share_of_retraining == found.steps / descent.steps
    assert found.constants.strong_convexity == problem.l2 < found.constants.smoothness
    assert found.constants.decay == pytest.approx(-2 * math.log(1 - descent.learning_rate * problem.l2))
    assert found.constants.gradient_bound == problem.radius
    assert problem.smoothness <= problem.declared_smoothness
    words = " ".join(found.assumptions)
    for said in ("T + k steps", "fixed before any noise", "not the original as well", "same declared start", "alone"):
        assert said in words
    assert CertifiedUnlearning.model_validate_json(found.model_dump_json()) == found


def test_a_harder_target_takes_no_fewer_steps(problem: HeadProblem, descent: NoisyDescent) -> None:
    def steps(**given: float) -> float:
        return certified(problem, descent, [5], **given).steps or 0

    assert steps(epsilon=2.0) <= steps(epsilon=1.0) <= steps(epsilon=0.5) < steps(epsilon=0.1)
    assert steps(delta=1e-2) <= steps(delta=1e-5) < steps(delta=1e-9)


def test_more_records_take_more_steps_and_opposite_ones_fewer(descent: NoisyDescent) -> None:
    rows = np.tile([[0.5, 0.5], [0.5, -0.5]], (100, 1))
    problem = HeadProblem.classification(rows, np.arange(200) // 2 % 2, classes=2, l2=0.02)
    one, like, opposite = (certified(problem, descent, s).steps for s in ([0], [0, 4, 8, 12], [0, 2, 4, 6]))
    assert one is not None and like is not None and opposite is not None
    assert one < like
    assert opposite < like  # records 0 and 2 have the same features and opposite labels: their gradients nearly cancel


def test_every_record_by_itself_says_what_its_certificate_says(problem: HeadProblem, descent: NoisyDescent) -> None:
    table = steps_of_each_record(problem, descent, epsilon=1.0, delta=1e-5, rows=[9, 4], orders=FEW_ORDERS)
    for at, row in enumerate([9, 4]):
        alone = certified(problem, descent, [row])
        assert table.certified[at] == alone.steps
        assert table.coupling.steps[at] == alone.coupling.steps
        assert table.trajectory[at] == alone.trajectory.steps
        assert table.worst_langevin.steps[at] == alone.worst_case.langevin
    assert np.all(table.certified <= table.worst_coupling.steps)


def test_the_certified_k_suffices_in_the_exact_law() -> None:
    """Ridge: after k steps the exact divergences, either way, are below the target at the certified order."""
    problem = ridge_problem(2, records=200, features=3, l2=0.1)
    descent = NoisyDescent(steps=50, learning_rate=1.0, sigma=0.05)
    found = certified(problem, descent, [0])
    assert found.steps is not None and found.order is not None and found.target is not None
    unlearned, retrained = laws_of_ridge(problem, descent, [0], found.steps)
    assert gaussian_renyi(unlearned, retrained, found.order) <= found.target
    assert gaussian_renyi(retrained, unlearned, found.order) <= found.target
    assert found.worst_case.coupling is None  # a squared loss has no gradient bound
    assert found.constants.gradient_bound is None


def test_what_runs_has_the_law_that_was_analysed() -> None:
    """300 ridge heads trained and unlearned: mean and covariance within sampling error of the exact ones."""
    problem = ridge_problem(3, records=10, features=2, outputs=1)
    descent = NoisyDescent(steps=6, learning_rate=0.8, sigma=0.4)
    everyone, kept = np.ones(10), counted_without(problem, [1, 2])
    law = ridge_law(problem, descent, [(everyone, 6), (kept, 3)])
    heads = []
    for seed in range(300):
        head = train_head(problem, descent, seed)
        heads.append(unlearn_head(head, problem, descent, [1, 2], 3, seed).weights.numpy()[0])
    sample = np.array(heads)
    errors = np.sqrt(np.diag(law.covariance) / 300)
    assert np.all(np.abs(sample.mean(axis=0) - law.mean[0]) < 4.5 * errors)
    assert np.cov(sample.T) == pytest.approx(law.covariance, abs=0.35 * law.covariance.max())
    again = ridge_law(problem, descent, [(kept, 9)])
    retrained = [retrain_head(problem, descent, [1, 2], 9, seed).weights.numpy()[0] for seed in range(300)]
    assert np.all(np.abs(np.mean(retrained, axis=0) - again.mean[0]) < 4.5 * np.sqrt(np.diag(again.covariance) / 300))


def test_unlearning_draws_fresh_noise_repeats_by_seed_and_never_reads_what_it_forgets(
    problem: HeadProblem, descent: NoisyDescent
) -> None:
    head = train_head(problem, descent, seed=1)
    assert torch.equal(head.weights, train_head(problem, descent, seed=1).weights)
    first = unlearn_head(head, problem, descent, [3, 8], 5, seed=1)
    spoiled = problem.features.clone()
    spoiled[[3, 8]] = math.nan
    changed = HeadProblem(spoiled, problem.targets, problem.loss, problem.l2, problem.radius)
    assert torch.equal(first.weights, unlearn_head(head, changed, descent, [8, 3], 5, seed=1).weights)
    assert not torch.equal(first.weights, unlearn_head(head, problem, descent, [3, 8], 5, seed=2).weights)
    assert (first.steps, first.forgotten) == (descent.steps + 5, (3, 8))
    assert first.outputs(problem.features.numpy()).shape == (300, 1)


def test_simulated_trainings_take_their_share_of_delta_and_never_more_steps_than_that_costs() -> None:
    rng = np.random.default_rng(0)
    rows = bounded_features(rng.normal(size=(400, 8)), way="normalise")
    problem = HeadProblem.classification(rows, rng.integers(0, 6, 400), classes=6, l2=0.01)
    descent = NoisyDescent(steps=200, learning_rate=2.0, sigma=0.02)
    plain = certified(problem, descent, [0])
    helped = certified(problem, descent, [0], simulations=Simulations(runs=4, seed=3))  # type: ignore[arg-type]
    assert plain.steps is not None and helped.steps is not None
    assert helped.distance < plain.distance
    assert helped.steps < plain.steps
    assert helped.target == pytest.approx(float(renyi_target(helped.order, 1.0, 0.9e-5)))  # type: ignore[arg-type]
    assert len(helped.assumptions) == len(plain.assumptions) + 1
    table = steps_of_each_record(
        problem, descent, epsilon=1.0, delta=1e-5, rows=[0], orders=FEW_ORDERS, simulations=Simulations(runs=4, seed=3)
    )
    assert table.certified[0] == helped.steps


def test_no_order_with_a_positive_target_certifies_nothing_and_says_why(
    problem: HeadProblem, descent: NoisyDescent
) -> None:
    found = certify_head(problem, descent, [0], epsilon=0.1, delta=1e-5, orders=(2.0, 4.0))
    assert (found.steps, found.guarantee, found.bound, found.target) == (None, "none", "none", None)
    assert "No order up to 4" in found.reason and "no k is certified" in found.reason
    assert found.worst_case.langevin is None
    with pytest.raises(UsageError, match="finite number"):
        unlearn_head(train_head(problem, descent, 0), problem, descent, [0], found.steps, 0)


def test_a_k_beyond_retraining_is_called_of_no_use(problem: HeadProblem) -> None:
    weak = NoisyDescent(steps=20, learning_rate=0.5, sigma=1e-4)
    found = certified(problem, weak, [0])
    assert found.steps is not None and found.steps >= 20
    assert "Retrain" in found.reason


def test_enough_noise_needs_no_steps_at_all(problem: HeadProblem) -> None:
    """Where training itself is private enough the trajectory bound says k = 0, whatever the coupling would ask."""
    found = certified(problem, NoisyDescent(steps=5, learning_rate=1.0, sigma=3.0), [0])
    assert (found.steps, found.bound) == (0, "trajectory")
    assert found.divergence is not None and found.target is not None and found.divergence <= found.target


def test_the_target_is_that_of_the_gaussian_mechanism_within_its_known_loss() -> None:
    """D_a = a mu^2/2 at the mu that the best order allows gives a delta no smaller than the exact Gaussian one."""
    from scipy.stats import norm

    orders = np.array(ORDERS)
    for epsilon, delta in ((1.0, 1e-5), (0.1, 1e-5), (0.5, 1e-3)):
        targets = renyi_target(orders, epsilon, delta)
        mu = math.sqrt(max(2 * targets[targets > 0] / orders[targets > 0]))
        exact = norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)
        assert delta / 20 < exact <= delta


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: bounded_features(np.ones((3, 4))), "features of norm 2"),
        (lambda: bounded_features([[math.nan, 0.0]]), "finite"),
        (lambda: bounded_features(np.ones((3, 4)), radius=0.0), "radius"),
        (lambda: bounded_features(np.ones((3, 4)), way="stretch"), "Choose refuse"),  # type: ignore[arg-type]
        (lambda: HeadProblem.classification(np.ones((3, 4)), [0, 1, 1], classes=2, l2=0.1), "at most 1"),
        (lambda: HeadProblem.classification(np.eye(3), [0, 1, 1], classes=2, l2=0.0), "l2 must be above 0"),
        (lambda: HeadProblem.classification(np.eye(3), [0, 1, 2], classes=2, l2=0.1), "class numbers"),
        (lambda: HeadProblem.ridge(np.eye(3), [[math.inf]] * 3, l2=0.1), "finite"),
    ],
)
def test_features_targets_and_penalties_without_constants_are_refused(wrong, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        wrong()


def test_what_the_theorem_does_not_cover_is_refused(problem: HeadProblem, descent: NoisyDescent) -> None:
    for given, words in (({"epsilon": 0.0}, "epsilon"), ({"delta": 0.0}, "delta"), ({"orders": ()}, "order")):
        with pytest.raises(UsageError, match=words):
            certified(problem, descent, [0], **given)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="does not contract"):
        certified(problem, NoisyDescent(steps=3, learning_rate=2.1 / problem.smoothness, sigma=0.1), [0])
    for rows in ([], [0, 0], [-1], [300], list(range(300))):
        with pytest.raises(UsageError, match="forget set"):
            certified(problem, descent, rows)
    head = unlearn_head(train_head(problem, descent, 0), problem, descent, [0], 1, 0)
    with pytest.raises(UsageError, match="one forget set"):
        unlearn_head(head, problem, descent, [1], 1, 0)


def test_a_training_config_is_taken_over_only_where_it_says_the_same() -> None:
    plain = {"steps": 9, "batch_size": 50, "learning_rate": 0.5, "noise": {"convention": "langevin", "sigma": 0.1}}
    taken = NoisyDescent.of_training(TrainingConfig.model_validate(plain), 50)
    assert taken == NoisyDescent(steps=9, learning_rate=0.5, sigma=0.1)
    for change, words in (
        ({"batch_size": 20}, "batches of 20"),
        ({"momentum": 0.9}, "momentum"),
        ({"weight_decay": 0.1}, "l2"),
        ({"schedule": {"kind": "cosine"}}, "constant schedule"),
        ({"noise": {"convention": "mean_gradient", "sigma": 0.1}}, "langevin"),
    ):
        with pytest.raises(UsageError, match=words):
            NoisyDescent.of_training(TrainingConfig.model_validate({**plain, **change}), 50)
