"""Whom does a run answer? Nobody before one request is due; then all that are open, without those taken back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.ledger import open_ledger
from adapters.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("answered")]
NIGHTLY = ("run-due", "--within", "3d")
ASKING = (*NIGHTLY, "--set", "deletion.approval=required")


def test_one_that_is_due_takes_all_along(
    new_house: Callable[..., Any], small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    house = new_house("answered", **small)
    house.run("train", "-c", house.scenario)
    records = house.trained_ids()

    def ask(request: str, first: int, days_ago: int = 0) -> None:
        received = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
        asked = f"{request},,{';'.join(records[first : first + 5])},gdpr,{received}\n"
        (house.root / "asked.csv").write_text("request_id,subject_id,record_ids,regulation,received_at\n" + asked)
        house.run("request", "import", house.root / "asked.csv")

    # nothing is due: out of training at once, and no run
    ask("far", 0)
    before = house.runs()
    quiet = house.run(*NIGHTLY)
    assert "Nothing is due" in quiet.out and "1 in quarantine, none of them due within 3 days" in quiet.err
    assert house.status("far") == "quarantined" and house.runs() == before
    assert house.ledger("select count(*) from deletion_run") == [(0,)]

    # a person says no to a plan for it; the night's run for another one takes it along, and is asked about once
    house.run("run-due", "--set", "deletion.approval=required", code=6)
    ((refused,),) = house.ledger("select id from deletion_run")
    house.run("approve", refused, "--no", "--reason", "not_now")
    ask("soon", 5, days_ago=28)
    house.run(*ASKING, code=6)
    (asked,) = house.run("approve", "--json").json()
    assert set(asked["requests"]) == {"soon", "far"}
    house.run(*ASKING, code=6)
    assert [one["run"] for one in house.run("approve", "--json").json()] == [asked["run"]], "it still holds"
    house.run("approve", asked["run"])
    assert house.status("far") == house.status("soon") == "closed"

    # taken back after the plan was made: the others are answered by the same call
    ask("stays", 10, days_ago=28)
    ask("leaves", 15)
    night = house.start(*NIGHTLY)
    monkeypatch.setenv("EXPUNGE_PROJECT", str(house.root))
    while not (planned := house.ledger("select 1 from request where id = 'leaves' and status = 'planned'")):
        assert night.poll() is None, night.communicate()
    with open_ledger(Project(house.root)) as ledger:
        assert planned and ledger.cancel("leaves").status == "cancelled"
    said = house.finish(night)
    assert "The others are planned anew" in said.err and "leaves" not in said.out
    assert house.status("stays") == "closed" and house.status("leaves") == "cancelled"
    assert [s for (s,) in house.ledger("select status from deletion_run order by started_at")][-2:] == [
        "interrupted", "closed",
    ]  # fmt: skip
    assert set(records[15:20]) <= set(house.trained_ids())
    assert all(check["ok"] for check in house.run("doctor", "--json").json())
