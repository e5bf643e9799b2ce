"""What do the rows behind an event amount to? Digests of groups of rows, so that a row changed behind the ledger's
back is found.

A group is named in an event's payload, under `rows`:
`request/<id>` (the request and its records), `erased/<request id>` (its part of the replay guard), `run/<id>`,
`tombstone/<id>`, `certificate/<request id>/<sha256>`, `meta/<key>`. Its digest is the SHA-256 of the canonical JSON
of `{table: [row, ...]}`, rows as stored, sorted by primary key, columns that are null left out (so that a column
added later changes no old digest). A group without rows has the digest of `{}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, select

from expunge.compliance.canonical import sha256_of
from expunge.compliance.models import (
    certificate,
    deletion_run,
    erased_record,
    meta,
    request,
    request_record,
    tombstone,
)

GROUPS: tuple[tuple[str, Table, tuple[str, ...]], ...] = (
    ("request", request, ("id",)),
    ("request", request_record, ("request_id",)),
    ("erased", erased_record, ("request_id",)),
    ("run", deletion_run, ("id",)),
    ("tombstone", tombstone, ("id",)),
    ("certificate", certificate, ("request_id", "sha256")),
    ("meta", meta, ("key",)),
)
"""Name of the group, its table, the columns that make its key."""

# made once: to build a statement takes longer than to run it
_ONE_GROUP = {
    table.name: select(table).where(*(table.c[column] == bindparam(f"key_{column}") for column in columns))
    for _, table, columns in GROUPS
}


def digests(connection: Connection, keys: Iterable[str]) -> dict[str, str]:
    """Digest of each named group as it is now."""
    return {key: _digest(_group_rows(connection, key)) for key in sorted(set(keys))}


def digest_of_rows(tables: Mapping[Table, Iterable[Mapping[str, Any]]]) -> str:
    """Digest of a group whose rows are at hand, as they are stored: what `digests` would find."""
    return _digest({table.name: _ordered(table, rows) for table, rows in tables.items()})


def changed_rows(connection: Connection, events: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of the groups that are not as the last event that mentions them left them, or that no event mentions.

    `events` are decoded payloads in the order of seq.
    """
    recorded: dict[str, str] = {}
    for payload in events:
        recorded.update(payload.get("rows", {}))
    found = {key: _digest(tables) for key, tables in _all_groups(connection)}
    empty = _digest({})
    names = recorded.keys() | found.keys()
    return sorted(key for key in names if recorded.get(key, empty) != found.get(key, empty))


def _digest(tables: Mapping[str, list[dict[str, Any]]]) -> str:
    return sha256_of({name: rows for name, rows in tables.items() if rows})


def _rows(
    connection: Connection, table: Table, query: Select[Any], named: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    return _ordered(table, connection.execute(query, named).mappings())


def _ordered(table: Table, rows: Iterable[Mapping[Any, Any]]) -> list[dict[str, Any]]:
    kept = [{name: plain(value) for name, value in row.items() if value is not None} for row in rows]
    # sorted here by code point: the order of a database depends on its collation
    return sorted(kept, key=lambda row: tuple(str(row[column.name]) for column in table.primary_key.columns))


def plain(value: Any) -> Any:
    """A stored value as JSON. The ledger stores text and integers alone; anything else was put there by hand."""
    return value if value is None or isinstance(value, (str, int)) else {type(value).__name__: repr(value)}


def _group_rows(connection: Connection, key: str) -> dict[str, list[dict[str, Any]]]:
    group, _, rest = key.partition("/")
    found: dict[str, list[dict[str, Any]]] = {}
    for name, table, columns in GROUPS:
        if name != group:
            continue
        values = rest.split("/", len(columns) - 1)
        named = {f"key_{column}": value for column, value in zip(columns, values, strict=True)}
        found[table.name] = _rows(connection, table, _ONE_GROUP[table.name], named)
    return found


def _all_groups(connection: Connection) -> Iterator[tuple[str, dict[str, list[dict[str, Any]]]]]:
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, table, columns in GROUPS:
        for row in _rows(connection, table, select(table)):
            key = "/".join([name, *(str(row[column]) for column in columns)])
            groups.setdefault(key, {}).setdefault(table.name, []).append(row)
    yield from groups.items()
