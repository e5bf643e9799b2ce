"""How does a change to the ledger happen? In one transaction, with the event that records it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, Select, Table, bindparam, insert, select, update

from expunge.compliance import chain, deadlines, models
from expunge.compliance.canonical import sha256_of
from expunge.compliance.database import reading, writing
from expunge.compliance.moments import require_aware
from expunge.compliance.pseudonym import Pseudonymizer
from expunge.compliance.row_digests import digests
from expunge.compliance.rows import Event, Request
from expunge.errors import NotFoundError

EPOCH = "epoch"
LEDGER_ID = "ledger_id"


@dataclass(frozen=True)
class Settings:
    """What the ledger's dates depend on: the controller's time zone and holidays, and the clock it reads.

    A rehearsal's clock is `simulated`, and every event says so.
    """

    timezone: str
    holidays: AbstractSet[date]
    clock: Callable[[], datetime]
    simulated: bool = False


class Store:
    """The part that every chapter of the ledger shares."""

    def __init__(self, engine: Engine, pseudonymizer: Pseudonymizer, settings: Settings) -> None:
        self._engine = engine
        self._pseudonyms = pseudonymizer
        self._settings = settings

    @property
    def pseudonymizer(self) -> Pseudonymizer:
        """The keyed pseudonyms that this ledger is read and written with."""
        return self._pseudonyms

    def _now(self) -> datetime:
        return require_aware(self._settings.clock(), "The clock")

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with reading(self._engine) as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with writing(self._engine) as connection:
            yield connection

    def _event(
        self,
        connection: Connection,
        kind: str,
        payload: Mapping[str, Any],
        *,
        touched: Iterable[str] = (),
        request_id: str | None = None,
        run_id: str | None = None,
    ) -> Event:
        """Append the event of a change, with the digests of the row groups that it touched."""
        content = self._payload(payload, digests(connection, touched))
        return chain.append(connection, kind, content, now=self._now(), request_id=request_id, run_id=run_id)

    def _payload(self, payload: Mapping[str, Any], rows: Mapping[str, str]) -> dict[str, Any]:
        """What every event says besides its own: a rehearsal's clock, the rows as they are now."""
        content = dict(payload)
        if self._settings.simulated:
            content["clock"] = "simulated"
        if rows:
            content["rows"] = dict(rows)
        return content

    def _advance_epoch(self, connection: Connection, reason: str) -> str:
        """Make a new erasure epoch; returns the row group to record. Never returns to an earlier value."""
        head = chain.head_of(connection)
        before = self._meta(connection, EPOCH) or ""
        value = sha256_of({"before": before, "reason": reason, "seq": head.seq, "hash": head.hash})
        self._set_meta(connection, EPOCH, value)
        return f"meta/{EPOCH}"

    def _paused(
        self, request: Request, asked: datetime | None, until: datetime | None
    ) -> tuple[deadlines.Deadline, deadlines.Deadline | None]:
        """Deadlines of a request whose clock stood still between two moments: by rule, and extended where it is."""
        regulation, received = request.regulation, request.received_at
        calendar = (self._settings.holidays, self._settings.timezone)

        def days(last: date) -> int:
            return deadlines.paused_days(regulation, received, asked, until, last, self._settings.timezone)

        first = deadlines.due(regulation, received, *calendar, days(request.due_at))
        if request.extended_to is None:
            return first, None
        return first, deadlines.extend(regulation, received, *calendar, days(request.extended_to))

    def _deadline_at(self, request: Request, moment: datetime) -> date:
        """The deadline that counts at a moment: while proof of identity is awaited, a GDPR one moves on day by day."""
        asked = request.identity_requested_at
        if asked is None or request.identity_confirmed_at is not None or moment <= asked:
            return request.deadline
        first, extended = self._paused(request, asked, moment)
        return max(request.deadline, (extended or first).due_at)

    @staticmethod
    def _meta(connection: Connection, key: str) -> str | None:
        return connection.execute(select(models.meta.c.value).where(models.meta.c.key == key)).scalar()

    @staticmethod
    def _set_meta(connection: Connection, key: str, value: str) -> None:
        changed = connection.execute(update(models.meta).where(models.meta.c.key == key).values(value=value))
        if changed.rowcount == 0:
            connection.execute(insert(models.meta).values(key=key, value=value))

    @staticmethod
    def _request(connection: Connection, request_id: str) -> Request:
        row = connection.execute(_one(models.request, "id"), {"value": request_id}).mappings().first()
        if row is None:
            raise NotFoundError(
                f"There is no request {request_id!r} in the ledger.", "List them: expunge request list."
            )
        return Request.from_row(row)

    @staticmethod
    def _row(connection: Connection, table: Table, key: str, value: str) -> Mapping[Any, Any] | None:
        return connection.execute(_one(table, key), {"value": value}).mappings().first()


@cache
def _one(table: Table, key: str) -> Select[Any]:
    """The row with this key; made once, for to build a statement takes longer than to run it."""
    return select(table).where(table.c[key] == bindparam("value"))
