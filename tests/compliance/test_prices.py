"""What will the open requests cost? What the newest plan said, as long as the model that it spoke of serves."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Clock

from expunge.compliance.ledger import Ledger


def plan(version: str = "digits 1", **costs: float | None) -> dict[str, Any]:
    """As much of a plan as prices are taken from."""
    return {
        "model_version": version,
        "method": "retrain",
        "predicted_cost": 0.6,
        "requests": [{"request_id": name, "alone_cost": cost, "records": 3} for name, cost in costs.items()],
        "alternatives": [{"method": "rewind", "cost": 0.7}],
    }


def test_the_newest_plan_counts_until_another_model_serves(ledger: Ledger, clock: Clock) -> None:
    assert ledger.priced().costs == {} and ledger.priced().at is None
    ledger.record_prices(plan(q1=0.3, q2=1.0))
    found = ledger.priced()
    assert found.costs == {"q1": 0.3, "q2": 1.0} and found.prices.planned == {"q1", "q2"}
    assert (found.prices.together, found.prices.rewinding) == (0.6, True)
    clock.forward(hours=1)
    alone = {**plan(q3=None), "alternatives": []}
    ledger.record_prices(alone)
    assert ledger.priced().costs == {"q3": 0.6} and not ledger.priced().prices.rewinding
    # a run that came later and planned, then failed, knows better
    clock.forward(hours=1)
    ledger.add_run("run-1", plan=plan(q1=0.2, q2=0.9))
    assert ledger.priced().costs == {"q1": 0.2, "q2": 0.9}
    clock.forward(hours=1)
    ledger.update_run("run-1", model_version_after="digits 2")
    assert ledger.priced().costs == {}  # the prices were the old model's
    ledger.record_prices(plan("digits 2", q4=0.1, q5=0.2))
    assert set(ledger.priced().costs) == {"q4", "q5"}
    assert ledger.verify_rows() == [] and ledger.events()[-1].kind == "queue.priced"
    assert ledger.events()[-1].payload["together"] == pytest.approx(0.6)
