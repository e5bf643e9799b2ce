"""Is a schedule's turn found whatever a wrong clock, an interrupted run or an old declaration left behind?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters import clock
from adapters.ledger import open_ledger
from adapters.project import Project
from adapters.schedules import Schedule, brought, declare, forget, schedules, turn_of

NIGHTLY = Schedule("nightly", "0 2 * * *", "UTC", since="2026-03-01T12:00:00+00:00")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("EXPUNGE_PROJECT", str(tmp_path))
    return Project(tmp_path)


def at(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    monkeypatch.setenv(clock.VARIABLE, moment)


def ran(project: Project) -> None:
    with open_ledger(project) as ledger:
        ledger.record_scheduled_run("nightly", outcome="done")


def test_a_heartbeat_of_a_clock_that_ran_ahead_stops_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, "2026-03-02T02:10:00+00:00")
    ran(project)
    assert turn_of(project, NIGHTLY)[0] is None, "taken"
    at(monkeypatch, "2027-03-02T02:00:00+00:00")  # somebody set the clock a year ahead, and it was noticed
    ran(project)
    at(monkeypatch, "2026-03-04T02:05:00+00:00")
    found, since = turn_of(project, NIGHTLY)
    assert found is not None and found.expected == datetime(2026, 3, 4, 2, tzinfo=UTC) and found.missed == 1
    assert since == datetime(2026, 3, 2, 2, 10, tzinfo=UTC)
    ran(project)  # its event stands at 2027 on the chain; what the clock read counts
    assert turn_of(project, NIGHTLY)[0] is None
    at(monkeypatch, "2026-03-05T02:05:00+00:00")
    assert turn_of(project, NIGHTLY)[0] is not None


def test_declared_under_a_clock_that_ran_ahead(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = Schedule("nightly", "0 2 * * *", "UTC", since="2027-01-01T00:00:00+00:00")
    at(monkeypatch, "2026-03-04T12:00:00+00:00")
    assert turn_of(project, ahead)[0] is None, "what was long before is not caught up"
    at(monkeypatch, "2026-03-05T02:05:00+00:00")
    found, _ = turn_of(project, ahead)
    assert found is not None and found.missed == 0
    ran(project)
    assert turn_of(project, ahead)[0] is None


@dataclass(frozen=True)
class Interrupted(Schedule):
    """Ctrl-C as soon as the work begins."""

    @property
    def within(self) -> timedelta | None:
        raise KeyboardInterrupt


def test_an_interrupted_run_is_not_recorded_as_done(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.scheduled import run_scheduled

    at(monkeypatch, "2026-03-04T02:05:00+00:00")
    nothing: Any = None
    with pytest.raises(KeyboardInterrupt):
        run_scheduled(project, Interrupted("nightly", "0 2 * * *", "UTC", since=NIGHTLY.since), nothing, None, print)
    with open_ledger(project) as ledger:
        last = ledger.last_scheduled_run("nightly")
    assert last is not None and last.payload["outcome"] == "error"


def test_what_a_scheduler_brings_does_not_undo_what_was_declared_here(project: Project) -> None:
    old = Schedule("nightly", "0 2 * * *", "UTC", approve=True, installed="zenml", since=NIGHTLY.since)
    assert brought(project, old) == old and schedules(project) == [old], "a bare machine knows nothing else"
    changed, _ = declare(project, Schedule("nightly", "0 2 * * *", "UTC", within_days=7, installed="zenml"))
    assert brought(project, old) == changed and schedules(project) == [changed] and not changed.approve
    forget(project, "nightly")
    assert brought(project, old) is None and schedules(project) == [], "removed is removed"
