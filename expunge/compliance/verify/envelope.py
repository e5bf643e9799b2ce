"""Who signed these bytes? A DSSE envelope with one Ed25519 signature, checked to the last byte."""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from .canonical import Malformed, read_canonical

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def open_envelope(content: bytes) -> tuple[bytes, str, bytes]:
    """(payload, key id, signature) of a certificate file's bytes.

    Raises Malformed unless they are exactly one envelope.
    """
    if not content.endswith(b"\n"):
        raise Malformed("its last byte is not the newline that ends a certificate")
    envelope = read_canonical(content[:-1])
    if not isinstance(envelope, dict) or set(envelope) != {"payload", "payloadType", "signatures"}:
        raise Malformed("not a DSSE envelope with payload, payloadType and signatures alone")
    if envelope["payloadType"] != PAYLOAD_TYPE:
        raise Malformed(f"its payload type is not {PAYLOAD_TYPE}")
    signatures = envelope["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1 or not isinstance(signatures[0], dict):
        raise Malformed("it does not carry exactly one signature")
    if set(signatures[0]) != {"keyid", "sig"} or not isinstance(signatures[0]["keyid"], str):
        raise Malformed("its signature does not consist of keyid and sig")
    return _base64(envelope["payload"]), signatures[0]["keyid"], _base64(signatures[0]["sig"])


def is_signed(payload: bytes, signature: bytes, key: Ed25519PublicKey) -> bool:
    """Whether `signature` is this key's over the DSSE pre-authentication encoding of the payload."""
    kind = PAYLOAD_TYPE.encode("ascii")
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def key_id(key: Ed25519PublicKey) -> str:
    """Hex SHA-256 of the key's 32 raw bytes."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The Ed25519 public key of a PEM file. Raises Malformed if it is none, OSError if it cannot be read."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Malformed(f"{path} is not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Malformed(f"{path} is not an Ed25519 public key")
    return key


def _base64(text: Any) -> bytes:
    if not isinstance(text, str):
        raise Malformed("a base64 field is not text")
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("a field is not base64") from error
    if base64.b64encode(content).decode("ascii") != text:
        raise Malformed("a base64 field is not written in the standard way")
    return content
