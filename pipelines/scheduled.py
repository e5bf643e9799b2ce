"""A schedule's turn: is it time, was a night missed, and what came of it? One event on the ledger says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from zenml import pipeline

from adapters import zenml_schedule
from adapters.ledger import open_ledger
from adapters.project import Project
from adapters.schedules import Schedule, turn_of
from adapters.turn import turn
from expunge.compliance.timetable import Turn
from expunge.errors import ExpungeError
from expunge.settings import ProjectSettings
from pipelines.due import DueResult, answer_due
from steps.compliance.answer_due import answer_due as answer_due_step

Say = Callable[[str], None]


@pipeline(name="scheduled_run")
def scheduled_pipeline(declaration: dict[str, Any]) -> None:
    """What a ZenML Schedule runs."""
    answer_due_step(declaration)


def run_scheduled(
    project: Project, schedule: Schedule, settings: ProjectSettings, policy: str | None, say: Say
) -> DueResult | None:
    """Answer what is due if the schedule's time has come, once for all turns that were missed; else None.

    Raises AtWork when another process is answering requests: this turn stays open, and the next call takes it if that
    process was no turn of this schedule. Whatever else it raises is recorded first, and is not tried again before the
    next turn; a killed process records nothing, so the next call takes its turn.
    """
    with turn(wait=False, say=say):
        found, _ = turn_of(project, schedule)  # asked again: another process may have taken it meanwhile
        if found is None:
            return None
        say(_words(schedule, found))
        began, outcome, done = time.monotonic(), "error", DueResult()  # Ctrl-C too
        try:
            done = answer_due(settings, schedule.within, say, policy)
            outcome = "needs_approval" if done.awaiting else "done"
            return done
        except ExpungeError as error:
            outcome = _OUTCOMES.get(error.exit_code, "error")
            raise
        finally:
            with open_ledger(project) as ledger:
                ledger.record_scheduled_run(
                    schedule.name,
                    expected_at=found.expected.isoformat(timespec="seconds"),
                    missed=found.missed,
                    answered=len(done.requests) + len(done.answered),
                    failed=len(ledger.list_requests("failed")),
                    awaiting=len(ledger.list_requests("awaiting_approval")),
                    outcome=outcome,
                    seconds=round(time.monotonic() - began, 1),
                )


_OUTCOMES = {4: "gate_failed", 5: "integrity_error", 6: "needs_approval"}


def install_in_zenml(project: Project, schedule: Schedule) -> bool:
    """Create the ZenML Schedule; returns whether anything changed."""
    return zenml_schedule.install(project, schedule, scheduled_pipeline)


def _words(schedule: Schedule, found: Turn) -> str:
    expected = schedule.timetable.local(found.expected)
    if not found.missed:
        return f"Schedule {schedule.name}: the run of {expected}."
    count = f"{'more than ' if found.more else ''}{found.missed}"
    one = found.missed == 1
    return (
        f"Schedule {schedule.name}: {count} run{'' if one else 's'} {'was' if one else 'were'} missed"
        f" (the last was due {expected}); caught up now, once."
    )
