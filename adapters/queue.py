"""Who is next, on which night, and who will be late? The queue of the project's ledger with its forecast."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

from adapters import clock
from adapters.ledger import controller, open_ledger
from adapters.project import Project
from adapters.schedules import schedules
from expunge.compliance.deadlines import local_date
from expunge.compliance.forecast import Forecast, Waiting, forecast, sentence
from expunge.compliance.ledger import DueRequest, Ledger
from expunge.compliance.lifecycle import IN_A_RUN

NIGHTS = 400
"""A forecast looks no further than so many runs ahead: the longest deadline is three months and the pauses."""


@dataclass(frozen=True)
class Queue:
    """The open requests by deadline, their forecast, and the forecast in words.

    `costs`: planned cost of each that has one; `priced_at`: when that was planned. `nights`: the runs looked at.
    """

    due: tuple[DueRequest, ...]
    costs: dict[str, float]
    priced_at: str | None
    capacity: float | None
    nights: tuple[date, ...]
    scheduled: bool
    forecast: Forecast
    words: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        found = asdict(self.forecast)
        found.pop("nights")
        plain = {
            name: [str(one) for one in value] if isinstance(value, tuple) else value for name, value in found.items()
        }
        retrain_on = self.forecast.retrain_on
        return {
            "requests": [self.row(place, due) for place, due in enumerate(self.due, 1)],
            "capacity": self.capacity,
            "priced_at": self.priced_at,
            "scheduled": self.scheduled,
            "next_run": self.nights[0].isoformat() if self.nights else None,
            "forecast": {
                **plain,
                "retrain_on": retrain_on.isoformat() if retrain_on else None,
                "runs": {night.isoformat(): cost for night, cost in self.forecast.runs.items()},
            },
            "words": self.words,
        }

    def row(self, place: int, due: DueRequest) -> dict[str, Any]:
        """One request of the queue as plain JSON values."""
        request = due.request
        night = self.forecast.nights.get(request.id)
        return {
            "position": place,
            "request_id": request.id,
            "status": request.status.value,
            "regulation": request.regulation,
            "deadline": due.deadline.isoformat(),
            "days_left": due.days_left,
            "late": due.late,
            "paused": due.paused,
            "acknowledge_by": request.acknowledge_by.isoformat() if request.acknowledge_by else None,
            "run_id": request.run_id,
            "planned_cost": self.costs.get(request.id),
            "night": night.isoformat() if night else None,
            "will_be_late": request.id in self.forecast.late,
        }


def queue_of(project: Project, ledger: Ledger | None = None, capacity: float | None = None) -> Queue:
    """The queue as it is; `capacity` to see what another one would do (default: that of the settings)."""
    if ledger is None:
        with open_ledger(project) as opened:
            return queue_of(project, opened, capacity)
    calendar = controller(project)
    capacity = calendar.nightly_capacity if capacity is None else capacity
    due, priced = tuple(ledger.due_requests()), ledger.priced()
    today = local_date(clock.now(), calendar.timezone)
    nights, within, scheduled = _nights(project, today, max((one.deadline for one in due), default=today))
    waiting = [
        Waiting(
            one.request.id, one.deadline, priced.costs.get(one.request.id), one.request.status in IN_A_RUN, one.paused
        )
        for one in due
    ]
    found = forecast(waiting, nights, capacity, priced.prices, within)
    ready = sum(not one.paused for one in due)
    return Queue(
        due, dict(priced.costs), priced.at, capacity, tuple(nights), scheduled, found,
        sentence(found, ready, capacity, today),
    )  # fmt: skip


def _nights(project: Project, today: date, until: date) -> tuple[list[date], int | None, bool]:
    """Dates of the next runs, within how many days something must be due for them to answer requests, and whether a
    schedule says so; else every night.
    """
    declared = schedules(project)
    until = max(until, today) + timedelta(days=31)
    if not declared:
        days = min((until - today).days + 1, NIGHTS)
        return [today + timedelta(days=n) for n in range(days)], None, False
    found: set[date] = set()
    for schedule in declared:
        moments = schedule.timetable.following(clock.now(), min(NIGHTS, (until - today).days + 1))
        found |= {local_date(moment, controller(project).timezone) for moment in moments}
    looks = [schedule.within_days for schedule in declared]
    within = None if None in looks else max(days for days in looks if days is not None)
    return sorted(night for night in found if night <= until) or sorted(found)[:1], within, True
