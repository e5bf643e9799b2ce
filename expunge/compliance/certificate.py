"""How is an erasure certificate made? An in-toto Statement, signed with Ed25519, in a DSSE envelope, in one canonical
file.

The file is the canonical JSON of the envelope and a newline, nothing else: any changed byte, white space included, is
found by `verify`, the stand-alone verifier. Formats: in-toto Attestation Framework v1 (Statement), DSSE v1 (PAE and
envelope).
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from expunge.compliance.canonical import canonical_json
from expunge.compliance.keyfile import load_or_create, read_secret, replace_secret
from expunge.compliance.predicate import PREDICATE_TYPE, checked_predicate
from expunge.compliance.whole_file import write_whole
from expunge.errors import IntegrityError, UsageError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

_SHA256 = re.compile(r"[0-9a-f]{64}")


def build_statement(subject_digests: Sequence[Mapping[str, Any]], predicate: Mapping[str, Any]) -> dict[str, Any]:
    """The in-toto Statement about the model's files.

    `subject_digests`: [{"name": ..., "digest": {"sha256": hex}}], the promoted model's file among them. `predicate`:
    the fields of `predicate.ErasurePredicate`. Raises UsageError for a missing subject, a digest that is none, or a
    wrong predicate.
    """
    checked = checked_predicate(predicate)
    subjects: list[dict[str, Any]] = []
    for one in subject_digests:
        digest = dict(one.get("digest", {}))
        if not one.get("name") or not _SHA256.fullmatch(str(digest.get("sha256", ""))):
            raise UsageError(f"The subject {dict(one)!r} has no name or no SHA-256.", "Give both.")
        subjects.append({"name": str(one["name"]), "digest": digest})
    if checked["model"]["sha256"] not in {one["digest"]["sha256"] for one in subjects}:
        raise UsageError(
            "The promoted model's digest is not among the subjects.", "Name the model's file as a subject."
        )
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": PREDICATE_TYPE,
        "predicate": checked,
    }


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is really signed."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(statement: Mapping[str, Any], private_key: Ed25519PrivateKey) -> dict[str, Any]:
    """DSSE envelope of a statement, with one signature. Raises UsageError for what canonical JSON cannot carry."""
    payload = canonical_json(dict(statement))
    signature = private_key.sign(pae(PAYLOAD_TYPE, payload))
    return {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key_id(private_key.public_key()), "sig": base64.b64encode(signature).decode("ascii")}],
    }


def envelope_bytes(envelope: Mapping[str, Any]) -> bytes:
    """The exact bytes of a certificate file."""
    return canonical_json(dict(envelope)) + b"\n"


def write_certificate(path: str | os.PathLike[str], envelope: Mapping[str, Any]) -> str:
    """Write a certificate file; returns the SHA-256 of its bytes.

    The file appears whole or not at all, and is on the disk when this returns. A file of that name is replaced: one
    that is not on the ledger yet is left from a crash. Raises OSError if the disk refuses; then nothing of the name
    has changed.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    content = envelope_bytes(envelope)
    write_whole(target, content)
    return hashlib.sha256(content).hexdigest()


def key_id(public_key: Ed25519PublicKey) -> str:
    """Hex SHA-256 of the 32 raw bytes of a public key."""
    return hashlib.sha256(public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def public_key_path(path: str | os.PathLike[str]) -> Path:
    """Where the public half of a key file lies: `certificate.pem` -> `certificate.pub.pem`."""
    private = Path(path)
    return private.with_name(f"{private.stem}.pub.pem")


def load_or_create_signing_key(path: str | os.PathLike[str]) -> Ed25519PrivateKey:
    """The Ed25519 key of a PEM file (PKCS 8, mode 0600), made if there is none; its public half is written beside it.

    Any number of processes may start at once: all get the same key. Raises UsageError if the file can be read by
    others or is no Ed25519 key, IntegrityError if the public file beside it belongs to another key.
    """
    private = _private_key(load_or_create(Path(path), _new_private_pem), path)
    public, expected = public_key_path(path), _public_pem(private)
    if not public.exists():
        write_whole(public, expected)
    elif public.read_bytes() != expected:
        raise IntegrityError(
            f"{public} is not the public half of {path}.", "Delete it if you replaced the key; it is written again."
        )
    return private


def rotate_signing_key(path: str | os.PathLike[str]) -> Ed25519PrivateKey:
    """Replace the signing key; the old public key stays as `<name>.<first 16 of its key id>.pub.pem`, for old
    certificates.
    """
    private_path = Path(path)
    old = load_or_create_signing_key(private_path)
    public = public_key_path(private_path)
    write_whole(public.with_name(f"{private_path.stem}.{key_id(old.public_key())[:16]}.pub.pem"), _public_pem(old))
    replace_secret(private_path, _new_private_pem())
    new = _private_key(read_secret(private_path), private_path)
    write_whole(public, _public_pem(new))
    return new


def _new_private_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_pem(private: Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _private_key(content: bytes, path: str | os.PathLike[str]) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path} is not a private key in PEM.", "Restore it from its backup.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} is not an Ed25519 key.", "Give another path; a key is made there.")
    return key
