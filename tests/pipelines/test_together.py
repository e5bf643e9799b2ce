"""Do several processes in one project, from its first second on, get along?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("together")


@pytest.fixture(scope="module")
def shared(new_house: Callable[..., Any]) -> Any:
    """A new project in which four processes trained at once, each its own model."""
    house = new_house("together", planning={"method": "retrain"})
    started = [
        house.start("train", "-c", house.scenario, "--set", f"training.seed={seed}", "--json") for seed in range(4)
    ]
    trained = [house.finish(process).json() for process in started]
    return house, trained


def test_four_trainings_at_once(shared: Any) -> None:
    house, trained = shared
    assert len(house.versions()) == 4 and len(house.versions("production")) == 1
    assert {facts["version"] for facts in trained} == {f"digits-mlp {number}" for number in range(1, 5)}
    assert len({facts["dvc_hash"] for facts in trained}) == 4
    assert all(house.remote(facts["dvc_hash"]).is_file() for facts in trained)


def test_four_answers_at_once_are_one(shared: Any) -> None:
    house, _ = shared
    records = house.trained_ids()[5:30]
    house.run("request", "add", *(part for r in records for part in ("-r", r)), "--id", "once")
    started = [house.start("run-due", "-c", house.scenario) for _ in range(4)]
    answers = [house.finish(process) for process in started]
    assert sum("Nothing is due" in answer.out for answer in answers) == 3
    assert house.status("once") == "closed"
    assert house.ledger("select count(*) from deletion_run") == [(1,)]
    assert house.ledger("select count(*) from certificate") == [(1,)]
    assert "VERIFIED" in house.run("verify", house.state / "certificates" / "once.certificate.json").out
    # All four models had been trained on the records.
    assert sorted(house.versions().values()) == ["archived"] * 4 + ["production"]
    assert house.holding(records) == {}
