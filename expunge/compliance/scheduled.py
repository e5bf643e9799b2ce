"""Did last night's run happen? One event for every scheduled run: a missed night is a gap between two of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select

from expunge.compliance import models
from expunge.compliance.moments import from_text
from expunge.compliance.rows import Event
from expunge.compliance.store import Store

RAN = "schedule.ran"


class Scheduled(Store):
    """The chapter of the ledger on scheduled runs."""

    def record_scheduled_run(self, schedule: str, **summary: Any) -> Event:
        """Record that a schedule's turn was taken, with what came of it (counts, codes and moments only)."""
        with self._write() as connection:
            return self._event(connection, RAN, {"schedule": schedule, **summary})

    def last_scheduled_run(self, schedule: str, by: datetime | None = None) -> Event | None:
        """The newest such event of a schedule; with `by`, the newest at that moment or before.

        A heartbeat from the future was written under a wrong clock, and says nothing about the nights until then.
        """
        table = models.event
        query = select(table).where(table.c.kind == RAN).order_by(table.c.seq.desc())
        with self._read() as connection:
            for row in connection.execute(query).mappings():
                found = Event.from_row(row)
                if found.payload["schedule"] == schedule and (by is None or ran_at(found) <= by):
                    return found
        return None


def ran_at(event: Event) -> datetime:
    """When the clock said that a scheduled run ended: an event's own time never goes back, a mended clock does."""
    return from_text(event.payload.get("clock_read")) or event.at
