"""How many requests came in, how was each answered, and after how many days? The counts that a report asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, datetime
from functools import cache
from statistics import median
from typing import Any

from sqlalchemy import func, select

from expunge.compliance import models
from expunge.compliance.deadlines import local_date
from expunge.compliance.lifecycle import OPEN, Status
from expunge.compliance.moments import to_text
from expunge.compliance.rows import (
    Request,
)
from expunge.compliance.runs import Runs

SQLITE_GUARDS: tuple[str, ...] = ("event_no_delete", "event_no_replace", "event_no_update")
POSTGRESQL_GUARDS: tuple[str, ...] = ("event_no_change", "event_no_truncate")


class Statistics(Runs):
    """The chapter of the ledger that counts."""

    def statistics(self, since: datetime | None = None, until: datetime | None = None) -> dict[str, Any]:
        """Counts for a report (CCPA 7102): received, done, refused and the other answers, open, late, median days to
        answer.

        `since` (inclusive) and `until` (exclusive) bound the time of receipt. Days are from receipt to the answer.
        """
        today = local_date(self._now(), self._settings.timezone)
        counts = _Counts(), dict[str, _Counts]()
        # thousands of different answers stand for 100,000 requests
        for (regulation, status, days, late), number in Counter(self._answers(since, until, today)).items():
            for one in (counts[0], counts[1].setdefault(regulation, _Counts())):
                one.add(Status(status), days, late, number)
        return {
            **counts[0].to_dict(),
            "by_regulation": {name: one.to_dict() for name, one in sorted(counts[1].items())},
        }

    def _answers(
        self, since: datetime | None, until: datetime | None, today: date
    ) -> Iterator[tuple[str, str, int | None, bool]]:
        """Regulation, status, days to the answer and whether it is or was late, of every request received in a span.

        Only the open ones, and those whose clock never ran on, are read whole.
        """
        table, zone = models.request, self._settings.timezone
        span = [] if since is None else [table.c.received_at >= to_text(since, "since")]
        span += [] if until is None else [table.c.received_at < to_text(until, "until")]
        stopped = table.c.identity_requested_at.is_not(None) & table.c.identity_confirmed_at.is_(None)
        whole = stopped | table.c.answered_at.is_(None)
        deadline = func.coalesce(table.c.extended_to, table.c.due_at)
        light = select(table.c.regulation, table.c.status, table.c.received_at, table.c.answered_at, deadline)
        day = _days_in(zone)
        with self._read() as connection:
            for regulation, status, received, answered, due in connection.execute(light.where(*span, ~whole)):
                end, text = day(answered)
                yield regulation, status, end - day(received)[0], text > due
            for row in connection.execute(select(table).where(*span, whole)).mappings():
                request = Request.from_row(row)
                done = None if request.answered_at is None else local_date(request.answered_at, zone)
                last = self._deadline_at(request, request.answered_at or self._now())
                days = None if done is None else (done - local_date(request.received_at, zone)).days
                yield request.regulation, request.status.value, days, (done or today) > last


def _days_in(zone: str) -> Callable[[str], tuple[int, str]]:
    """Ordinal and ISO text of the local date of a ledger text. Worked out once for every quarter of an hour: no zone
    has begun its days between two of them since 1972.
    """

    @cache
    def of_quarter(hour: str, quarter: int) -> tuple[int, str]:
        day = local_date(datetime.fromisoformat(f"{hour}:{15 * quarter:02}:00+00:00"), zone)
        return day.toordinal(), day.isoformat()

    return lambda text: of_quarter(text[:13], int(text[14:16]) // 15)


class _Counts:
    """What a regulator asks for, counted request by request."""

    def __init__(self) -> None:
        self._by_status = dict.fromkeys(Status, 0)
        self._days: list[int] = []
        self._late = self._answered_late = 0

    def add(self, status: Status, days: int | None, late: bool, number: int) -> None:
        """Count so many requests alike; `days` to their answer, None while it is owed."""
        self._by_status[status] += number
        self._late += number * (late and status in OPEN)
        self._answered_late += number * (late and days is not None)
        if days is not None and status not in OPEN and status != Status.CANCELLED:
            self._days += [days] * number

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        by_status = self._by_status
        return {
            "received": sum(by_status.values()),
            "done": by_status[Status.CLOSED],
            "refused": by_status[Status.REFUSED],
            "not_found": by_status[Status.NOT_FOUND],
            "duplicate": by_status[Status.DUPLICATE],
            "cancelled": by_status[Status.CANCELLED],
            "open": sum(by_status[status] for status in OPEN),
            "late": self._late,
            "answered_late": self._answered_late,
            "median_days": median(self._days) if self._days else None,
        }
