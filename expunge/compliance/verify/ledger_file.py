"""Is the ledger's event chain whole, do its rows match its events, and does it know the certificate? A SQLite file,
read only, or an export of the chain alone (lines of canonical JSON).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .canonical import Malformed, canonical_json, read_canonical

GENESIS = "0" * 64
EXPORT_FORMAT = "expunge-chain/1"
HASHED = ("seq", "at", "kind", "request_id", "run_id", "payload", "previous_hash")

# what the program's first migration puts on the events
GUARDS = ("event_no_delete", "event_no_replace", "event_no_update")

# group of rows, its table, the columns that name the group, the primary key that orders its rows
GROUPS = (
    ("request", "request", ("id",), ("id",)),
    ("request", "request_record", ("request_id",), ("request_id", "record_pseudonym")),
    ("erased", "erased_record", ("request_id",), ("record_pseudonym",)),
    ("run", "deletion_run", ("id",), ("id",)),
    ("tombstone", "tombstone", ("id",), ("id",)),
    ("certificate", "certificate", ("request_id", "sha256"), ("request_id", "sha256")),
    ("meta", "meta", ("key",), ("key",)),
)


@dataclass(frozen=True)
class Issued:
    """That a certificate was issued: by which event, for which request, at which path below the state folder."""

    seq: int
    request_id: str
    path: str
    interim: bool


@dataclass(frozen=True)
class LedgerFacts:
    """What a ledger file shows.

    `hashes` is every event's hash by seq; `issued` the certificates on record by their digest, `latest` the event of
    each request's last one. `destroyed`: when, by content hash of what the tombstones say was destroyed.
    `missing_guards`: triggers that are gone. `rows_checked` is false for an export of the chain, which holds the events
    alone.
    """

    events: int
    first_bad_seq: int | None
    changed_rows: tuple[str, ...]
    hashes: dict[int, str]
    issued: dict[str, Issued]
    latest: dict[str, int]
    rows_checked: bool
    destroyed: dict[str, str] = field(default_factory=dict)
    missing_guards: tuple[str, ...] = ()
    ledger_id: str = ""


def read_ledger(path: Path) -> LedgerFacts:
    """Facts of a ledger (SQLite) or of an export of its chain.

    Raises sqlite3.Error or ValueError if it is neither, OSError if it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(1) == b"{":  # SQLite files start with "SQLite format 3"
            file.seek(0)
            return _read_export(file.read())
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")  # one state of the ledger for everything below
        facts, recorded = _walk(dict(row) for row in connection.execute("SELECT * FROM event ORDER BY seq"))
        changed = _changed(connection, recorded) if facts.first_bad_seq is None else ()
        return replace(facts, changed_rows=changed, rows_checked=True, **_more(connection))


def _more(connection: sqlite3.Connection) -> dict[str, Any]:
    gone = connection.execute(
        "SELECT content_hash, destroyed_at FROM tombstone WHERE status = 'destroyed' AND content_hash IS NOT NULL"
    )
    triggers = {row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}
    own_id = connection.execute("SELECT value FROM meta WHERE key = 'ledger_id'").fetchone()
    return {
        "destroyed": {str(row["content_hash"]): str(row["destroyed_at"]) for row in gone},
        "missing_guards": tuple(name for name in GUARDS if name not in triggers),
        "ledger_id": str(own_id["value"]) if own_id else "",
    }


def _read_export(content: bytes) -> LedgerFacts:
    if not content.endswith(b"\n"):
        raise Malformed("its last byte is not the newline that ends an export")
    first, *rows = (read_canonical(line) for line in content[:-1].split(b"\n"))
    facts, _ = _walk(rows)
    end = {"events": facts.events, "format": EXPORT_FORMAT, "head_hash": facts.hashes.get(facts.events, GENESIS)}
    if facts.first_bad_seq is None and canonical_json(first) != canonical_json(end):
        raise Malformed("its first line does not match its events")
    return facts


def _walk(rows: Iterable[dict[str, Any]]) -> tuple[LedgerFacts, dict[str, str]]:
    """Facts of the events, and the last digest that they record of each group of rows."""
    previous, expected, first_bad = GENESIS, 1, None
    hashes: dict[int, str] = {}
    issued: dict[str, Issued] = {}
    recorded: dict[str, str] = {}
    for row in rows:
        if row["seq"] != expected or row["previous_hash"] != previous or row["hash"] != _event_hash(row):
            first_bad = expected
            break
        payload = json.loads(row["payload"])
        recorded.update(payload.get("rows", {}))
        if row["kind"] == "certificate.issued":
            issued[payload["sha256"]] = Issued(
                row["seq"], row["request_id"], str(payload.get("path", "")), bool(payload.get("interim"))
            )
        hashes[expected] = previous = row["hash"]
        expected += 1
    latest = {one.request_id: one.seq for one in issued.values()}
    return LedgerFacts(len(hashes), first_bad, (), hashes, issued, latest, rows_checked=False), recorded


def _event_hash(row: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json({name: _plain(row[name]) for name in HASHED})).hexdigest()


def _plain(value: Any) -> Any:
    """A stored value as JSON. The program stores text and integers alone; anything else was put there by hand."""
    return value if value is None or isinstance(value, (str, int)) else {type(value).__name__: repr(value)}


def _changed(connection: sqlite3.Connection, recorded: dict[str, str]) -> tuple[str, ...]:
    found = {name: _digest(tables) for name, tables in _groups(connection)}
    empty = _digest({})
    return tuple(
        sorted(name for name in recorded.keys() | found.keys() if recorded.get(name, empty) != found.get(name, empty))
    )


def _digest(tables: dict[str, list[dict[str, Any]]]) -> str:
    return hashlib.sha256(canonical_json(tables)).hexdigest()


def _groups(connection: sqlite3.Connection) -> Iterator[tuple[str, dict[str, list[dict[str, Any]]]]]:
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for group, table, columns, order in GROUPS:
        rows = [dict(row) for row in connection.execute(f'SELECT * FROM "{table}"')]
        for row in sorted(rows, key=lambda row: tuple(str(row[name]) for name in order)):
            name = "/".join([group, *(str(row[column]) for column in columns)])
            kept = {column: _plain(value) for column, value in row.items() if value is not None}
            groups.setdefault(name, {}).setdefault(table, []).append(kept)
    yield from groups.items()
