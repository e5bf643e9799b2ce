"""The stand-alone verifier: stand-alone, and blind to no changed byte."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import Case

from expunge.compliance.certificate import (
    envelope_bytes,
    load_or_create_signing_key,
    rotate_signing_key,
    sign,
    write_certificate,
)
from expunge.compliance.verify import verify_certificate
from expunge.compliance.verify.command import main


def status_of(case: Case, name: str, **more: Any) -> str:
    result = verify_certificate(case.certificate, **more)
    return next(check.status for check in result.checks if check.name == name)


def failure(case: Case, **more: Any) -> tuple[int, str]:
    result = verify_certificate(case.certificate, **more)
    words = [f"{check.name}: {check.words}" for check in result.checks if check.status == "failed"]
    return result.exit_code, " | ".join(words)


def tamper(case: Case, *statements: str) -> None:
    with closing(sqlite3.connect(case.ledger)) as connection:
        for name in ("event_no_update", "event_no_delete", "event_no_replace"):
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_an_untouched_certificate_verifies_in_every_part(case: Case) -> None:
    result = verify_certificate(case.certificate)
    assert result.exit_code == 0, result.checks
    assert {check.name: check.status for check in result.checks} == {
        "signature": "passed",
        "statement": "passed",
        "model": "passed",
        "report": "passed",
        "ledger": "passed",
    }
    assert any("taken from beside" in sentence for sentence in result.does_not_prove)


def test_a_given_key_answers_who_signed(case: Case, tmp_path: Path) -> None:
    result = verify_certificate(case.certificate, public_key=case.public_key)
    assert result.ok and not any("taken from beside" in sentence for sentence in result.does_not_prove)
    load_or_create_signing_key(tmp_path / "other" / "key.pem")
    code, words = failure(case, public_key=tmp_path / "other" / "key.pub.pem")
    assert code == 5 and "not signed by" in words


def test_every_changed_byte_of_the_file_is_found(case: Case) -> None:
    content = case.certificate.read_bytes()
    for index in range(len(content)):
        for change in (0x01, 0x20, 0x80):
            changed = bytearray(content)
            changed[index] ^= change
            case.certificate.write_bytes(changed)
            assert verify_certificate(case.certificate).exit_code == 5, (index, change)
    case.certificate.write_bytes(content)
    assert verify_certificate(case.certificate).ok


@pytest.mark.parametrize("added", [b" ", b"\n", b"\r\n", b"\0", b"x"])
def test_added_and_missing_bytes_are_found(case: Case, added: bytes) -> None:
    content = case.certificate.read_bytes()
    half = len(content) // 2
    for changed in (content + added, added + content, content[:half] + added + content[half:], content[:-1], b""):
        case.certificate.write_bytes(changed)
        assert verify_certificate(case.certificate).exit_code == 5


def test_the_same_value_written_another_way_is_found(case: Case) -> None:
    envelope = json.loads(case.certificate.read_bytes())
    ways = [
        json.dumps(envelope, indent=1).encode() + b"\n",
        json.dumps(dict(reversed(envelope.items())), separators=(",", ":")).encode() + b"\n",
        envelope_bytes({**envelope, "extra": 1}),
        envelope_bytes({**envelope, "signatures": envelope["signatures"] * 2}),
        case.certificate.read_bytes().replace(b'{"payload"', b'{"payload":"","payload"', 1),
        b"[" * 100_000 + b"\n",
        b"9" * 10_000 + b"\n",
    ]
    for content in ways:
        case.certificate.write_bytes(content)
        assert failure(case)[0] == 5


def test_a_statement_signed_with_a_wrong_content_is_refused(case: Case) -> None:
    key = load_or_create_signing_key(case.state / "keys" / "certificate.pem")
    predicate = case.statement["predicate"]
    wrong = [
        {**case.statement, "_type": "other"},
        {**case.statement, "predicateType": "https://example.org/other"},
        {**case.statement, "subject": []},
        {**case.statement, "predicate": {**predicate, "model": {**predicate["model"], "path": "../../etc/passwd"}}},
        {**case.statement, "predicate": {**predicate, "scope": {**predicate["scope"], "count": 7}}},
        {**case.statement, "predicate": {key: value for key, value in predicate.items() if key != "limits"}},
        {**case.statement, "predicate": {**predicate, "guarantee": "absolute"}},
        {"predicate": None},
    ]
    for statement in wrong:
        write_certificate(case.certificate, sign(statement, key))
        code, words = failure(case)
        assert code == 5 and words.startswith("statement"), statement


def test_a_changed_model_or_report_is_named(case: Case) -> None:
    case.model.write_bytes(b"model bytez")
    code, words = failure(case)
    assert code == 5 and str(case.model) in words
    case.model.write_bytes(b"model bytes")
    case.report.write_bytes(b"")
    code, words = failure(case)
    assert code == 5 and str(case.report) in words


def test_a_missing_model_is_said_not_to_be_checked_unless_it_was_named(case: Case, tmp_path: Path) -> None:
    shutil.move(case.model, tmp_path / "elsewhere")
    result = verify_certificate(case.certificate)
    assert result.ok and status_of(case, "model") == "not checked"
    assert any("model" in sentence for sentence in result.does_not_prove)
    assert status_of(case, "model", model=tmp_path / "elsewhere") == "passed"
    assert failure(case, model=tmp_path / "nowhere")[0] == 3


def test_missing_files_have_their_own_exit_code(case: Case, tmp_path: Path) -> None:
    assert verify_certificate(tmp_path / "none.json").exit_code == 3
    assert failure(case, public_key=tmp_path / "none.pem")[0] == 3
    assert failure(case, ledger=tmp_path / "none.db")[0] == 3
    case.ledger.unlink()
    assert verify_certificate(case.certificate).ok and status_of(case, "ledger") == "not checked"
    case.public_key.unlink()
    assert failure(case)[0] == 3


def test_a_ledger_with_a_changed_event_is_named_with_its_seq(case: Case) -> None:
    tamper(case, "UPDATE event SET payload = replace(payload, 'gdpr', 'ccpa') WHERE seq = 2")
    code, words = failure(case)
    assert code == 5 and str(case.ledger) in words and "event 2" in words


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE request SET due_at = '2099-01-01'",
        "UPDATE request_record SET status = 'requested'",
        "DELETE FROM erased_record",
        "UPDATE deletion_run SET method = 'retrain'",
        "UPDATE tombstone SET name = 'step 4'",
        "UPDATE certificate SET interim = 1",
        "UPDATE meta SET value = 'x' WHERE key = 'epoch'",
        "INSERT INTO meta (key, value) VALUES ('new', 'row')",
    ],
)
def test_a_row_changed_without_an_event_is_found(case: Case, statement: str) -> None:
    tamper(case, statement)
    code, words = failure(case)
    assert code == 5 and "without an event" in words


def test_a_cut_off_chain_and_a_foreign_ledger_are_found(case: Case) -> None:
    last = case.statement["predicate"]["ledger"]["seq"]
    tamper(case, f"DELETE FROM event WHERE seq > {last}")
    assert failure(case)[0] == 5  # the rows know more than the events
    case.ledger.write_bytes(b"no database at all, but long enough to look at" * 100)
    assert failure(case)[0] == 5


def test_a_certificate_that_the_ledger_never_issued_is_found(case: Case) -> None:
    key = load_or_create_signing_key(case.state / "keys" / "certificate.pem")
    statement = {**case.statement, "predicate": {**case.statement["predicate"], "stop_reason": "another"}}
    write_certificate(case.certificate, sign(statement, key))
    code, words = failure(case)
    assert code == 5 and "not on record" in words


def test_old_certificates_verify_after_the_key_is_rotated(case: Case) -> None:
    rotate_signing_key(case.state / "keys" / "certificate.pem")
    assert verify_certificate(case.certificate).ok
    for path in case.public_key.parent.glob("certificate.*.pub.pem"):
        if path != case.public_key:
            path.unlink()
    assert failure(case)[0] == 5


def test_interim_certificates_say_so(case: Case) -> None:
    key = load_or_create_signing_key(case.state / "keys" / "certificate.pem")
    statement = {**case.statement, "predicate": {**case.statement["predicate"], "interim": True}}
    write_certificate(case.certificate, sign(statement, key))
    case.ledger.unlink()
    result = verify_certificate(case.certificate)
    assert result.ok and any("interim" in sentence for sentence in result.does_not_prove)


def test_the_command_prints_what_it_proves_and_what_it_does_not(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(case.certificate)]) == 0
    text = capsys.readouterr().out
    assert "It proves:" in text and "It does not prove:" in text and "Guarantee: empirical" in text
    assert main([str(case.certificate), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    with pytest.raises(SystemExit) as usage:
        main(["--no-such-option"])
    assert usage.value.code == 2
