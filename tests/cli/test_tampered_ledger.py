"""Does a run refuse a ledger that somebody changed, before it works or destroys anything?"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any


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
