"""A planner with a budget: what it takes on made-up pilots, where the best answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.models import ModelSpec
from expunge.reproduction.adaptive.planner import KEEP, RETRAIN, Planner, Ways, chosen
from expunge.training import NoiseConfig, TrainingConfig
from expunge.unlearning.methods import Procedure
from expunge.unlearning.pilots import PilotCandidate, PilotSet, Way

STEPS, SIZE = 1000, 10
# What each way leaves: in the logarithm of its cost a straight line, as the planner takes it to be.
WAYS = [Way("rewind", 900), Way("rewind", 800), Way("rewind", 600), Way("fine_tune", 100)]
LEFT = dict(zip(WAYS, (0.6, 0.325, 0.05, 0.9), strict=True))


@pytest.fixture(scope="module")
def ways() -> Ways:
    config = TrainingConfig(
        steps=STEPS, batch_size=10, learning_rate=0.1, noise=NoiseConfig(convention="mean_gradient", sigma=0.01)
    )
    return Ways(Procedure(ModelSpec("mlp", (3,), 2), config, 0.1), WAYS, SIZE)


def pilots(ways: Ways, losses: list[float], energies: list[float]) -> tuple[PilotSet, ...]:
    candidates = tuple(
        PilotCandidate(
            method=way.method, amount=way.amount, steps=way.steps(STEPS), cost=ways.cost(way), influence=LEFT[way],
            excess=LEFT[way] ** 2,
        )
        for way in ways.ways
    )  # fmt: skip
    return tuple(
        PilotSet(name=str(n), size=SIZE, mean_loss=loss, energy=energy, candidates=candidates)
        for n, (loss, energy) in enumerate(zip(losses, energies, strict=True))
    )


@pytest.fixture(scope="module")
def planner(ways: Ways) -> Planner:
    """Eight easy pilots that held nothing, four hard ones that did."""
    return Planner(pilots(ways, [1, 2, 3, 4, 5, 6, 7, 8, 100, 110, 120, 130], [0.0] * 8 + [3.0] * 4), ways, 0.4)


@pytest.mark.parametrize(
    ("budget", "hard"),
    [
        (0.05, WAYS[0]),
        (0.08, WAYS[0]),
        (0.11, WAYS[1]),
        (0.2, WAYS[2]),
        (0.45, WAYS[2]),
        (0.5, RETRAIN),
        (0.9, RETRAIN),
    ],
)
def test_what_easy_sets_need_not_is_spent_on_hard_ones(planner: Planner, budget: float, hard: Way) -> None:
    """Half of the batch is kept, so the other half may cost twice the budget."""
    scores = np.array([2.0, 100, 5, 120])
    assert planner.plan(scores, budget) == [KEEP, hard, KEEP, hard]


def test_a_budget_for_nothing_takes_the_cheapest_way(planner: Planner) -> None:
    assert planner.plan(np.array([100.0, 120]), 0.01) == [WAYS[0]] * 2


def test_the_plan_is_the_shipped_one_at_the_target_that_the_budget_affords(planner: Planner) -> None:
    scores = np.array([3.0, 100, 110, 130, 7])
    for budget, target in ((0.06, 0.61), (0.13, 0.33), (0.3, 0.06), (0.6, 0.001)):
        told = planner.predictor.model_copy(update={"target": target})
        assert planner.plan(scores, budget) == [chosen(told, float(score), 0.4) for score in scores]


def test_scores_that_say_nothing_leave_nothing_to_adapt_to(ways: Ways) -> None:
    """The null: where remembered and forgotten pilots have the same scores, no set is given more than another."""
    losses = [float(n % 3 + 1) for n in range(12)]
    planner = Planner(pilots(ways, losses, [3.0 if n % 2 else 0.0 for n in range(12)]), ways, 0.4)
    assert len(set(planner.plan(np.array([1.0, 2, 3, 2, 1]), 0.2))) == 1


def test_the_fixed_way_is_the_one_that_left_least_within_the_budget(planner: Planner) -> None:
    assert planner.fixed(0.1) == WAYS[0]
    assert planner.fixed(0.2) == WAYS[1]
    assert planner.fixed(0.9) == WAYS[2]
    assert planner.dearest("fine_tune", 0.9) == WAYS[3]
    assert planner.dearest("rewind", 0.25) == WAYS[1]


def test_a_threshold_alone_spends_the_budget_on_what_it_does_not_keep(planner: Planner) -> None:
    scores = np.array([2.0, 100, 5, 120])
    assert planner.gated(scores, 0.1) == [KEEP, WAYS[1], KEEP, WAYS[1]]
    assert planner.gated(scores, 0.5) == [KEEP, RETRAIN, KEEP, RETRAIN]
    assert planner.gated(np.array([2.0, 3]), 0.1) == [KEEP, KEEP]


def test_an_allocation_spends_where_most_is_to_be_forgotten(planner: Planner) -> None:
    """Easy sets hold nothing, so all is spent on the hard ones; what one cannot use goes to the other."""
    scores = np.array([2.0, 100, 5, 120])
    assert planner.allocation(scores, 0.2) == [KEEP, WAYS[2], KEEP, WAYS[2]]
    assert sorted(way.method for way in planner.allocation(scores, 0.36)) == ["keep", "keep", "retrain", "rewind"]
    assert planner.allocation(scores, 0.02) == [KEEP] * 4
    assert planner.allocation(scores, 1.0) == [KEEP, RETRAIN, KEEP, RETRAIN]


def test_no_plan_spends_more_than_its_budget(planner: Planner) -> None:
    rng = np.random.default_rng(0)
    for budget in (0.1, 0.17, 0.3, 0.61):
        scores = rng.choice([1.0, 5, 9, 60, 100, 125], 9)
        for way in (planner.plan, planner.allocation, planner.gated):
            assert np.mean([planner.ways.cost(one) for one in way(scores, budget)]) <= budget + 1e-6


def test_of_pilots_that_held_nothing_only_costs_are_known(ways: Ways) -> None:
    planner = Planner(pilots(ways, [float(n) for n in range(1, 9)], [0.0] * 8), ways, 0.4)
    assert planner.plan(np.array([2.0, 50]), 0.3) == [KEEP, WAYS[3]]
    assert planner.allocation(np.array([2.0, 50]), 0.3) == [KEEP, KEEP]
    assert planner.gated(np.array([2.0, 50]), 0.1)[0] == KEEP
