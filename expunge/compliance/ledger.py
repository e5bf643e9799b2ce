"""The ledger: what was asked, what was done, and when; the one memory that every run restarts from.

    with Ledger.open(".expunge/ledger.db", load_or_create_key(".expunge/keys/pseudonym.key")) as ledger:
        ledger.add_request("3f0c...", "ada@example.org", ["r-17"], "gdpr", received_at)
        ledger.admit("3f0c...")

Chapters: `intake` (requests in), `progress` (their moves), `contact` (what is said to the person and asked of them),
`quarantine` (the replay guard and the epoch), `runs` (runs, tombstones, certificates), `approvals` (who said yes),
`scheduled` (heartbeats), `audit` (everything that only reads).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from types import TracebackType
from typing import Any, Self

from expunge.compliance import migrations
from expunge.compliance.approvals import Approvals
from expunge.compliance.chain import ChainCheck, Head
from expunge.compliance.contact import Contact
from expunge.compliance.database import BUSY_SECONDS, needs_upgrade, open_engine
from expunge.compliance.deadlines import local_date
from expunge.compliance.intake import Added, Intake, NewRequest
from expunge.compliance.moments import utc_now
from expunge.compliance.prices import Pricing
from expunge.compliance.pseudonym import Pseudonymizer
from expunge.compliance.rows import DueRequest, Event, Request
from expunge.compliance.scheduled import Scheduled
from expunge.compliance.store import LEDGER_ID, Settings
from expunge.errors import UsageError

__all__ = ["Added", "ChainCheck", "DueRequest", "Event", "Head", "Ledger", "NewRequest", "Request"]


class Ledger(Intake, Contact, Approvals, Scheduled, Pricing):
    """One ledger, in SQLite or PostgreSQL. Open it with `Ledger.open`; close it, or use it as a context manager."""

    @classmethod
    def open(
        cls,
        where: str | os.PathLike[str],
        pseudonymizer: Pseudonymizer,
        *,
        timezone: str = "UTC",
        holidays: AbstractSet[date] = frozenset(),
        clock: Callable[[], datetime] = utc_now,
        simulated: bool = False,
        busy_seconds: float = BUSY_SECONDS,
    ) -> Self:
        """Open the ledger at a path or a database URL, making or upgrading its tables; any number of processes may do
        so at once.

        `timezone` and `holidays` are the controller's, for deadlines; `clock` returns aware moments, and is named
        in every event if it is `simulated`. Raises
        UsageError for a path, URL, time zone or newer ledger that cannot be used, IntegrityError for a file that is
        no database.
        """
        local_date(utc_now(), timezone)
        engine = open_engine(where, busy_seconds)
        try:
            ledger = cls(engine, pseudonymizer, Settings(timezone, frozenset(holidays), clock, simulated))
            if needs_upgrade(engine):
                ledger._upgrade()
            return ledger
        except BaseException:
            engine.dispose()
            raise

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def ledger_id(self) -> str:
        """Random id of this ledger, made with it."""
        with self._read() as connection:
            return self._meta(connection, LEDGER_ID) or ""

    def append_event(
        self,
        kind: str,
        payload: Mapping[str, Any],
        *,
        request_id: str | None = None,
        run_id: str | None = None,
    ) -> Event:
        """Append an event of the caller's (an approval, a notice, a scan). `payload` is plain JSON without identities
        or record ids.

        It can never be changed or removed, so keep free text about people out of it. Raises UsageError for an empty
        kind, a payload that JSON cannot carry, or one that names `rows`, which is the ledger's own.
        """
        if not kind.strip() or "rows" in payload:
            raise UsageError("An event needs a kind, and a payload without 'rows'.", "Rename that field.")
        with self._write() as connection:
            return self._event(connection, kind, payload, request_id=request_id, run_id=run_id)

    def _upgrade(self) -> None:
        """Make or upgrade the tables, under the write lock; whoever comes second finds nothing left to do."""
        with self._write() as connection:
            migrations.upgrade(connection)
            if self._meta(connection, LEDGER_ID) is None:
                self._set_meta(connection, LEDGER_ID, str(uuid.uuid4()))
                touched = [f"meta/{LEDGER_ID}", self._advance_epoch(connection, "created")]
                self._event(connection, "ledger.created", {"revision": migrations.HEAD}, touched=touched)
