"""A run joins the fit of its model's calibration: measured against oracles, by name once, and never twice."""

from __future__ import annotations

from typing import Any

import pytest

from expunge.unlearning.pilots import PilotCandidate, PilotSet, Way
from expunge.unlearning.predictor import BudgetPredictor, fit_predictor
from expunge.unlearning.spent_runs import with_run

WAY = Way("unrolled_rewind", 80, 0.6)


def pilots(left: float) -> list[PilotSet]:
    tried = {Way("rewind", 80): 0.6, Way("unrolled_rewind", 80, 0.3): left + 0.1, WAY: left}
    candidates = tuple(
        PilotCandidate(method=w.method, amount=w.amount, strength=w.strength, steps=20, cost=0.2, excess=0, influence=v)
        for w, v in tried.items()
    )
    return [PilotSet(name=f"{k}", size=20, mean_loss=10.0, energy=4.0, candidates=candidates) for k in range(4)]


@pytest.fixture
def told() -> BudgetPredictor:
    return fit_predictor(pilots(0.05), 0.1, 100)


class Given:
    """What `with_run` reads of a plan, a run and evidence."""

    forget_records, retrain_steps = 25, 100

    def __init__(self, **change: Any) -> None:
        fields: dict[str, Any] = {
            "method": "unrolled_rewind", "rewind_step": 80, "strength": 0.6, "steps_spent": 20, "amount": 80,
            "cost": {"unlearning": 0.21}, "level": "oracle",
            "details": {"influence": 0.4, "excess": 0.2, "energy": 6.0},
        }  # fmt: skip
        vars(self).update(fields | change)
        self.name = "influence"
        self.checks = [self]


def learn(told: BudgetPredictor, loss: float = 10.0, **change: Any) -> BudgetPredictor:
    given: Any = Given(**change)
    return with_run(told, loss, given, given, given)


def test_the_next_plan_predicts_what_was_left(told: BudgetPredictor) -> None:
    before = told.expected(WAY, 10.0, 0.4).value
    after = learn(told)
    assert before == pytest.approx(0.05, abs=1e-6) and after.expected(WAY, 10.0, 0.4).value > before + 0.05
    assert told.cheapest(10.0, 0.4) is not None and after.cheapest(10.0, 0.4) != told.cheapest(10.0, 0.4)
    assert after.pilots == told.pilots and after.spent[0].candidates[0].cost == 0.21
    assert BudgetPredictor.model_validate_json(after.model_dump_json()) == after


def test_a_strength_that_no_pilot_tried_counts_too(told: BudgetPredictor) -> None:
    between = Way("unrolled_rewind", 80, 0.5)
    after = learn(told, strength=0.5)
    assert after.expected(between, 10.0, 0.4).value > told.expected(between, 10.0, 0.4).value + 0.03


def test_the_same_run_counts_once_and_old_ones_go(told: BudgetPredictor) -> None:
    assert learn(learn(told)) == learn(told)
    many = told
    for k in range(203):
        many = learn(many, loss=10.0 + k)
    assert len(many.spent) == 200 and many.spent[0].mean_loss == 13.0


@pytest.mark.parametrize(
    "change",
    [
        {"level": "pool"}, {"forget_records": 41}, {"method": "retrain"}, {"method": "keep"}, {"details": {}},
        {"details": {"influence": None, "excess": None, "energy": 0.0}},
    ],
)  # fmt: skip
def test_what_measured_nothing_teaches_nothing(told: BudgetPredictor, change: dict[str, Any]) -> None:
    assert learn(told, **change) is told
