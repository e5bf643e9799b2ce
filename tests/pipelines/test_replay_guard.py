"""Is a record that was erased, or asked for, ever trained on again?"""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("demo")
HARD, EASY = "demo-hard-contributor", "demo-easy-person"


def test_the_same_request_twice_changes_nothing(demo: Any) -> None:
    record = next(r for r in demo.house.trained_ids() if r not in demo.gone)
    first = demo.house.run("request", "add", "-r", record, "--id", "asked-twice", "--json").json()
    assert first["created"] is True and first["records"] == 1
    head = demo.house.head()
    second = demo.house.run("request", "add", "-r", record, "--id", "asked-twice", "--json").json()
    assert second["created"] is False and second["received_at"] == first["received_at"]
    assert demo.house.head() == head
    other = demo.house.run("request", "add", "-r", min(demo.gone), "--id", "asked-twice", code=2)
    assert "another content" in other.err
    assert demo.house.head() == head
    # Taken back, so that the tests of this project find no open request.
    from expunge.compliance.ledger import Ledger
    from expunge.compliance.pseudonym import load_or_create_key

    names = load_or_create_key(demo.house.state / "keys" / "pseudonym.key")
    with Ledger.open(demo.house.state / "ledger.db", names) as ledger:
        ledger.move("asked-twice", "cancelled")


def test_a_request_for_what_was_erased_is_answered_at_once(demo: Any) -> None:
    record = min(demo.erased[HARD])
    answered = demo.house.run("request", "add", "-r", record, "--id", "late-comer", "--json").json()
    assert (answered["status"], answered["outcome"], answered["duplicate_of"]) == ("duplicate", "already_erased", HARD)
    before = demo.house.counts()
    demo.house.run("run-due")
    assert demo.house.counts() == before


def test_a_record_that_is_only_held_out_is_answered_without_a_run(demo: Any, digits_ids: dict[str, str]) -> None:
    trained = set(demo.house.trained_ids())
    record = next(r for r in sorted(digits_ids) if r not in trained and r not in demo.gone)
    demo.house.run("request", "add", "-r", record, "--id", "held-out-only")
    runs, models = demo.house.runs(), demo.house.versions()
    serving = demo.house.versions("production")
    table = next(a for a in demo.house.artifacts("held_out_records")[::-1] if "destroyed_at" not in a["facts"])
    assert demo.house.holding([record], table["uri"]), "the table of the model that serves holds it"
    said = demo.house.run("run-due", "--json").json()
    assert (said["requests"], said["answered"]) == ([], ["held-out-only"])
    assert demo.house.holding([record]) == {}, "its row went"
    assert demo.house.versions("production") == serving
    health = demo.house.run("doctor", "--json").json()
    assert all(check["ok"] for check in health), "and the table can be read as before"
    assert demo.house.status("held-out-only") == "closed"
    assert demo.house.ledger("select outcome from request where id = 'held-out-only'") == [("not_in_training",)]
    assert (demo.house.runs(), demo.house.versions()) == (runs, models)
    trained_now = demo.house.run("train", "--json").json()
    assert trained_now["stage"] == "production"
    newest = demo.house.artifacts("training_records")[-1], demo.house.artifacts("held_out_records")[-1]
    seen = demo.house.holding([record, *demo.gone], newest[0]["uri"]) | demo.house.holding([record], newest[1]["uri"])
    assert seen == {}
    assert not (demo.gone | {record}) & set(demo.house.trained_ids())
    shown = demo.house.run("audit", "record", record, "--json").json()
    assert [r["id"] for r in shown["requests"]] == ["held-out-only"] and shown["held_by"] == []
