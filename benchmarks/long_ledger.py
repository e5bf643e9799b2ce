"""A ledger of 100,000 requests in minutes: how is it made, and is it one?

The first days and the last ones go through the ledger's own intake, moves, runs and certificates, a transaction a day.
The days between repeat the first ones: the same rows and events under other names and dates, hashed anew, each group
of rows with its digest in the last event that touches it. `verify_chain` and `verify_rows` find nothing wrong with the
whole, and the build ends with both. (What an event in the middle of a repeated request's life says of its rows cannot
be checked by anybody, and is made up.)
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select

from expunge.compliance import chain, models, row_digests
from expunge.compliance.canonical import canonical_text
from expunge.compliance.ledger import Ledger, NewRequest
from expunge.compliance.pseudonym import load_or_create_key

NOW = datetime(2026, 11, 2, 21, 0, tzinfo=UTC)
A_DAY = 100
OPEN = 400
BLOCK = 25
"""Requests a day, open ones at the end, days that are made and repeated."""

_TABLES = [table for table in models.metadata.sorted_tables if table.name not in ("event", "meta")]
_NAMES = re.compile(
    r"\bq-(?P<request>\d+)|\brun-(?P<run>\d{4})|\b(?P<hex>[0-9a-f]{64}|[0-9a-f]{32})\b"
    r"|\b(?P<day>\d{4}-\d\d-\d\d)(?=\b|T)"
)


class Bulk(Ledger):
    """A ledger whose changes share one transaction while `together` lasts: each still writes its event."""

    _shared: Connection | None = None

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        if self._shared is not None:
            yield self._shared
            return
        with super()._write() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        if self._shared is not None:
            yield self._shared
            return
        with super()._read() as connection:
            yield connection

    @contextmanager
    def together(self) -> Iterator[None]:
        """One transaction for everything inside."""
        with super()._write() as connection:
            self._shared = connection
            try:
                yield
            finally:
                self._shared = None


class Time:
    """The clock of the years that are replayed."""

    def __init__(self) -> None:
        self.now = NOW - timedelta(days=3650)

    def __call__(self) -> datetime:
        return self.now


def build(where: str | Path, state: Path, requests: int) -> None:
    """Make the ledger; the number of requests is rounded to whole blocks, at least three of them."""
    clock = Time()
    blocks = max(3, requests // (A_DAY * BLOCK))
    started = time.monotonic()
    with Bulk.open(where, load_or_create_key(state / "keys" / "pseudonym.key"), clock=clock) as ledger:
        days = BLOCK * blocks

        def make(first: int, answered_before: int) -> None:
            for day in range(first, first + BLOCK):
                clock.now = NOW - timedelta(days=days - day)
                with ledger.together():
                    _day(ledger, clock, day, range(day * A_DAY, (day + 1) * A_DAY), answered_before)

        def say(what: str) -> None:
            print(f"  {what}: {ledger.head().seq} events, {time.monotonic() - started:.0f} s", flush=True)

        make(0, days * A_DAY)
        say("first days")
        for number in range(1, blocks - 1):
            with ledger.together():
                assert ledger._shared is not None
                _repeat(ledger._shared, number)
        say("days between")
        make(days - BLOCK, days * A_DAY - OPEN)
        say("last days")
        assert ledger.verify_chain().ok and ledger.verify_rows() == []
        say("verified")


def copy_to_postgresql(file: Path, url: str, state: Path) -> None:
    """The same ledger in an empty PostgreSQL database, row by row."""
    import psycopg

    Ledger.open(url, load_or_create_key(state / "keys" / "pseudonym.key")).close()  # makes the tables
    plain = url.replace("postgresql+psycopg://", "postgresql://")
    with closing(sqlite3.connect(file)) as source, psycopg.connect(plain) as target, target.cursor() as cursor:
        cursor.execute("ALTER TABLE event DISABLE TRIGGER USER")
        for table in reversed(models.metadata.sorted_tables):
            cursor.execute(f"DELETE FROM {table.name}")
        for table in models.metadata.sorted_tables:
            names = ", ".join(column.name for column in table.columns)
            rows = source.execute(f"SELECT {names} FROM {table.name} ORDER BY rowid")
            with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as out:
                for row in rows:
                    out.write_row(row)
        cursor.execute("ALTER TABLE event ENABLE TRIGGER USER")
        target.commit()
        target.autocommit = True
        cursor.execute("ANALYZE")


def _repeat(connection: Connection, number: int) -> None:
    """The first block again, as block `number`."""
    rows, events = _first_block(connection)
    rename = _renamer(number)
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    made = {table.name: [json.loads(rename(row)) for row in rows[table.name]] for table in _TABLES}
    for group, table, columns in row_digests.GROUPS:
        for row in made.get(table.name, ()):
            key = "/".join([group, *(row[column] for column in columns)])
            present = {name: value for name, value in row.items() if value is not None}
            groups.setdefault(key, {}).setdefault(table.name, []).append(present)
    for tables in groups.values():
        for name, found in tables.items():
            keys = [column.name for column in models.metadata.tables[name].primary_key.columns]
            found.sort(key=lambda row: tuple(row[key] for key in keys))
    last: dict[str, int] = {}
    copied = [json.loads(rename(event)) for event in events]
    for place, event in enumerate(copied):
        event["payload"] = json.loads(event["payload"])
        last.update(dict.fromkeys(event["payload"].get("rows", ()), place))
    for key, place in last.items():
        copied[place]["payload"]["rows"][key] = row_digests._digest(groups.get(key, {}))
    head = chain.head_of(connection)
    for event in copied:
        event["payload"] = canonical_text(event["payload"])
        event["seq"], event["previous_hash"] = head.seq + 1, head.hash
        event["hash"] = chain.event_hash(event)
        head = chain.Head(event["seq"], event["hash"])
    for table in _TABLES:
        if made[table.name]:
            connection.execute(insert(table), made[table.name])
    connection.execute(insert(models.event), copied)


_block: tuple[dict[str, list[str]], list[str]] | None = None


def _first_block(connection: Connection) -> tuple[dict[str, list[str]], list[str]]:
    global _block
    if _block is None:
        rows = {
            table.name: [json.dumps(dict(row)) for row in connection.execute(select(table)).mappings()]
            for table in _TABLES
        }
        query = select(models.event).where(models.event.c.seq > 1).order_by(models.event.c.seq)
        _block = rows, [json.dumps(dict(row)) for row in connection.execute(query).mappings()]
    return _block


def _renamer(number: int) -> Any:
    @cache
    def day(text: str) -> str:
        return (date.fromisoformat(text) + timedelta(days=BLOCK * number)).isoformat()

    def other(match: re.Match[str]) -> str:
        kind, text = match.lastgroup, match[match.lastgroup or 0]
        if kind == "request":
            return f"q-{int(text) + A_DAY * BLOCK * number}"
        if kind == "run":
            return f"run-{int(text) + BLOCK * number:04}"
        return day(text) if kind == "day" else sha256(f"{text} {number}".encode()).hexdigest()[: len(text)]

    return lambda text: _NAMES.sub(other, text)


def _day(ledger: Bulk, clock: Time, day: int, numbers: range, answered_before: int) -> None:
    new = []
    for n in numbers:
        again = n % 4 == 1  # asks for what the one before asked for
        new.append(
            NewRequest(
                f"q-{n}",
                f"person-{n % 60000}",
                [f"r-{n - again}"] if again else [f"r-{n}", f"s-{n}"],
                ("gdpr", "gdpr", "gdpr", "ccpa", "uk_gdpr")[n % 5],
                clock.now - timedelta(minutes=n % 700),
                identity_verified=n % 37 != 0,
                known_record_pseudonyms=[] if n % 3 == 0 else None,
            )
        )
    added = [one.request for one in ledger.add_requests(new)]
    waiting = []
    for request in added:
        n = int(request.id[2:])
        if not request.is_open or n >= answered_before:
            if request.status == "received" and n % 3:
                ledger.admit(request.id)
            continue
        if n % 13 == 0:
            ledger.refuse(request.id, "b" if request.regulation != "ccpa" else "1798.105(d)(8)")
        elif n % 29 == 0:
            ledger.cancel(request.id)
        else:
            ledger.admit(request.id)
            waiting.append(request.id)
    for request in added:  # whom a cancelled or refused one stood for is owed an answer again
        again = request.status == "duplicate" and int(request.id[2:]) < answered_before
        if again and ledger.get_request(request.id).status == "received":
            ledger.admit(request.id)
            waiting.append(request.id)
    if not waiting:
        return
    clock.now += timedelta(hours=5)
    run = f"run-{day:04}"
    ledger.add_run(run, model_version_before=f"digits {day}", details={"requests": waiting})
    for status in ("planned", "unlearning", "verified", "promoted", "purged"):
        for request_id in waiting:
            ledger.move(request_id, status, run)
        ledger.update_run(run, status=status, method="rewind")
    ledger.add_tombstones(
        {"kind": "checkpoint", "name": f"{run} step {n}", "status": "destroyed", "method": "unlink", "run_id": run}
        for n in range(20)
    )
    for request_id in waiting:
        ledger.mark_erased(request_id, run)
        ledger.add_certificate(
            request_id, f"certificates/{request_id}.json", sha256(request_id.encode()).hexdigest(), run
        )
        ledger.move(request_id, "closed", run)
    ledger.update_run(run, status="closed", finished_at=clock.now, model_version_after=f"digits {day + 1}")
    clock.now -= timedelta(hours=5)
