"""How is an event appended so that changing the past shows?

Each event carries the SHA-256 of its own row and of the event before it. The hashed value is the canonical JSON of
`{at, kind, payload, previous_hash, request_id, run_id, seq}`, where payload is the stored text itself. The first
event follows 64 zeros. A payload's `rows` names every group of ledger rows that the same transaction changed, with
the group's digest afterwards (`row_digests`): a later change behind the ledger's back shows too. What a chain alone
cannot show is that its end was cut off; the head in a certificate, or a head written down elsewhere, does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select

from expunge.compliance.canonical import canonical_json, canonical_text
from expunge.compliance.models import event
from expunge.compliance.moments import to_text
from expunge.compliance.row_digests import plain
from expunge.compliance.rows import Event

GENESIS = "0" * 64
EXPORT_FORMAT = "expunge-chain/1"
HASHED = ("seq", "at", "kind", "request_id", "run_id", "payload", "previous_hash")

COLUMNS = tuple(event.c[name] for name in (*HASHED, "hash"))

# made once: to build a statement takes longer than to run it
_LAST = select(event.c.seq, event.c.at, event.c.hash).order_by(event.c.seq.desc()).limit(1)
_APPEND = insert(event)


class ChainCheck(NamedTuple):
    """Whether every event is as it was written; the first that is not; the hash of the last good one."""

    ok: bool
    first_bad_seq: int | None
    head_hash: str


class Head(NamedTuple):
    """The end of the chain."""

    seq: int
    hash: str


def event_hash(row: Mapping[Any, Any]) -> str:
    """Hex hash of an event row."""
    return hashlib.sha256(canonical_json({name: plain(row[name]) for name in HASHED})).hexdigest()


def head_of(connection: Connection) -> Head:
    """The last event's seq and hash; (0, 64 zeros) before the first."""
    row = connection.execute(_LAST).first()
    return Head(row.seq, row.hash) if row else Head(0, GENESIS)


class Entry(NamedTuple):
    """An event to be: its kind, its payload, and what it is about."""

    kind: str
    payload: Mapping[str, Any]
    request_id: str | None = None
    run_id: str | None = None


def append(
    connection: Connection,
    kind: str,
    payload: Mapping[str, Any],
    *,
    now: datetime,
    request_id: str | None = None,
    run_id: str | None = None,
) -> Event:
    """Append one event. The connection must hold the write lock.

    A clock that went backwards does not reorder the chain: the event takes its predecessor's time, and the payload
    says what the clock read.
    """
    return Event.from_row(append_all(connection, [Entry(kind, payload, request_id, run_id)], now=now)[0])


def append_all(connection: Connection, entries: Iterable[Entry], *, now: datetime) -> list[dict[str, Any]]:
    """Append events of one moment, in their order, as `append` does; returns their rows."""
    last = connection.execute(_LAST).first()
    seq, previous = (last.seq, last.hash) if last else (0, GENESIS)
    read = to_text(now)
    at = last.at if last is not None and read is not None and read < last.at else read
    rows = []
    for entry in entries:
        seq += 1
        content = dict(entry.payload) if at == read else {**entry.payload, "clock_read": read}
        row = {
            "seq": seq,
            "at": at,
            "kind": entry.kind,
            "request_id": entry.request_id,
            "run_id": entry.run_id,
            "payload": canonical_text(content),
            "previous_hash": previous,
        }
        row["hash"] = previous = event_hash(row)
        rows.append(row)
    if rows:
        connection.execute(_APPEND, rows)
    return rows


def export(rows: Iterable[Mapping[Any, Any]]) -> bytes:
    """Event rows in the order of seq as lines of canonical JSON, after a first line that says how many there are and
    how they end. The stand-alone verifier reads it in place of a ledger.
    """
    lines = [canonical_json({name: row[name] for name in (*HASHED, "hash")}) for row in rows]
    head = json.loads(lines[-1])["hash"] if lines else GENESIS
    first = canonical_json({"events": len(lines), "format": EXPORT_FORMAT, "head_hash": head})
    return b"".join(line + b"\n" for line in (first, *lines))


def check(rows: Iterable[Mapping[Any, Any]], after: Head = Head(0, GENESIS)) -> ChainCheck:
    """Walk event rows in the order of seq, from the one after `after` on. A missing event is reported under its own
    seq.
    """
    previous, expected = after.hash, after.seq + 1
    for row in rows:
        if row["seq"] != expected:
            return ChainCheck(False, expected, previous)
        if row["previous_hash"] != previous or row["hash"] != event_hash(row):
            return ChainCheck(False, expected, previous)
        previous, expected = row["hash"], expected + 1
    return ChainCheck(True, None, previous)
