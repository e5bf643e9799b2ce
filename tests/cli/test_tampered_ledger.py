"""Does a run refuse a ledger that somebody changed, before it works or destroys anything?"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import load_or_create_key


def test_run_due_stops_at_a_row_that_was_changed(new_house: Callable[..., Any]) -> None:
    house = new_house("tampered")
    house.run("request", "add", "-r", "digit-8256129c4a2d", "--id", "asked", "-c", house.scenario)
    with closing(sqlite3.connect(house.state / "ledger.db")) as ledger, ledger:
        (due,) = ledger.execute("select due_at from request").fetchone()
        ledger.execute("update request set due_at = '2020-01-01'")
    refused = house.run("run-due", "-c", house.scenario, code=5)
    assert "request/asked" in refused.err and house.status("asked") == "received"

    with closing(sqlite3.connect(house.state / "ledger.db")) as ledger, ledger:
        ledger.execute("update request set due_at = ?", (due,))
    # The control: the ledger as it was is taken, and what is missing next is a model.
    assert "production model" in house.run("run-due", "-c", house.scenario, code=3).err


def test_approve_stops_at_a_changed_row_and_at_an_older_ledger(new_house: Callable[..., Any]) -> None:
    house = new_house("tampered-approval")
    with Ledger.open(house.state / "ledger.db", load_or_create_key(house.state / "keys" / "pseudonym.key")) as ledger:
        ledger.add_request("asked", "ada@example.org", ["digit-8256129c4a2d"], "gdpr", datetime.now(UTC))
        ledger.admit("asked")
        ledger.add_run("run-1", model_version_before="v1", details={"requests": ["asked"]})
        ledger.update_run("run-1", plan={"method": "keep", "predicted_cost": 0}, status="planned")
        ledger.move("asked", "planned", "run-1")
        ledger.ask_approval("run-1")
        head = ledger.head()
    approve = ("approve", "run-1", "--by", "privacy-office")
    with closing(sqlite3.connect(house.state / "ledger.db")) as rows, rows:
        (run,) = rows.execute("select fallback_reason from deletion_run").fetchone()
        rows.execute("update deletion_run set fallback_reason = 'because'")
    assert "run/run-1" in house.run(*approve, code=5).err and house.head() == (head.seq, head.hash)
    with closing(sqlite3.connect(house.state / "ledger.db")) as rows, rows:
        rows.execute("update deletion_run set fallback_reason = ?", (run,))

    (house.state / "ledger.head").write_text(f"{_ledger_id(house)} {head.seq + 9} {'0' * 64}\n")
    assert "older copy" in house.run(*approve, code=5).err and house.status("asked") == "awaiting_approval"
    (house.state / "ledger.head").unlink()
    # The control: a ledger as it was is taken, and what is missing next is a model.
    assert "production model" in house.run(*approve, code=3).err
    assert house.ledger("select status from deletion_run") == [("approved",)]


def _ledger_id(house: Any) -> str:
    return str(house.ledger("select value from meta where key = 'ledger_id'")[0][0])
