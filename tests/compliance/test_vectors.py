"""Do the test vectors hold: made again byte for byte, verified here, and by implementations that share no code?"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from vectors import FOLDER, REQUEST, build

from expunge.compliance.verify import verify_certificate, verify_everything

CERTIFICATE = FOLDER / "state" / "certificates" / f"{REQUEST}.certificate.json"
PUBLIC = FOLDER / "state" / "keys" / "certificate.pub.pem"
CHAIN = FOLDER / "chain.jsonl"
EXPECTED: dict[str, Any] = json.loads((FOLDER / "expected.json").read_text())


def test_the_vectors_are_made_again_byte_for_byte() -> None:
    made = build()
    there = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()} - {"README.md"}
    assert set(made) == there
    for name, content in made.items():
        assert (FOLDER / name).read_bytes() == content, f"{name}: run python tests/compliance/vectors.py"


def test_they_verify_and_the_invalid_ones_do_not(tmp_path: Path) -> None:
    result = verify_certificate(CERTIFICATE, public_key=PUBLIC, ledger=CHAIN)
    assert {check.name: check.status for check in result.checks} == dict.fromkeys(
        ("signature", "statement", "model", "report", "ledger"), "passed"
    )
    assert verify_everything(FOLDER / "state", ledger=CHAIN, anchor=CHAIN).exit_code == 0
    invalid = sorted((FOLDER / "invalid").iterdir())
    assert len(invalid) == 6
    for path in invalid:
        assert verify_certificate(path, public_key=PUBLIC).exit_code == 5, path


def test_openssl_alone_verifies_the_signature(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    envelope = json.loads(CERTIFICATE.read_bytes())
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    (tmp_path / "pae").write_bytes(b" ".join([b"DSSEv1", b"%d" % len(kind), kind, b"%d" % len(payload), payload]))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    assert (tmp_path / "pae").read_bytes() == (FOLDER / "pae.bin").read_bytes()
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", PUBLIC, "-rawin", "-in", tmp_path / "pae",
               "-sigfile", tmp_path / "sig"]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Verified Successfully" in done.stdout, done
    changed = bytearray((tmp_path / "pae").read_bytes())
    changed[-2] ^= 1
    (tmp_path / "pae").write_bytes(changed)
    assert subprocess.run(list(map(str, command)), capture_output=True, check=False).returncode != 0


def test_the_document_is_enough_to_verify_by() -> None:
    """docs/certificate.md followed with json, base64 and hashlib; nothing of ours is called."""

    def canonical(value: Any) -> bytes:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()

    def sha256(content: bytes) -> str:
        return hashlib.sha256(content).hexdigest()

    content = CERTIFICATE.read_bytes()
    envelope = json.loads(content)
    payload = base64.b64decode(envelope["payload"])
    predicate = json.loads(payload)["predicate"]
    assert content == canonical(envelope) + b"\n" and payload == canonical(json.loads(payload))
    assert sha256(content) == EXPECTED["certificate_sha256"] and sha256(payload) == EXPECTED["payload_sha256"]
    assert base64.b64decode(envelope["signatures"][0]["sig"]).hex() == EXPECTED["signature"]
    assert envelope["signatures"][0]["keyid"] == EXPECTED["key_id"]
    raw_key = base64.b64decode("".join(PUBLIC.read_text().splitlines()[1:-1]))[-32:]
    assert sha256(raw_key) == EXPECTED["key_id"]
    assert predicate["model"]["sha256"] == sha256((FOLDER / "state" / predicate["model"]["path"]).read_bytes())

    first, *events = map(json.loads, CHAIN.read_bytes().splitlines())
    previous, recorded = "0" * 64, {}
    for number, event in enumerate(events, 1):
        hashed = {name: value for name, value in event.items() if name != "hash"}
        assert event["seq"] == number and event["previous_hash"] == previous
        assert event["hash"] == sha256(canonical(hashed)) == EXPECTED["event_hashes"][number - 1]
        recorded.update(json.loads(event["payload"]).get("rows", {}))
        previous = event["hash"]
    assert first == {"format": "expunge-chain/1", "events": len(events), "head_hash": previous}
    assert events[predicate["ledger"]["seq"] - 1]["hash"] == predicate["ledger"]["head_hash"]
    issued = [json.loads(e["payload"])["sha256"] for e in events if e["kind"] == "certificate.issued"]
    assert issued == [sha256(content)]

    rows = json.loads((FOLDER / "rows.json").read_text())
    digests = {name: sha256(canonical(tables)) for name, tables in rows.items()}
    assert digests == EXPECTED["row_digests"] and recorded.items() <= digests.items()
    for example in EXPECTED["canonical"]:
        assert canonical(json.loads(example["json"])).hex() == example["hex"]
