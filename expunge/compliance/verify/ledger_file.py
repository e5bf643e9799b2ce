"""Is the ledger's event chain whole, do its rows match its events, and does it know the certificate? A SQLite file,
read only.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .canonical import canonical_json

GENESIS = "0" * 64
HASHED = ("seq", "at", "kind", "request_id", "run_id", "payload", "previous_hash")

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
class LedgerFacts:
    """What a ledger file shows.

    `hashes` is every event's hash by seq; `issued` the digests of certificates on record.
    """

    events: int
    first_bad_seq: int | None
    changed_rows: tuple[str, ...]
    hashes: dict[int, str]
    issued: dict[str, dict[str, Any]]


def read_ledger(path: Path) -> LedgerFacts:
    """Facts of a ledger file. Raises sqlite3.Error if it is no ledger, ValueError if an event's payload is no JSON."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=60)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")  # one state of the ledger for everything below
        previous, expected, first_bad = GENESIS, 1, None
        hashes: dict[int, str] = {}
        issued: dict[str, dict[str, Any]] = {}
        recorded: dict[str, str] = {}
        for row in connection.execute("SELECT * FROM event ORDER BY seq"):
            if row["seq"] != expected or row["previous_hash"] != previous or row["hash"] != _event_hash(row):
                first_bad = expected
                break
            payload = json.loads(row["payload"])
            recorded.update(payload.get("rows", {}))
            if row["kind"] == "certificate.issued":
                issued[payload["sha256"]] = {"seq": row["seq"], "request_id": row["request_id"]}
            hashes[row["seq"]] = previous = row["hash"]
            expected += 1
        changed = _changed(connection, recorded) if first_bad is None else ()
        return LedgerFacts(len(hashes), first_bad, changed, hashes, issued)


def _event_hash(row: sqlite3.Row) -> str:
    return hashlib.sha256(canonical_json({name: row[name] for name in HASHED})).hexdigest()


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
        for row in sorted(rows, key=lambda row: tuple(row[name] for name in order)):
            name = "/".join([group, *(row[column] for column in columns)])
            kept = {column: value for column, value in row.items() if value is not None}
            groups.setdefault(name, {}).setdefault(table, []).append(kept)
    yield from groups.items()
