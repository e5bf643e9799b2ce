"""What a certificate says is checked before it is signed; its file appears whole or not at all."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Case, finish, run_python, sha256

from expunge.compliance.certificate import (
    build_statement,
    envelope_bytes,
    key_id,
    load_or_create_signing_key,
    pae,
    rotate_signing_key,
    sign,
    write_certificate,
)
from expunge.compliance.limits import LIMITS
from expunge.compliance.predicate import PREDICATE_TYPE
from expunge.errors import IntegrityError, UsageError


def rebuilt(case: Case, **more: Any) -> dict[str, Any]:
    predicate = {**case.statement["predicate"], **more}
    return build_statement(case.statement["subject"], predicate)


def test_the_file_is_a_signed_in_toto_statement(case: Case) -> None:
    content = case.certificate.read_bytes()
    envelope = json.loads(content)
    payload = base64.b64decode(envelope["payload"])
    key = load_or_create_signing_key(case.state / "keys" / "certificate.pem")
    assert content == envelope_bytes(envelope) and envelope["payloadType"] == "application/vnd.in-toto+json"
    key.public_key().verify(base64.b64decode(envelope["signatures"][0]["sig"]), pae(envelope["payloadType"], payload))
    assert envelope["signatures"][0]["keyid"] == key_id(key.public_key())
    statement = json.loads(payload)
    assert statement == case.statement and statement["predicateType"] == PREDICATE_TYPE
    assert statement["subject"][0]["digest"]["sha256"] == sha256(case.model.read_bytes())
    assert "compliant" not in payload.decode() and b"rec-1" not in payload and b"ada@" not in payload


def test_the_example_vector_of_dsse() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"guarantee": "absolute"}, "guarantee"),
        ({"verdict": {"passed": True}}, "verdict.words"),
        ({"surplus": 1}, "surplus"),
        ({"scope": {"record_pseudonyms": ["a" * 64], "count": 2}}, "2 records"),
        ({"scope": {"record_pseudonyms": ["rec-1"], "count": 1}}, "record_pseudonyms"),
        ({"artifacts": [{"kind": "model", "name": "1", "action": "destroyed"}]}, "without a method"),
        ({"artifacts": [{"kind": "model", "name": "1", "action": "kept"}]}, "without a reason"),
        ({"issued_at": "2026-03-02T09:30:00"}, "issued_at"),
        ({"report": {"path": "../report.html", "sha256": "a" * 64}}, "report.path"),
        ({"model": {"name": "m", "version": "2", "sha256": "a" * 64}}, "not among the subjects"),
        ({"evidence": [{"name": "mia", "statistic": float("nan"), "verdict": "passed"}]}, "evidence.0.statistic"),
    ],
)
def test_a_wrong_predicate_is_refused_by_name(case: Case, change: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        rebuilt(case, **change)


def test_the_limits_fit_and_are_kept(case: Case) -> None:
    assert rebuilt(case, limits=list(LIMITS))["predicate"]["limits"] == list(LIMITS)


def test_writing_replaces_the_file_whole_and_leaves_nothing_beside_it(case: Case, tmp_path: Path) -> None:
    key = load_or_create_signing_key(tmp_path / "key.pem")
    path = tmp_path / "certificates" / "q.json"
    for words in ("first", "second"):
        envelope = sign(rebuilt(case, stop_reason=words), key)
        assert write_certificate(path, envelope) == sha256(path.read_bytes())
        assert path.read_bytes() == envelope_bytes(envelope)
    assert [one.name for one in path.parent.iterdir()] == ["q.json"]
    (path.parent / "folder").mkdir()
    with pytest.raises(OSError):
        write_certificate(path.parent / "folder", envelope)
    assert sorted(one.name for one in path.parent.iterdir()) == ["folder", "q.json"]


def test_processes_that_start_at_once_get_one_key(tmp_path: Path) -> None:
    code = """
import sys
from expunge.compliance.certificate import key_id, load_or_create_signing_key
print(key_id(load_or_create_signing_key(sys.argv[1]).public_key()))
"""
    outputs = finish([run_python(code, tmp_path / "certificate.pem") for _ in range(4)])
    assert len(set(outputs)) == 1
    assert (tmp_path / "certificate.pem").stat().st_mode & 0o777 == 0o600
    assert {one.name for one in tmp_path.iterdir()} == {"certificate.pem", "certificate.pub.pem"}


def test_a_wrong_key_file_has_a_name(tmp_path: Path) -> None:
    path = tmp_path / "certificate.pem"
    load_or_create_signing_key(path)
    other = load_or_create_signing_key(tmp_path / "other.pem")
    (tmp_path / "certificate.pub.pem").write_bytes((tmp_path / "other.pub.pem").read_bytes())
    with pytest.raises(IntegrityError, match="not the public half"):
        load_or_create_signing_key(path)
    path.write_bytes(b"no key")
    with pytest.raises(UsageError, match="not a private key"):
        load_or_create_signing_key(path)
    assert key_id(rotate_signing_key(tmp_path / "other.pem").public_key()) != key_id(other.public_key())
