"""Is a record that was erased, or asked for, ever trained on again?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("guard")
ONCE = "erased-once"


@pytest.fixture(scope="module")
def guarded(new_house: Callable[..., Any], small: dict[str, Any]) -> tuple[Any, set[str]]:
    """A project of its own, for its requests and its second training would be met by others; and whom it erased."""
    house = new_house("guard", **{**small, "planning": {"method": "retrain"}})
    house.run("train", "-c", house.scenario)
    gone = house.trained_ids()[5:15]
    house.run("request", "add", *(part for r in gone for part in ("-r", r)), "--id", ONCE)
    house.run("run-due")
    assert house.status(ONCE) == "closed"
    return house, set(gone)


def test_the_same_request_twice_changes_nothing(guarded: Any) -> None:
    house, gone = guarded
    record = next(r for r in house.trained_ids() if r not in gone)
    first = house.run("request", "add", "-r", record, "--id", "asked-twice", "--json").json()
    assert first["created"] is True and first["records"] == 1
    head = house.head()
    second = house.run("request", "add", "-r", record, "--id", "asked-twice", "--json").json()
    assert second["created"] is False and second["received_at"] == first["received_at"]
    assert house.head() == head
    other = house.run("request", "add", "-r", min(gone), "--id", "asked-twice", code=2)
    assert "another content" in other.err
    assert house.head() == head
    house.run("request", "cancel", "asked-twice")


def test_a_request_for_what_was_erased_is_answered_at_once(guarded: Any) -> None:
    house, gone = guarded
    record = min(gone)
    answered = house.run("request", "add", "-r", record, "--id", "late-comer", "--json").json()
    assert (answered["status"], answered["outcome"], answered["duplicate_of"]) == ("duplicate", "already_erased", ONCE)
    before = house.counts()
    house.run("run-due")
    assert house.counts() == before


def test_a_record_that_is_only_held_out_is_answered_without_a_run(guarded: Any, digits_ids: dict[str, str]) -> None:
    house, gone = guarded
    trained = set(house.trained_ids())
    record = next(r for r in sorted(digits_ids) if r not in trained and r not in gone)
    house.run("request", "add", "-r", record, "--id", "held-out-only")
    runs, models = house.runs(), house.versions()
    serving = house.versions("production")
    table = next(a for a in house.artifacts("held_out_records")[::-1] if "destroyed_at" not in a["facts"])
    assert house.holding([record], table["uri"]), "the table of the model that serves holds it"
    said = house.run("run-due", "--json").json()
    assert (said["requests"], said["answered"]) == ([], ["held-out-only"])
    assert house.holding([record]) == {}, "its row went"
    assert house.versions("production") == serving
    health = house.run("doctor", "--json").json()
    assert all(check["ok"] for check in health), "and the table can be read as before"
    assert house.status("held-out-only") == "closed"
    assert house.ledger("select outcome from request where id = 'held-out-only'") == [("not_in_training",)]
    assert (house.runs(), house.versions()) == (runs, models)
    trained_now = house.run("train", "--json").json()
    assert trained_now["stage"] == "production"
    newest = house.artifacts("training_records")[-1], house.artifacts("held_out_records")[-1]
    seen = house.holding([record, *gone], newest[0]["uri"]) | house.holding([record], newest[1]["uri"])
    assert seen == {}
    assert not (gone | {record}) & set(house.trained_ids())
    shown = house.run("audit", "record", record, "--json").json()
    assert [r["id"] for r in shown["requests"]] == ["held-out-only"] and shown["held_by"] == []
