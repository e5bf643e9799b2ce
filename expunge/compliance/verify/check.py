"""What does a certificate prove, and what not? Every check, in order, with its words."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .canonical import Malformed
from .envelope import is_signed, key_id, open_envelope, read_public_key
from .ledger_file import read_ledger
from .statement import read_statement

OK, USAGE, NOT_FOUND, INTEGRITY = 0, 2, 3, 5
PASSED, FAILED, SKIPPED = "passed", "failed", "not checked"

MAX_CERTIFICATE_BYTES = 256 * 1024 * 1024
PUBLIC_KEY = "keys/certificate.pub.pem"
LEDGER = "ledger.db"

NEVER_PROVED = (
    "That no other copy of the records, or of a model that saw them, exists outside what the run could reach.",
    "That the tests in the evidence would find every trace: they have the power that they state, no more.",
    "That the person at the other end is who they said, or that the law is satisfied: that is for people to judge.",
    "That storage media hold no remains: removing a file is Clear in the words of NIST SP 800-88, not Purge.",
)


@dataclass(frozen=True)
class Check:
    """One check: passed, failed or not checked, and why."""

    name: str
    status: str
    words: str


@dataclass
class Verification:
    """The outcome.

    `exit_code`: 0 nothing failed, 5 something does not match, 3 a named file is missing, 2 wrong usage.
    """

    path: str
    checks: list[Check] = field(default_factory=list)
    proves: list[str] = field(default_factory=list)
    does_not_prove: list[str] = field(default_factory=list)
    statement: dict[str, Any] | None = None
    exit_code: int = OK

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return self.exit_code == OK

    def passed(self, name: str, words: str, proves: str = "") -> None:
        """Note a check that passed, and what follows from it."""
        self.checks.append(Check(name, PASSED, words))
        if proves:
            self.proves.append(proves)

    def failed(self, name: str, words: str, exit_code: int = INTEGRITY) -> None:
        """Note a check that failed; the first failure gives the exit code, an integrity failure before all others."""
        self.checks.append(Check(name, FAILED, words))
        if self.exit_code == OK or exit_code == INTEGRITY:
            self.exit_code = exit_code

    def skipped(self, name: str, words: str, does_not_prove: str) -> None:
        """Note a check that could not be made, and what therefore stays open."""
        self.checks.append(Check(name, SKIPPED, words))
        self.does_not_prove.append(does_not_prove)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "certificate": self.path,
            "ok": self.ok,
            "exit_code": self.exit_code,
            "checks": [vars(check) for check in self.checks],
            "proves": self.proves,
            "does_not_prove": self.does_not_prove,
        }


def verify_certificate(
    cert_path: str | Path,
    *,
    public_key: str | Path | None = None,
    model: str | Path | None = None,
    ledger: str | Path | None = None,
    state_dir: str | Path | None = None,
) -> Verification:
    """Check a certificate file, and against it the model, the report and the ledger where they are at hand.

    Without `state_dir`, the state folder is the parent of the `certificates` folder that holds the file. In it are
    looked for the public key (`keys/certificate.pub.pem`, or `keys/certificate.*.pub.pem` after a rotation), the
    ledger (`ledger.db`), the model and the report at the paths that the certificate gives. A file that is named here
    and missing is an error (3); one that is only looked for and missing is said to be not checked. Raises nothing:
    every outcome is in the result.
    """
    path = Path(cert_path)
    result = Verification(str(cert_path))
    state = Path(state_dir) if state_dir is not None else path.absolute().parent
    if state_dir is None and state.name == "certificates":
        state = state.parent
    content = _read(result, "certificate", path)
    if content is None:
        return result
    statement = _check_envelope(result, path, content, state, public_key)
    if statement is None:
        return result
    result.statement = statement
    predicate = statement["predicate"]
    _check_file(result, "model", predicate["model"], model, state)
    if predicate.get("report"):
        _check_file(result, "report", predicate["report"], None, state)
    _check_ledger(result, path, content, predicate, ledger, state)
    if predicate["interim"]:
        result.does_not_prove.append(
            "That the erasure is finished: this certificate is interim, and some artifacts are kept until a stated day."
        )
    result.does_not_prove.extend(NEVER_PROVED)
    return result


def _read(result: Verification, name: str, path: Path) -> bytes | None:
    try:
        if path.stat().st_size > MAX_CERTIFICATE_BYTES:
            result.failed(name, f"{path} is too large to be a certificate. Check the path.")
            return None
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        result.failed(name, f"{path} cannot be read: {reason}. Check the path.", NOT_FOUND)
        return None


def _check_envelope(
    result: Verification, path: Path, content: bytes, state: Path, public_key: str | Path | None
) -> dict[str, Any] | None:
    restore = "Do not rely on it; get the certificate again from its issuer or from a backup."
    try:
        payload, signer, signature = open_envelope(content)
    except Malformed as error:
        result.failed("certificate", f"{path} is not an intact certificate: {error}. {restore}")
        return None
    candidates = [Path(public_key)] if public_key is not None else _known_keys(state)
    if not candidates:
        result.failed(
            "signature",
            f"No public key: {state / PUBLIC_KEY} does not exist. Give the issuer's key with --key.",
            NOT_FOUND,
        )
        return None
    for candidate in candidates:
        try:
            key = read_public_key(candidate)
        except Malformed as error:
            result.failed("signature", f"{error}. Give the issuer's key with --key.")
            return None
        except (OSError, ValueError) as error:
            result.failed("signature", f"{candidate} cannot be read: {error}. Check the path.", NOT_FOUND)
            return None
        if key_id(key) != signer:
            continue
        if not is_signed(payload, signature, key):
            result.failed("signature", f"{path} was changed after it was signed: the signature is wrong. {restore}")
            return None
        break
    else:
        names = ", ".join(str(candidate) for candidate in candidates)
        result.failed("signature", f"{path} is not signed by {names}. Check the key, or do not rely on it.")
        return None
    try:
        statement = read_statement(payload)
    except Malformed as error:
        result.failed("statement", f"{path} is signed, but {error}. Ask its issuer.")
        return None
    result.passed(
        "signature",
        f"signed by the key {signer[:16]} ({candidate}), every byte as it was signed",
        "The certificate is, to the last byte, what the holder of this key signed.",
    )
    if public_key is None:
        result.does_not_prove.append(
            "Who signed: the key was taken from beside the certificate. Compare its id with the issuer's or give --key."
        )
    result.passed("statement", "an erasure statement with every field in place")
    return statement


def _known_keys(state: Path) -> list[Path]:
    """The current public key, then those of earlier rotations."""
    current = state / PUBLIC_KEY
    return [one for one in [current, *sorted(current.parent.glob("certificate.*.pub.pem"))] if one.is_file()]


def _check_file(result: Verification, what: str, part: dict[str, Any], given: str | Path | None, state: Path) -> None:
    stays_open = f"That the {what} at hand is the one of the certificate."
    if given is None and not part.get("path"):
        result.skipped(what, f"the certificate names no file; give it with --{what}", stays_open)
        return
    path = Path(given) if given is not None else state / part["path"]
    if given is None and not path.exists():
        result.skipped(what, f"{path} is not there; the {what} was not checked", stays_open)
        return
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        result.failed(what, f"{path} cannot be read: {error.strerror or error}. Check the path.", NOT_FOUND)
        return
    if digest != part["sha256"]:
        result.failed(
            what,
            f"{path} is not the {what} of the certificate (SHA-256 {digest[:16]}…, not {part['sha256'][:16]}…). "
            "It was changed, or belongs to another certificate.",
        )
        return
    result.passed(
        what, f"{path} has the digest of the certificate", f"The {what} is, byte for byte, the certified one."
    )


def _check_ledger(
    result: Verification,
    path: Path,
    content: bytes,
    predicate: dict[str, Any],
    given: str | Path | None,
    state: Path,
) -> None:
    place = Path(given) if given is not None else state / LEDGER
    if not place.is_file():
        if given is not None:
            result.failed("ledger", f"{place} does not exist. Check the path.", NOT_FOUND)
        else:
            stays_open = "That the certificate is on the ledger, and that the ledger's events are whole."
            result.skipped("ledger", f"{place} is not there; give it with --ledger", stays_open)
        return
    try:
        facts = read_ledger(place)
    except (sqlite3.Error, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        result.failed("ledger", f"{place} is not a readable ledger: {error}. Restore it from a backup.")
        return
    restore = "Keep the file as evidence and restore the ledger from a backup."
    if facts.first_bad_seq is not None:
        result.failed("ledger", f"{place}: event {facts.first_bad_seq} is missing or was changed. {restore}")
        return
    if facts.changed_rows:
        names = ", ".join(facts.changed_rows[:5]) + (", …" if len(facts.changed_rows) > 5 else "")
        result.failed("ledger", f"{place}: rows were changed without an event: {names}. {restore}")
        return
    head, seq = predicate["ledger"]["head_hash"], predicate["ledger"]["seq"]
    if facts.hashes.get(seq) != head:
        result.failed(
            "ledger", f"{place}: event {seq}, which the certificate builds on, is not in the chain. {restore}"
        )
        return
    digest = hashlib.sha256(content).hexdigest()
    on_record = facts.issued.get(digest)
    if on_record is None or on_record["seq"] <= seq or on_record["request_id"] != predicate["request"]["id"]:
        result.failed("ledger", f"{place}: {path} is not on record as issued for its request. Ask its issuer.")
        return
    rows = "its rows match them" if facts.rows_checked else "its rows are not in this export"
    result.passed(
        "ledger",
        f"{place}: {facts.events} events in an unbroken chain, the certificate is event {on_record['seq']}; {rows}",
        "The ledger's events are whole, and the certificate was issued where it says.",
    )
    if not facts.rows_checked:
        result.does_not_prove.append("That the ledger's rows match its events: an export holds the events alone.")
