"""A request that is taken back while a run has it: does the run find out, and do the others move on?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.ledger import open_ledger
from adapters.requests import RequestsLeft, move_all, requests_of, require_all
from expunge.compliance.ledger import Ledger
from expunge.compliance.lifecycle import IllegalMove


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """A ledger with a run over three requests in quarantine."""
    monkeypatch.setenv("EXPUNGE_PROJECT", str(tmp_path))
    with open_ledger() as ledger:
        for name in ("one", "two", "three"):
            ledger.add_request(name, f"{name}@example.org", [f"record-{name}"], "gdpr", ledger._now())
            ledger.admit(name)
        ledger.add_run("run-1", details={"requests": ["one", "two", "three"]})
        yield ledger


def statuses(ledger: Ledger) -> list[str]:
    return [ledger.get_request(r).status.value for r in ("one", "two", "three")]


def test_before_it_is_planned_the_run_lets_go_of_it(run: Ledger) -> None:
    run.cancel("two")
    assert set(requests_of("run-1")) == {"one", "three"}
    assert run.get_run("run-1").details["requests"] == ["one", "three"]
    move_all(run, "run-1", "planned")
    assert statuses(run) == ["planned", "cancelled", "planned"]
    run.cancel("one")
    run.cancel("three")
    with pytest.raises(RequestsLeft, match="one, three"):
        requests_of("run-1")


def test_afterwards_the_plan_does_not_hold_and_the_others_can_be_put_back(run: Ledger) -> None:
    require_all(run, "run-1")
    move_all(run, "run-1", "planned")
    run.cancel("two")
    with pytest.raises(RequestsLeft, match="two"):
        require_all(run, "run-1")
    with pytest.raises(RequestsLeft, match="two"):
        move_all(run, "run-1", "unlearning")
    assert statuses(run) == ["unlearning", "cancelled", "unlearning"]


def test_a_request_that_another_run_holds_is_an_error_still(run: Ledger) -> None:
    run.add_run("run-2", details={"requests": ["one"]})
    move_all(run, "run-2", "planned")
    with pytest.raises(IllegalMove, match="held by run run-2"):
        move_all(run, "run-1", "planned")
