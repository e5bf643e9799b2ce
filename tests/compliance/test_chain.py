"""Changing the past shows: in the ledger, and in an export of its chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import ON_POSTGRESQL, START, Case, Clock, behind
from hypothesis import given, settings
from hypothesis import strategies as st
from postgresql_server import Server
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from expunge.compliance import chain
from expunge.compliance.canonical import canonical_text
from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import Pseudonymizer
from expunge.compliance.verify import verify_certificate
from expunge.errors import IntegrityError, UsageError

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
PAYLOADS = st.lists(st.dictionaries(TEXTS, TEXTS | st.integers(), max_size=3), min_size=1, max_size=6)


def rows_of(payloads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for seq, payload in enumerate(payloads, 1):
        row = {
            "seq": seq,
            "at": START.isoformat(),
            "kind": "k",
            "request_id": None,
            "run_id": "run-1",
            "payload": canonical_text(payload),
            "previous_hash": rows[-1]["hash"] if rows else chain.GENESIS,
        }
        rows.append({**row, "hash": chain.event_hash(row)})
    return rows


@given(PAYLOADS, st.data())
@settings(max_examples=80, deadline=None)
def test_any_change_to_any_event_is_found_at_its_seq(payloads: list[dict[str, Any]], data: st.DataObject) -> None:
    rows = rows_of(payloads)
    assert chain.check(rows) == (True, None, rows[-1]["hash"])
    index = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from([*chain.HASHED, "hash"]))
    changed = [dict(row) for row in rows]
    changed[index][name] = 99 if name == "seq" else "other"
    found = chain.check(changed)
    assert not found.ok and found.first_bad_seq == index + 1
    assert found.head_hash == (rows[index - 1]["hash"] if index else chain.GENESIS)
    if index < len(rows) - 1:  # a missing event in the middle, two events in another order
        assert chain.check(rows[:index] + rows[index + 1 :]).first_bad_seq == index + 1
        assert not chain.check([*rows[:index], rows[index + 1], rows[index], *rows[index + 2 :]]).ok


def test_the_ledger_lets_nobody_change_an_event(ledger: Ledger, where: str | Path) -> None:
    ledger.append_event("approval", {"by": "dpo", "of": "run-1"}, run_id="run-1")
    assert ledger.events(run_id="run-1")[0].payload == {"by": "dpo", "of": "run-1"}
    own = "INSERT OR REPLACE INTO event SELECT * FROM event" if isinstance(where, Path) else "TRUNCATE event"
    for statement in ("UPDATE event SET kind = 'x'", "DELETE FROM event", own):
        with pytest.raises(DatabaseError, match="append-only"), behind(where) as connection:
            connection.execute(text(statement))
    assert ledger.verify_chain() == (True, None, ledger.head().hash)


@ON_POSTGRESQL
def test_without_its_triggers_a_changed_event_shows_on_postgresql(
    postgresql: Server, pseudonymizer: Pseudonymizer
) -> None:
    where = postgresql.new_database()
    with Ledger.open(where, pseudonymizer) as ledger:
        for number in range(3):
            ledger.append_event("note", {"n": number})
        with behind(where) as connection:  # whoever owns the database can do this; that is what the chain is for
            connection.execute(text("ALTER TABLE event DISABLE TRIGGER event_no_change"))
            connection.execute(text("UPDATE event SET kind = 'x' WHERE seq = 3"))
        assert (ledger.verify_chain().ok, ledger.verify_chain().first_bad_seq) == (False, 3)


def test_a_clock_that_goes_backwards_does_not_reorder_the_chain(ledger: Ledger, clock: Clock) -> None:
    first = ledger.append_event("note", {"n": 1})
    clock.forward(days=-1)
    second = ledger.append_event("note", {"n": 2})
    assert second.at == first.at and second.payload["clock_read"].startswith("2026-03-01")
    with pytest.raises(UsageError, match="rows"):
        ledger.append_event("note", {"rows": {}})


def test_rows_changed_behind_the_ledger_are_named(ledger: Ledger, where: str | Path) -> None:
    ledger.add_request("q1", None, ["r1"], "gdpr", START)
    assert ledger.verify_rows() == []
    with behind(where) as connection:
        connection.execute(text("UPDATE request SET due_at = '2099-01-01'"))
    assert ledger.verify_rows() == ["request/q1"] and ledger.verify_chain().ok


def export(case: Case) -> Path:
    path = case.state / "audit" / "chain.jsonl"
    with Ledger.open(case.ledger, Pseudonymizer(bytes(32))) as ledger:
        ledger.export_chain(path)
    return path


def test_an_export_of_the_chain_stands_in_for_the_ledger(case: Case) -> None:
    path = export(case)
    result = verify_certificate(case.certificate, ledger=path)
    assert result.ok and any("holds the events alone" in sentence for sentence in result.does_not_prove)
    assert export(case).read_bytes() == path.read_bytes()


def test_every_changed_byte_of_an_export_is_found(case: Case) -> None:
    path = export(case)
    content = path.read_bytes()
    for index in range(0, len(content), 3):
        changed = bytearray(content)
        changed[index] ^= (0x01, 0x20, 0x80)[index % 9 // 3]
        path.write_bytes(changed)
        result = verify_certificate(case.certificate, ledger=path)
        failed = [check.words for check in result.checks if check.status == "failed"]
        assert result.exit_code == 5 and str(path) in failed[0], index
    lines = content.splitlines(keepends=True)
    for changed_lines in (lines[:-1], lines[1:], [*lines, lines[-1]], lines[:1], [lines[0], *lines[2:]]):
        path.write_bytes(b"".join(changed_lines))
        assert verify_certificate(case.certificate, ledger=path).exit_code == 5
    path.write_bytes(b"")
    assert verify_certificate(case.certificate, ledger=path).exit_code == 5


def test_a_damaged_ledger_has_a_name(case: Case) -> None:
    content = bytearray(case.ledger.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    case.ledger.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"ledger\.db is damaged"):
        Ledger.open(case.ledger, Pseudonymizer(bytes(32)))
