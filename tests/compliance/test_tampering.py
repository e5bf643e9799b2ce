"""Is every change to the ledger, the certificates, the model, the report and the keys found, and named?

Every table, every column, by the stand-alone verifier and by the ledger itself; whoever changes the file has put its
triggers back, so that the rows alone must tell.
"""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import START, predicate_for, sha256

from expunge.compliance import chain, models
from expunge.compliance.anchor import append_anchor, head_line
from expunge.compliance.certificate import (
    build_statement,
    load_or_create_signing_key,
    rotate_signing_key,
    sign,
    write_certificate,
)
from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import load_or_create_key
from expunge.compliance.verify import Everything, verify_everything
from expunge.compliance.verify.command import describe_all, main
from expunge.errors import ExpungeError, IntegrityError, UsageError

MODEL, REPORT = b"model bytes", b"<html>report</html>"
RUN = "run-1"


@dataclass(frozen=True)
class Whole:
    """A state folder with requests in many states, an interim certificate that a final one replaced, tombstones."""

    state: Path

    @property
    def ledger(self) -> Path:
        return self.state / "ledger.db"

    def certificate(self, request_id: str) -> Path:
        return self.state / "certificates" / f"{request_id}.certificate.json"

    def check(self, anchor: Path | None = None) -> Everything:
        return verify_everything(self.state, anchor=anchor)

    def words(self, anchor: Path | None = None) -> str:
        return describe_all(self.check(anchor))


def open_ledger(state: Path) -> Ledger:
    return Ledger.open(state / "ledger.db", load_or_create_key(state / "keys" / "pseudonym.key"), clock=lambda: START)


def certify(ledger: Ledger, state: Path, request_id: str, interim: bool = False) -> None:
    predicate = predicate_for(ledger, request_id, MODEL, REPORT, interim=interim)
    statement = build_statement([{"name": "model", "digest": {"sha256": sha256(MODEL)}}], predicate)
    path = f"certificates/{request_id}.certificate.json"
    key = load_or_create_signing_key(state / "keys" / "certificate.pem")
    ledger.add_certificate(request_id, path, write_certificate(state / path, sign(statement, key)), RUN, interim)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("whole") / "state"
    for name, content in (("models/model.safetensors", MODEL), ("reports/q1.html", REPORT)):
        (state / name).parent.mkdir(parents=True)
        (state / name).write_bytes(content)
    with open_ledger(state) as ledger:
        for request_id, records in (("q1", ["r1", "r2"]), ("q2", ["r3"]), ("q3", ["r4"]), ("q4", ["r5"])):
            ledger.add_request(request_id, f"{request_id}@example.org", records, "gdpr", START)
        ledger.add_request("again", "q4@example.org", ["r5"], "gdpr", START)
        ledger.refuse("q3", "e")
        ledger.extend("q2", "many requests", START + timedelta(days=3))
        for request_id in ("q1", "q2", "q4"):
            ledger.admit(request_id)
        ledger.add_run(RUN, model_version_before="model 1", details={"requests": ["q1", "q2"]})
        for status in ("planned", "unlearning", "verified", "promoted", "purged"):
            for request_id in ("q1", "q2"):
                ledger.move(request_id, status, RUN)
        ledger.add_tombstones(
            [
                {"kind": "model", "name": "1", "status": "destroyed", "method": "unlink", "content_hash": "a" * 64},
                {"kind": "plan", "name": "2", "status": "kept", "reason": "numbers", "run_id": RUN},
            ]
        )
        for request_id in ("q1", "q2"):
            ledger.mark_erased(request_id, RUN)
        certify(ledger, state, "q2", interim=True)
        for request_id in ("q1", "q2"):
            certify(ledger, state, request_id)
            ledger.move(request_id, "closed", RUN)
        ledger.update_run(RUN, status="closed", finished_at=START, stop_reason="done", fallback_reason="none")
    return state


@pytest.fixture
def whole(template: Path, tmp_path: Path) -> Whole:
    return Whole(Path(shutil.copytree(template, tmp_path / "state")))


@contextmanager
def behind_its_back(ledger: Path) -> Iterator[sqlite3.Connection]:
    """A connection that no trigger and no constraint stops; the triggers are there again afterwards."""
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, create in triggers:
            connection.execute(create)
        connection.commit()


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


def rows_of(ledger: Path, table: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(ledger)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f'SELECT rowid AS _row, * FROM "{table}" ORDER BY rowid')]


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


def rewritten(ledger: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """A forger's work: events changed, and the whole chain hashed anew, rows and events in accord."""
    events, previous = rows_of(ledger, "event"), chain.GENESIS
    with behind_its_back(ledger) as connection:
        connection.execute("DELETE FROM event")
        for row in events:
            row.pop("_row")
            change(row)
            row["previous_hash"] = previous
            row["hash"] = previous = chain.event_hash(row)
            connection.execute(f"INSERT INTO event VALUES ({', '.join('?' * len(row))})", list(row.values()))


def test_a_chain_that_was_written_anew_is_found_by_any_certificate(whole: Whole) -> None:
    def earlier(row: dict[str, Any]) -> None:
        row["at"] = row["at"].replace("2026", "2025") if row["seq"] == 3 else row["at"]

    rewritten(whole.ledger, earlier)
    with open_ledger(whole.state) as ledger:
        assert ledger.verify_chain().ok and ledger.verify_rows() == [], "in itself the forgery holds"
    done = whole.check()
    assert done.exit_code == 5 and done.ledger.ok
    assert "q1.certificate.json builds on, is not in the chain" in describe_all(done)


def test_the_same_without_certificates_is_found_by_a_head_kept_elsewhere(whole: Whole, tmp_path: Path) -> None:
    anchor = anchored(whole, tmp_path)
    shutil.rmtree(whole.state / "certificates")
    with behind_its_back(whole.ledger) as connection:
        connection.execute("DELETE FROM certificate")

    def no_certificate(row: dict[str, Any]) -> None:
        payload = json.loads(row["payload"])
        if row["kind"] == "certificate.issued":
            row["kind"], payload = "scan", {}
        row["payload"] = json.dumps(payload, separators=(",", ":"), sort_keys=True)

    rewritten(whole.ledger, no_certificate)
    assert whole.check().exit_code == 0, "a forger who leaves nothing to compare with is not seen"
    assert "history was rewritten" in whole.words(anchor) and whole.check(anchor).exit_code == 5


def anchored(whole: Whole, folder: Path) -> Path:
    anchor = folder / "elsewhere.jsonl"
    with open_ledger(whole.state) as ledger:
        append_anchor(anchor, head_line(ledger, whole.state / "keys" / "certificate.pub.pem", START))
    return anchor


def test_an_end_that_was_cut_off_with_its_rows_is_found_by_a_head_kept_elsewhere(whole: Whole, tmp_path: Path) -> None:
    """An older copy put in the place of the ledger: whole in itself, and a request is gone."""
    older = whole.ledger.read_bytes()
    with open_ledger(whole.state) as ledger:
        ledger.add_request("late", "eve", ["r9"], "gdpr", START)
    anchor = anchored(whole, tmp_path)
    assert whole.check(anchor).exit_code == 0
    whole.ledger.write_bytes(older)
    assert whole.check().exit_code == 0 and "nothing was cut off" in " ".join(
        sentence for one in whole.check().certificates for sentence in one.does_not_prove
    )
    assert whole.check(anchor).exit_code == 5 and "its end was cut off" in whole.words(anchor)
    with open_ledger(whole.state) as ledger:  # and grown again, to the same length
        ledger.add_request("other", "joe", ["r8"], "gdpr", START)
    assert "history was rewritten" in whole.words(anchor)


def test_an_older_copy_of_before_a_certificate_is_found(template: Path, whole: Whole, tmp_path: Path) -> None:
    older = whole.ledger.read_bytes()
    with open_ledger(whole.state) as ledger:
        ledger.move("q4", "planned", "run-2")
        for status in ("unlearning", "verified", "promoted", "purged"):
            ledger.move("q4", status, "run-2")
        certify(ledger, whole.state, "q4")
    assert whole.check().exit_code == 0
    whole.ledger.write_bytes(older)
    assert "q4.certificate.json is not on record" in whole.words() and whole.check().exit_code == 5


def test_an_anchor_of_another_ledger_or_of_nothing_is_refused(whole: Whole, tmp_path: Path) -> None:
    anchor = anchored(whole, tmp_path)
    line = json.loads(anchor.read_bytes())
    for change, named in (
        ({"ledger_id": "another"}, "another ledger"),
        ({"key_id": "a" * 64}, "was replaced"),
        ({"seq": "1"}, "holds no ledger heads"),
    ):
        anchor.write_text(json.dumps({**line, **change}, separators=(",", ":"), sort_keys=True) + "\n")
        assert whole.check(anchor).exit_code == 5 and named in whole.words(anchor)
    anchor.write_bytes(b"")
    assert "it is empty" in whole.words(anchor)
    assert whole.check(tmp_path / "none").exit_code == 3


def test_an_export_of_the_chain_serves_as_an_anchor_and_in_place_of_the_ledger(whole: Whole, tmp_path: Path) -> None:
    export = tmp_path / "chain.jsonl"
    with open_ledger(whole.state) as ledger:
        ledger.export_chain(export)
        ledger.add_request("late", "eve", ["r9"], "gdpr", START)
    assert whole.check(export).exit_code == 0
    done = verify_everything(whole.state, ledger=export)
    assert done.exit_code == 0 and "an export, without rows" in describe_all(done)
    with behind_its_back(whole.ledger) as connection:
        connection.execute("DELETE FROM event WHERE seq >= 5")
    assert whole.check(export).exit_code == 5


def flipped(path: Path, index: int) -> None:
    content = bytearray(path.read_bytes())
    content[index] ^= 1
    path.write_bytes(content)


def test_a_changed_file_of_any_kind_is_named(whole: Whole) -> None:
    """Certificates, model, report, public key: a byte in many places, the whole file gone, another in its place."""
    files = [whole.certificate("q1"), whole.certificate("q2"), *(whole.state / n for n in (
        "models/model.safetensors", "reports/q1.html", "keys/certificate.pub.pem"))]  # fmt: skip
    for path in files:
        before = path.read_bytes()
        for index in range(0, len(before), max(1, len(before) // 40)):
            flipped(path, index)
            done = whole.check()
            assert done.exit_code == 5 and str(path) in describe_all(done), (path, index)
            path.write_bytes(before)
        for more in (b"\n", b" "):
            path.write_bytes(before + more)
            assert whole.check().exit_code == 5 and str(path) in whole.words(), (path, more)
        path.unlink()
        done = whole.check()
        assert done.exit_code in ((3,) if path.suffix == ".pem" else (5,)) and str(path) in describe_all(done), path
        path.write_bytes(before)
    assert whole.check().exit_code == 0


def test_certificates_that_take_one_anothers_place_are_named(whole: Whole) -> None:
    first, second = (whole.certificate(name).read_bytes() for name in ("q1", "q2"))
    whole.certificate("q1").write_bytes(second)
    assert "another one stands in its place" in whole.words() and whole.check().exit_code == 5
    whole.certificate("q1").write_bytes(first)
    whole.certificate("stranger").write_bytes(first)
    assert "stranger.certificate.json is not on record" in whole.words() and whole.check().exit_code == 5


def test_an_interim_certificate_put_back_in_the_place_of_the_final_one_is_named(template: Path, whole: Whole) -> None:
    with open_ledger(whole.state) as ledger:
        ledger.move("q4", "planned", "run-2")
        for status in ("unlearning", "verified", "promoted", "purged"):
            ledger.move("q4", status, "run-2")
        certify(ledger, whole.state, "q4", interim=True)
        interim = whole.certificate("q4").read_bytes()
        certify(ledger, whole.state, "q4")
    assert whole.check().exit_code == 0
    whole.certificate("q4").write_bytes(interim)
    assert whole.check().exit_code == 5 and "another one stands in its place" in whole.words()


def test_a_model_may_be_missing_only_by_a_tombstone(whole: Whole) -> None:
    model = whole.state / "models" / "model.safetensors"
    model.unlink()
    assert "no tombstone says that it was destroyed" in whole.words()
    with open_ledger(whole.state) as ledger:
        stone = {"kind": "model", "name": "2", "status": "destroyed", "method": "unlink"}
        ledger.add_tombstones([{**stone, "content_hash": sha256(MODEL), "run_id": "run-2"}])
    assert whole.check().exit_code == 0 and "by the ledger's tombstones" in whole.words()


def test_after_a_rotation_old_and_new_certificates_verify_and_an_unknown_key_is_named(whole: Whole) -> None:
    key = whole.state / "keys" / "certificate.pem"
    rotate_signing_key(key)
    with open_ledger(whole.state) as ledger:
        ledger.move("q4", "planned", "run-2")
        for status in ("unlearning", "verified", "promoted", "purged"):
            ledger.move("q4", status, "run-2")
        certify(ledger, whole.state, "q4")
    done = whole.check()
    signers = {Path(one.path).name[:2]: one.checks[0].words for one in done.certificates if one.statement}
    assert done.exit_code == 0
    assert "a retired one" in signers["q1"] and "a retired one" not in signers["q4"]
    (retired,) = key.parent.glob("certificate.*.pub.pem")
    before = retired.read_bytes()
    flipped(retired, 60)
    assert whole.check().exit_code == 5 and str(retired) in whole.words()
    retired.unlink()
    assert "q1.certificate.json is not signed by" in whole.words() and whole.check().exit_code == 5
    retired.write_bytes(before)
    stranger = load_or_create_signing_key(whole.state.parent / "stranger" / "key.pem")
    statement = json.loads(base64.b64decode(json.loads(whole.certificate("q1").read_bytes())["payload"]))
    write_certificate(whole.certificate("q1"), sign(statement, stranger))
    assert "unknown key" in whole.words() and "q1.certificate.json" in whole.words()


def test_the_stand_alone_command_takes_a_whole_state(whole: Whole, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--all", "--state", str(whole.state)]) == 0
    assert capsys.readouterr().out.endswith("VERIFIED: the ledger and 3 certificates\n")
    assert main(["--all", "--state", str(whole.state), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and len(told["certificates"]) == 3
    flipped(whole.certificate("q1"), 50)
    assert main(["--all", "--state", str(whole.state)]) == 5
    assert "NOT VERIFIED: 1 of 3 certificates" in capsys.readouterr().out
    for wrong in (["--all"], ["--all", "x", "--state", "y"], [], ["x", "--anchor", "y"]):
        with pytest.raises(SystemExit) as usage:
            main(wrong)
        assert usage.value.code == 2
