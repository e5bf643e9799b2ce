"""Is every change to the ledger found, and named?

Every table, every column, by the stand-alone verifier and by the ledger itself; whoever changes the file has put its
triggers back, so that the rows alone must tell.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from whole_state import RUN, Whole, behind_its_back, make_state, open_ledger, rows_of

from expunge.compliance import models
from expunge.compliance.verify.command import describe_all
from expunge.errors import ExpungeError, IntegrityError, UsageError


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_state(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def whole(template: Path, tmp_path: Path) -> Whole:
    return Whole(Path(shutil.copytree(template, tmp_path / "state")))


def group_of(table: str, row: dict[str, Any]) -> str:
    """How a changed row is named."""
    return {
        "request": f"request/{row.get('id')}",
        "request_record": f"request/{row.get('request_id')}",
        "erased_record": f"erased/{row.get('request_id')}",
        "deletion_run": f"run/{row.get('id')}",
        "tombstone": f"tombstone/{row.get('id')}",
        "certificate": f"certificate/{row.get('request_id')}/{row.get('sha256')}",
        "meta": f"meta/{row.get('key')}",
        "event": f"event {row.get('seq')}",
    }[table]


def found_by_both(whole: Whole, name: str) -> None:
    """The stand-alone verifier and the ledger both refuse and name it."""
    done = whole.check()
    assert done.exit_code == 5 and not done.ledger.ok and name in describe_all(done), name
    try:
        with open_ledger(whole.state) as ledger:
            check = ledger.verify_chain()
            named = [f"event {check.first_bad_seq}"] if not check.ok else ledger.verify_rows()
    except IntegrityError as error:
        named = [str(error)]
    assert any(name in one for one in named), (name, named)


COLUMNS = [(table.name, column.name) for table in models.metadata.sorted_tables for column in table.columns]


def test_an_untouched_state_passes(whole: Whole) -> None:
    done = whole.check()
    assert done.exit_code == 0, describe_all(done)
    assert "VERIFIED: the ledger and 3 certificates" in describe_all(done)
    assert "interim certificate of event" in describe_all(done)
    with open_ledger(whole.state) as ledger:
        assert ledger.verify_chain().ok and ledger.verify_rows() == [] and ledger.missing_guards() == []


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[".".join(both) for both in COLUMNS])
def test_a_changed_value_of_any_column_is_named(whole: Whole, table: str, column: str) -> None:
    rows = rows_of(whole.ledger, table)
    row = rows[len(rows) // 2]
    other = row[column] + 1000 if isinstance(row[column], int) else f"{row[column] or ''}x"
    if table == "event" and column == "payload":
        other = json.dumps({**json.loads(row[column]), "added": 1}, separators=(",", ":"), sort_keys=True)
    with behind_its_back(whole.ledger) as connection:
        connection.execute(f'UPDATE "{table}" SET {column} = ? WHERE rowid = ?', (other, row["_row"]))
    found_by_both(whole, group_of(table, row))


@pytest.mark.parametrize("table", [table.name for table in models.metadata.sorted_tables])
@pytest.mark.parametrize("value", [b"\x00\xff", 1.5, float("inf")], ids=["bytes", "fraction", "infinity"])
def test_a_value_of_a_kind_that_the_ledger_never_stores_is_named(whole: Whole, table: str, value: Any) -> None:
    row, column = rows_of(whole.ledger, table)[-1], list(models.metadata.tables[table].columns)[-1].name
    with behind_its_back(whole.ledger) as connection:
        connection.execute(f'UPDATE "{table}" SET {column} = ? WHERE rowid = ?', (value, row["_row"]))
    found_by_both(whole, group_of(table, row))


@pytest.mark.parametrize("table", [table.name for table in models.metadata.sorted_tables if table.name != "event"])
def test_a_removed_and_an_added_row_of_any_table_are_named(whole: Whole, table: str) -> None:
    rows = rows_of(whole.ledger, table)
    keys = [column.name for column in models.metadata.tables[table].primary_key.columns]
    columns = [name for name in rows[0] if name != "_row"]
    added = {name: rows[0][name] for name in columns} | {keys[-1]: "f" * 64}
    before = whole.ledger.read_bytes()
    with behind_its_back(whole.ledger) as connection:
        marks = ", ".join("?" * len(columns))
        connection.execute(f'INSERT INTO "{table}" ({", ".join(columns)}) VALUES ({marks})', list(added.values()))
    found_by_both(whole, group_of(table, added))
    for row in rows:
        whole.ledger.write_bytes(before)
        with behind_its_back(whole.ledger) as connection:
            connection.execute(f'DELETE FROM "{table}" WHERE rowid = ?', (row["_row"],))
        found_by_both(whole, group_of(table, row))


def test_removed_added_and_exchanged_events_are_named(whole: Whole) -> None:
    events = rows_of(whole.ledger, "event")
    before = whole.ledger.read_bytes()
    for row in events[:-1]:
        whole.ledger.write_bytes(before)
        with behind_its_back(whole.ledger) as connection:
            connection.execute("DELETE FROM event WHERE seq = ?", (row["seq"],))
        found_by_both(whole, f"event {row['seq']}")
    whole.ledger.write_bytes(before)
    with behind_its_back(whole.ledger) as connection:
        connection.execute("UPDATE event SET seq = -1 WHERE seq = 4")
        connection.execute("UPDATE event SET seq = 4 WHERE seq = 5")
        connection.execute("UPDATE event SET seq = 5 WHERE seq = -1")
    found_by_both(whole, "event 4")
    for seq in (0, len(events) + 1):
        whole.ledger.write_bytes(before)
        with behind_its_back(whole.ledger) as connection:
            connection.execute("INSERT INTO event SELECT ?, at, kind, NULL, NULL, '{}', hash, 'x' FROM event"
                               " WHERE seq = 1", (seq,))  # fmt: skip
        found_by_both(whole, f"event {max(seq, 1)}")
    # the last one alone: the rows know more than the events
    whole.ledger.write_bytes(before)
    with behind_its_back(whole.ledger) as connection:
        connection.execute("DELETE FROM event WHERE seq = ?", (len(events),))
    found_by_both(whole, f"run/{RUN}")


def test_triggers_that_are_gone_are_named(whole: Whole) -> None:
    with closing(sqlite3.connect(whole.ledger)) as connection:
        connection.execute("DROP TRIGGER event_no_delete")
    assert "event_no_delete" in whole.words() and whole.check().exit_code == 5
    with open_ledger(whole.state) as ledger:
        assert ledger.missing_guards() == ["event_no_delete"]


@pytest.mark.parametrize("change", ["SET version_num = '0000'", "SET version_num = '9999'", None])
def test_a_changed_age_of_the_tables_is_refused_by_name(whole: Whole, change: str | None) -> None:
    with closing(sqlite3.connect(whole.ledger)) as connection:
        connection.execute(f"UPDATE alembic_version {change}" if change else "DELETE FROM alembic_version")
        connection.commit()
    newer = change is not None and "9999" in change
    with pytest.raises(UsageError if newer else IntegrityError, match="newer Expunge" if newer else "alembic_version"):
        open_ledger(whole.state)


def test_text_that_is_none_is_named(whole: Whole) -> None:
    with behind_its_back(whole.ledger) as connection:
        connection.execute("UPDATE request SET details = CAST(x'7bff7d' AS TEXT) WHERE id = 'q1'")
    assert whole.check().exit_code == 5 and str(whole.ledger) in whole.words()
    with open_ledger(whole.state) as ledger, pytest.raises(ExpungeError, match="details") as refused:
        ledger.verify_rows()
    assert refused.value.exit_code == 5
