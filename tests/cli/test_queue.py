"""The queue of a project: by deadline, with the night of every answer, before and after a plan priced it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from adapters.project import Project
from adapters.schedules import Schedule, declare


def test_an_empty_queue_and_a_request_nobody_priced(new_house: Callable[..., Any]) -> None:
    house = new_house("queue")
    assert house.run("queue").out == "No open request waits for a run.\n"
    assert house.run("queue", "--json").json()["requests"] == []
    (house.root / "expunge.yaml").write_text(yaml.safe_dump({"compliance": {"nightly_capacity": 0.5}}))
    house.environment["EXPUNGE_SIMULATED_NOW"] = "2026-03-02T09:30:00+00:00"
    for name, regulation in (("later", "ccpa"), ("sooner", "gdpr")):
        one = ("--record", "digit-001e2cc7e29d" if name == "later" else "digit-002c887ee869")
        house.run("request", "add", *one, "--id", name, "--regulation", regulation, "-c", house.scenario)
    found = house.run("queue", "--json").json()
    assert [(row["request_id"], row["position"], row["deadline"]) for row in found["requests"]] == [
        ("sooner", 1, "2026-04-02"), ("later", 2, "2026-04-16"),
    ]  # fmt: skip
    assert found["requests"][1]["acknowledge_by"] == "2026-03-16" and found["requests"][0]["planned_cost"] is None
    assert found["forecast"]["late"] == ["sooner", "later"] and found["forecast"]["retrain_on"] == "2026-04-02"
    assert found["forecast"]["unpriced"] == ["sooner", "later"] and found["next_run"] == "2026-03-02"
    words = house.run("queue", "--limit", "1").words
    assert "… 1 more" in words and "2 of 2 will be late. Retrain once for all of them on Thursday 2 April 2026" in words
    free = house.run("queue", "--capacity", "1", "--json").json()
    assert free["forecast"]["late"] == [] and {row["night"] for row in free["requests"]} == {"2026-03-02"}
    # a schedule that has its next run after a deadline says so
    declare(Project(house.root), Schedule("monthly", "0 2 20 * *", "UTC"))
    monthly = house.run("queue", "--capacity", "1", "--json").json()
    assert monthly["scheduled"] and monthly["next_run"] == "2026-03-20"


@pytest.mark.xdist_group("demo")
def test_a_plan_of_all_that_is_due_prices_the_queue(demo: Any) -> None:
    house, records = demo.house, demo.house.trained_ids()
    for place in range(2):
        mine = (part for record in records[40 * place : 40 * place + 30] for part in ("-r", record))
        house.run("request", "add", *mine, "--id", f"queue-{place}")
    try:
        assert {row["planned_cost"] for row in house.run("queue", "--json").json()["requests"]} == {None}
        planned = house.run("plan", "--all-due", "--json").json()
        found = house.run("queue", "--json").json()
        costs = {row["request_id"]: row["planned_cost"] for row in found["requests"]}
        assert costs == {one["request_id"]: pytest.approx(one["alone_cost"]) for one in planned["requests"]}
        assert planned["one_by_one_cost"] == pytest.approx(sum(costs.values()))
        assert found["forecast"]["unpriced"] == [] and "in time" in found["words"]
        assert list(found["forecast"]["runs"].values()) == [pytest.approx(planned["predicted_cost"])]
    finally:
        for place in range(2):
            house.run("request", "cancel", f"queue-{place}", code=None)
    assert house.run("status", "--json").json()["open"] == 0
