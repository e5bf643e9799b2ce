"""What must another implementation of the certificate's format produce? Every file of docs/test-vectors, from literals.

`python tests/compliance/vectors.py` writes them again, after a change of the format. Nothing in here is secret: the
signing key is that of TEST 1 in RFC 8032, section 7.1, and signs nothing anywhere else.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from expunge.compliance import chain
from expunge.compliance.canonical import canonical_json, canonical_text, sha256_of
from expunge.compliance.certificate import PAYLOAD_TYPE, build_statement, envelope_bytes, key_id, pae, sign

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "test-vectors"
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
MODEL, REPORT = b"These bytes stand for a model.\n", b"<!DOCTYPE html><title>A report</title>\n"
REQUEST = "3f0cb1d2-0000-4000-8000-000000000001"
RECORD, SUBJECT = "11" * 32, "22" * 32

# JSON text as a person may write it, to show how canonical JSON writes the same value
EXAMPLES = (
    '{ "b" : 1, "a" : [true, null, false] }',
    '{"\\u00e9": "\\u20ac", "e": "\\u0007 \\" \\\\ \\/ \\n \\u007f"}',
    '{"\\ud83d\\ude00": 1, "\\uffff": 2}',
    "[0, -0.0, 1.0, 0.1, 1e2, 1e16, 1.5e300, 1e-7, 123456789012345678901234567890]",
    '""',
    "{}",
)

_EVENT = {"request_id": REQUEST, "run_id": None}
ROWS: dict[str, dict[str, list[dict[str, Any]]]] = {
    f"request/{REQUEST}": {
        "request": [
            {"id": REQUEST, "regulation": "gdpr", "status": "received", "due_at": "2026-04-02"}
        ],
        "request_record": [{"request_id": REQUEST, "record_pseudonym": RECORD, "status": "requested"}],
    },
    "tombstone/t1": {"tombstone": [{"id": "t1", "kind": "model", "name": "1", "status": "destroyed"}]},
    "erased/nothing": {},
}  # fmt: skip


def build() -> dict[str, bytes]:
    """Every file by its path below docs/test-vectors."""
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    digests = {name: sha256_of(tables) for name, tables in ROWS.items()}
    before = [
        {"seq": 1, "at": "2026-03-02T09:30:00.000000+00:00", "kind": "request.received", **_EVENT,
         "payload": {"records": 1, "rows": {f"request/{REQUEST}": digests[f"request/{REQUEST}"]}}},
        {"seq": 2, "at": "2026-03-09T22:00:00.000000+00:00", "kind": "tombstones.added", "request_id": None,
         "run_id": "run-1", "payload": {"destroyed": 1, "rows": {"tombstone/t1": digests["tombstone/t1"]}}},
        {"seq": 3, "at": "2026-03-09T22:00:01.000000+00:00", "kind": "approval.given", "request_id": None,
         "run_id": "run-1", "payload": {"by": "\u00c9. Dupont", "how": "person"}},
    ]  # fmt: skip
    head = _linked(before)[-1]["hash"]
    statement = _statement(head)
    envelope = sign(statement, key)
    certificate = envelope_bytes(envelope)
    path = f"certificates/{REQUEST}.certificate.json"
    issued = {
        "seq": 4, "at": "2026-03-09T22:00:03.000000+00:00", "kind": "certificate.issued", "request_id": REQUEST,
        "run_id": "run-1",
        "payload": {"path": path, "sha256": hashlib.sha256(certificate).hexdigest(), "interim": False},
    }  # fmt: skip
    events = _linked([*before, issued])
    exported = chain.export(events)
    payload = canonical_json(statement)
    signed = pae(PAYLOAD_TYPE, payload)
    signature = key.sign(signed)
    public = key.public_key()
    expected = {
        "key_id": key_id(public),
        "payload_sha256": hashlib.sha256(payload).hexdigest(),
        "pae_sha256": hashlib.sha256(signed).hexdigest(),
        "signature": signature.hex(),
        "certificate_sha256": hashlib.sha256(certificate).hexdigest(),
        "chain_sha256": hashlib.sha256(exported).hexdigest(),
        "head": {"seq": 4, "hash": events[-1]["hash"]},
        "event_hashes": [event["hash"] for event in events],
        "row_digests": digests,
        "canonical": [{"json": text, "hex": canonical_json(json.loads(text)).hex()} for text in EXAMPLES],
    }
    return {
        "test-signing-key.pem": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        f"state/{path}": certificate,
        "state/keys/certificate.pub.pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "state/models/model.bin": MODEL,
        "state/reports/report.html": REPORT,
        "statement.json": payload,
        "pae.bin": signed,
        "signature.bin": signature,
        "chain.jsonl": exported,
        "rows.json": _readable(ROWS),
        "expected.json": _readable(expected),
        **{f"invalid/{name}.json": content for name, content in _invalid(certificate, envelope).items()},
    }


def _linked(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for event in events:
        row = {**event, "payload": canonical_text(event["payload"])}
        row["previous_hash"] = made[-1]["hash"] if made else chain.GENESIS
        made.append({**row, "hash": chain.event_hash(row)})
    return made


def _statement(head: str) -> dict[str, Any]:
    model = hashlib.sha256(MODEL).hexdigest()
    predicate = {
        "issued_at": "2026-03-09T22:00:02+00:00",
        "request": {"id": REQUEST, "regulation": "gdpr", "received_at": "2026-03-02T09:30:00+00:00",
                    "due_at": "2026-04-02", "due_rule": "GDPR Art. 12(3)", "subject_pseudonym": SUBJECT},
        "scope": {"record_pseudonyms": [RECORD], "count": 1, "key_id": "00000000"},
        "data_version": {"before": "33" * 32, "after": "44" * 32},
        "plan": {"method": "rewind", "predicted_steps": 412, "predicted_cost": 0.412},
        "spent": {"steps": 412, "cost": {"unlearning": 0.412}},
        "run": {"id": "run-1", "seeds": {"unlearning": 7}, "device": "cpu"},
        "stop_reason": "as planned",
        "evidence": [{"name": "influence", "statistic": 1.25, "interval": [0.5, 2.0], "power": 0.9, "verdict": "pass",
                      "words": "no farther than models retrained without the records"}],
        "evidence_level": "oracle",
        "verdict": {"passed": True, "words": "influence, controls and utility"},
        "guarantee": "empirical",
        "guarantee_words": "Tests found no difference; nothing is proven beyond them.",
        "model": {"name": "example", "version": "run-1", "sha256": model, "path": "models/model.bin"},
        "artifacts": [
            {"kind": "model", "name": "1", "content_hash": "55" * 32, "action": "destroyed", "method": "unlink"},
            {"kind": "plan", "name": "2", "action": "kept", "reason": "numbers about record sets"},
        ],
        "rescan": {"at": "2026-03-09T22:00:02+00:00", "found": [], "words": "nothing of the records was found"},
        "approvals": [{"kind": "approval.given", "at": "2026-03-09T22:00:01.000000+00:00", "by": "\u00c9. Dupont",
                       "how": "person", "seq": 3}],
        "limits": ["Copies outside this project's stores were not looked for."],
        "ledger": {"head_hash": head, "seq": 3},
        "report": {"path": "reports/report.html", "sha256": hashlib.sha256(REPORT).hexdigest()},
    }  # fmt: skip
    return build_statement([{"name": "example", "digest": {"sha256": model}}], predicate)


def _invalid(certificate: bytes, envelope: dict[str, Any]) -> dict[str, bytes]:
    """Files that a verifier must refuse, by what is wrong with them."""
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    flipped = bytearray(certificate)
    flipped[len(flipped) // 2] ^= 1
    return {
        "white-space": json.dumps(envelope, indent=1).encode() + b"\n",
        "no-newline": certificate[:-1],
        "key-order": json.dumps(dict(reversed(envelope.items())), separators=(",", ":")).encode() + b"\n",
        "two-signatures": envelope_bytes({**envelope, "signatures": envelope["signatures"] * 2}),
        "one-bit": bytes(flipped),
        "another-key": envelope_bytes(sign(json.loads(_payload(envelope)), other)),
    }


def _payload(envelope: dict[str, Any]) -> bytes:
    import base64

    return base64.b64decode(envelope["payload"])


def _readable(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def write() -> None:
    """Write every file, and remove what is no vector any more."""
    files = build()
    for path in [one for one in FOLDER.rglob("*") if one.is_file() and one.name != "README.md"]:
        path.unlink()
    for name, content in files.items():
        (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    write()
