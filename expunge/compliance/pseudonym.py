"""How are people and records named in the ledger without being named?

A pseudonym is HMAC-SHA-256 under a secret key, over "identity:" or "record:" and the value, so that the two spaces
never meet and nobody without the key can test a guess. It is pseudonymisation (GDPR Art. 4(5)), not anonymisation:
whoever holds the key can match a value they already have.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from expunge.compliance.keyfile import load_or_create, read_secret, replace_secret
from expunge.errors import UsageError

KEY_BYTES = 32
KEY_VARIABLE = "EXPUNGE_PSEUDONYM_KEY"
_KEY_TEXT = re.compile(r"[0-9a-fA-F]{64}")


class Pseudonymizer:
    """Keyed pseudonyms of identities and record ids.

    `key` is the 32-byte key that new pseudonyms are made with; `retired` are earlier keys, newest first, under which
    the ledger may still hold pseudonyms.
    """

    def __init__(self, key: bytes, retired: Sequence[bytes] = ()) -> None:
        for one in (key, *retired):
            if len(one) != KEY_BYTES:
                raise UsageError(
                    f"A pseudonym key has {KEY_BYTES} bytes; this one has {len(one)}.", "Generate a new one."
                )
        self._keys = (key, *retired)

    @property
    def key_id(self) -> str:
        """First 8 hex digits of the SHA-256 of the current key: names it without revealing it."""
        return key_id(self._keys[0])

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of the current key and of the retired ones."""
        return tuple(key_id(key) for key in self._keys)

    def identity(self, value: str) -> str:
        """Hex pseudonym of an identity (an e-mail address, an account number) under the current key."""
        return _pseudonym(self._keys[0], b"identity:", value)

    def record(self, record_id: str) -> str:
        """Hex pseudonym of a record id under the current key."""
        return _pseudonym(self._keys[0], b"record:", record_id)

    def identities(self, value: str) -> tuple[str, ...]:
        """Pseudonyms of an identity under every known key, the current one first: what to look up by."""
        return tuple(_pseudonym(key, b"identity:", value) for key in self._keys)

    def records(self, record_id: str) -> tuple[str, ...]:
        """Pseudonyms of a record id under every known key, the current one first: what to look up by."""
        return tuple(_pseudonym(key, b"record:", record_id) for key in self._keys)

    def __repr__(self) -> str:
        return f"Pseudonymizer(key_id={self.key_id!r}, retired={len(self._keys) - 1})"


def key_id(key: bytes) -> str:
    """First 8 hex digits of the SHA-256 of a key."""
    return hashlib.sha256(key).hexdigest()[:8]


def load_or_create_key(path: str | os.PathLike[str]) -> Pseudonymizer:
    """The pseudonymizer of a key file, made with 32 random bytes and mode 0600 if there is none.

    The file holds one key a line, 64 hex digits each, the current key first and retired keys below. The environment
    variable EXPUNGE_PSEUDONYM_KEY (the same, separated by commas) is used instead where it is set; then no file is
    read or made. Raises UsageError if the file can be read by others or holds something else.
    """
    given = os.environ.get(KEY_VARIABLE)
    if given is not None:
        return _from_lines(given.split(","), f"The environment variable {KEY_VARIABLE}")
    content = load_or_create(Path(path), lambda: (secrets.token_hex(KEY_BYTES) + "\n").encode("ascii"))
    return _from_lines(_lines(content), f"The key file {path}")


def rotate_key(path: str | os.PathLike[str]) -> Pseudonymizer:
    """Put a new key on top of a key file; the old ones stay, because the replay guard must still match what they named.

    Raises UsageError as `load_or_create_key`, and if the key comes from the environment.
    """
    if KEY_VARIABLE in os.environ:
        raise UsageError(f"The key comes from {KEY_VARIABLE}.", "Put the new key in front there, followed by a comma.")
    load_or_create_key(path)
    file = Path(path)
    replace_secret(file, (secrets.token_hex(KEY_BYTES) + "\n").encode("ascii") + read_secret(file))
    return load_or_create_key(file)


def _lines(content: bytes) -> list[str]:
    return content.decode("ascii", errors="replace").split("\n")


def _from_lines(lines: Sequence[str], where: str) -> Pseudonymizer:
    texts = [line.strip() for line in lines if line.strip()]
    if not texts or not all(_KEY_TEXT.fullmatch(text) for text in texts):
        raise UsageError(
            f"{where} does not hold {2 * KEY_BYTES} hex digits per key.",
            "Restore the key from its backup: with another key, the ledger's pseudonyms match nothing.",
        )
    current, *retired = (bytes.fromhex(text) for text in texts)
    return Pseudonymizer(current, retired)


def _pseudonym(key: bytes, domain: bytes, value: str) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"A {domain[:-1].decode()} is a text that is not empty.", "Pass the id as text.")
    try:
        return hmac.digest(key, domain + value.encode("utf-8"), "sha256").hex()
    except UnicodeEncodeError as error:
        raise UsageError(
            "This id holds characters that cannot be encoded.", "Check the encoding of the input."
        ) from error
