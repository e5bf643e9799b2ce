"""What does a certificate prove, and what not? Every check, in order, with its words."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from .canonical import Malformed
from .envelope import is_signed, key_id, open_envelope, read_public_key
from .ledger_check import LEDGER, check_certificate, is_whole, load_facts
from .ledger_file import LedgerFacts
from .outcome import NOT_FOUND, Check, Verification
from .statement import read_statement

__all__ = ["Check", "Verification", "verify_certificate"]

MAX_CERTIFICATE_BYTES = 256 * 1024 * 1024
PUBLIC_KEY = "keys/certificate.pub.pem"

NEVER_PROVED = (
    "That no other copy of the records, or of a model that saw them, exists outside what the run could reach.",
    "That the tests in the evidence would find every trace: they have the power that they state, no more.",
    "That the person at the other end is who they said, or that the law is satisfied: that is for people to judge.",
    "That storage media hold no remains: removing a file is Clear in the words of NIST SP 800-88, not Purge.",
)

# The verifier's own words, whatever the certificate says of itself.
WEAKER = {
    "pool": "That the model is like one retrained without the records: it was compared with a pool of models trained "
    "earlier, which is weaker evidence.",
    "oracle-free": "That the model is like one retrained without the records: none was trained to compare with, which "
    "is the weakest evidence.",
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
    opened = check_signature(result, path, state, public_key)
    if opened is None:
        return result
    content, predicate = opened
    check_file(result, "model", predicate["model"], model, state)
    if predicate.get("report"):
        check_file(result, "report", predicate["report"], None, state)
    place = Path(ledger) if ledger is not None else state / LEDGER
    facts = load_facts(result, place, was_named=ledger is not None)
    if facts is not None and is_whole(result, place, facts):
        check_certificate(result, place, facts, path, content, predicate)
    say_limits(result, predicate)
    return result


def check_signature(
    result: Verification, path: Path, state: Path, public_key: str | Path | None
) -> tuple[bytes, dict[str, Any]] | None:
    """The file's bytes and the predicate in it, once the signature holds; None when something failed."""
    content = _read(result, "certificate", path)
    statement = None if content is None else _check_envelope(result, path, content, state, public_key)
    if content is None or statement is None:
        return None
    result.statement = statement
    return content, statement["predicate"]


def say_limits(result: Verification, predicate: dict[str, Any]) -> None:
    """Note what no check here can prove."""
    if predicate["interim"]:
        result.does_not_prove.append(
            "That the erasure is finished: this certificate is interim, and some artifacts are kept until a stated day."
        )
    if predicate["guarantee"] == "empirical" and predicate["evidence_level"] in WEAKER:
        result.does_not_prove.append(WEAKER[predicate["evidence_level"]])
    result.does_not_prove.extend(NEVER_PROVED)


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
    candidates = [Path(public_key)] if public_key is not None else known_keys(state)
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
        result.failed(
            "signature",
            f"{path} is not signed by {names}, but by an unknown key that calls itself {signer[:16]}. Check the key, "
            "or do not rely on it.",
        )
        return None
    try:
        statement = read_statement(payload)
    except Malformed as error:
        result.failed("statement", f"{path} is signed, but {error}. Ask its issuer.")
        return None
    retired = "" if public_key is not None or candidate == state / PUBLIC_KEY else ", a retired one"
    result.passed(
        "signature",
        f"signed by the key {signer[:16]}{retired} ({candidate}), every byte as it was signed",
        "The certificate is, to the last byte, what the holder of this key signed.",
    )
    if public_key is None:
        result.does_not_prove.append(
            "Who signed: the key was taken from beside the certificate. Compare its id with the issuer's or give --key."
        )
    result.passed("statement", "an erasure statement with every field in place")
    return statement


def known_keys(state: Path) -> list[Path]:
    """The current public key, then those of earlier rotations."""
    current = state / PUBLIC_KEY
    return [one for one in [current, *sorted(current.parent.glob("certificate.*.pub.pem"))] if one.is_file()]


def check_file(
    result: Verification,
    what: str,
    part: dict[str, Any],
    given: str | Path | None,
    state: Path,
    facts: LedgerFacts | None = None,
) -> None:
    """Note whether the model or the report is the certified one.

    With the `facts` of a ledger whose rows are at hand, a file may be missing only if a tombstone says so.
    """
    stays_open = f"That the {what} at hand is the one of the certificate."
    if given is None and not part.get("path"):
        result.skipped(what, f"the certificate names no file; give it with --{what}", stays_open)
        return
    path = Path(given) if given is not None else state / part["path"]
    if given is None and not path.exists():
        gone = facts.destroyed.get(part["sha256"]) if facts is not None else None
        if gone is not None:
            result.skipped(what, f"{path} was destroyed at {gone}, by the ledger's tombstones", stays_open)
        elif facts is not None and facts.rows_checked:
            result.failed(what, f"{path} is missing, and no tombstone says that it was destroyed. Restore it.")
        else:
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
