"""The replay guard: no training sees a quarantined or erased record, and the ledger never names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import START, behind

from expunge.compliance.ledger import Ledger
from expunge.compliance.lifecycle import IllegalMove
from expunge.compliance.models import metadata
from expunge.compliance.pseudonym import Pseudonymizer

RUN = ("planned", "unlearning", "verified", "promoted", "purged")


def test_the_guard_names_the_records_of_a_table_that_no_training_may_see(
    ledger: Ledger, add: Callable[..., Any]
) -> None:
    table = [f"r{number}" for number in range(1000)]
    assert ledger.quarantined_among(table) == frozenset()
    add("q1", "r1", "r2")
    assert ledger.quarantined_among(table) == frozenset()  # received, not yet accepted
    ledger.admit("q1")
    assert ledger.quarantined_among(table) == {"r1", "r2"} and ledger.is_quarantined("r1")
    assert ledger.quarantined_among(["other"]) == frozenset()
    for status in RUN:
        ledger.move("q1", status, "run-1")
    ledger.mark_erased("q1")
    ledger.move("q1", "closed", "run-1")
    assert ledger.quarantined_among(iter(table)) == {"r1", "r2"}  # for ever: a restored backup is refused
    guard = ledger.audit_record("r1")["guard"][0]
    assert guard["erased_at"] == START.isoformat() and guard["request_id"] == "q1"


def test_another_key_matches_nothing(ledger: Ledger, add: Callable[..., Any], where: str | Path) -> None:
    add("q1", "r1")
    ledger.admit("q1")
    with Ledger.open(where, Pseudonymizer(bytes(32))) as stranger:
        assert not stranger.is_quarantined("r1")
    with Ledger.open(where, Pseudonymizer(bytes(32), [bytes(range(32))])) as rotated:
        assert rotated.quarantined_among(["r1", "r2"]) == {"r1"}


def test_a_record_is_let_go_only_when_no_request_holds_it(ledger: Ledger, add: Callable[..., Any]) -> None:
    add("q1", "r1", "r2")
    add("q2", "r2", "r3")
    ledger.admit("q1")
    ledger.admit("q2")
    ledger.cancel("q1")
    assert ledger.quarantined_among(["r1", "r2", "r3"]) == {"r2", "r3"}
    ledger.cancel("q2")
    assert ledger.quarantined_among(["r1", "r2", "r3"]) == frozenset()
    assert ledger.verify_rows() == []


def test_the_epoch_changes_with_every_change_of_the_guard_and_with_nothing_else(
    ledger: Ledger, add: Callable[..., Any]
) -> None:
    seen = [ledger.epoch()]

    def changed() -> bool:
        seen.append(ledger.epoch())
        return seen[-1] not in seen[:-1]

    add("q1", "r1")
    assert not changed()
    ledger.admit("q1")
    assert changed()
    ledger.admit("q1")
    assert not changed()
    ledger.cancel("q1")
    assert changed()
    add("q2", "r1")
    ledger.admit("q2")
    assert changed()
    ledger.mark_erased("q2")
    assert changed()
    ledger.mark_erased("q2")
    assert not changed()
    assert ledger.advance_epoch("reset") == ledger.epoch() and changed()
    assert ledger.events()[-1].kind == "epoch.advanced" and ledger.verify_rows() == []


def test_only_records_in_quarantine_can_be_erased(ledger: Ledger, add: Callable[..., Any]) -> None:
    add("q1", "r1")
    with pytest.raises(IllegalMove, match="not in quarantine"):
        ledger.mark_erased("q1")


def test_no_id_and_no_identity_ever_stands_in_clear_in_the_ledger(
    ledger: Ledger, add: Callable[..., Any], where: str | Path, tmp_path: Path
) -> None:
    record, person = "record-zebra-4711", "zebra@example.org"
    add("q1", record, "record-lion-1", subject_identity=person, details={"kind": "person"})
    add("q2", record, subject_identity=person)
    ledger.admit("q1")
    ledger.add_run("run-1", details={"requests": ["q1"]})
    for status in RUN:
        ledger.move("q1", status, "run-1")
    ledger.mark_erased("q1", "run-1")
    ledger.move("q1", "closed", "run-1")
    ledger.audit_record(record)
    ledger.export_chain(tmp_path / "chain.jsonl")
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    with behind(where) as connection:
        rows = [connection.execute(table.select()).all() for table in metadata.tables.values()]
    content += repr(rows).encode()
    for secret in (record, person, "zebra", "record-lion"):
        assert secret.encode() not in content and secret.encode("utf-16-le") not in content
    assert ledger.pseudonymizer.record(record).encode() in content
