"""Does everything in a state folder still hold? The ledger, its keys, and every certificate that it issued."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .anchors import check_anchors, check_head_file
from .canonical import Malformed
from .check import PUBLIC_KEY, check_file, check_signature, known_keys, say_limits
from .envelope import key_id, read_public_key
from .ledger_check import LEDGER, check_certificate, is_whole, load_facts
from .ledger_file import Issued, LedgerFacts
from .outcome import INTEGRITY, OK, Verification

CERTIFICATES = "certificates"


@dataclass
class Everything:
    """The outcome: the ledger with its keys and anchors, and one verification for each certificate."""

    ledger: Verification
    certificates: list[Verification] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 when all holds, 5 when anything does not match, 3 when only a named file is missing."""
        codes = {one.exit_code for one in (self.ledger, *self.certificates)} - {OK}
        return INTEGRITY if INTEGRITY in codes else max(codes, default=OK)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        ledger = {("ledger" if name == "certificate" else name): v for name, v in self.ledger.to_dict().items()}
        return {
            "ok": self.exit_code == OK,
            "exit_code": self.exit_code,
            "ledger": ledger,
            "certificates": [one.to_dict() for one in self.certificates],
        }


def verify_everything(
    state_dir: str | Path,
    *,
    public_key: str | Path | None = None,
    ledger: str | Path | None = None,
    anchor: str | Path | None = None,
    destroyed: Mapping[str, str] | None = None,
) -> Everything:
    """Check the ledger of a state folder, every certificate on it with its model and report, and the keys.

    `ledger`: where the ledger or an export of its chain is, if not in the folder. `anchor`: a file of heads that was
    kept elsewhere. `destroyed`: where the rows were checked in a database that is no file, what its tombstones say was
    destroyed, as content hash -> when; then a missing file must be among them. Raises nothing: every outcome is in the
    result, one verification for each certificate.
    """
    state = Path(state_dir)
    place = Path(ledger) if ledger is not None else state / LEDGER
    done = Everything(Verification(str(place)))
    keys = _check_keys(done.ledger, state)
    facts = load_facts(done.ledger, place, was_named=True)
    whole = facts is not None and is_whole(done.ledger, place, facts)
    if facts is not None and whole:
        words = "every row as its last event left it" if facts.rows_checked else "an export, without rows"
        done.ledger.passed("ledger", f"{place}: {facts.events} events in an unbroken chain; {words}")
    if facts is not None:
        check_head_file(done.ledger, state, facts)
    if facts is not None and anchor is not None:
        check_anchors(done.ledger, Path(anchor), facts, keys)
    if facts is not None and destroyed is not None:
        facts = replace(facts, rows_checked=True, destroyed=dict(destroyed))
    issued = facts.issued if facts is not None else {}
    newest = {one.path: one for one in sorted(issued.values(), key=lambda one: one.seq)}
    for digest, one in sorted(issued.items(), key=lambda item: item[1].seq):
        replaced = newest[one.path] is not one
        if replaced and one.interim:
            done.certificates.append(_superseded(state, one, newest[one.path].seq))
        else:
            done.certificates.append(_one(state, one, digest, replaced, place, facts if whole else None, public_key))
    for path in sorted((state / CERTIFICATES).glob("*.json")):
        if str(path.relative_to(state)) not in newest:
            stranger = Verification(str(path))
            stranger.failed("ledger", f"{path} is not on record: the ledger never issued it. Ask who put it there.")
            done.certificates.append(stranger)
    return done


def _one(
    state: Path,
    issued: Issued,
    digest: str,
    replaced: bool,
    place: Path,
    facts: LedgerFacts | None,
    public_key: str | Path | None,
) -> Verification:
    path = state / issued.path
    result = Verification(str(path))
    if Path(issued.path).is_absolute() or ".." in Path(issued.path).parts:
        result.failed("certificate", f"The path {issued.path!r} of event {issued.seq} leads out of the state folder.")
        return result
    if not path.is_file():
        result.failed(
            "certificate",
            f"{path} is missing: event {issued.seq} issued it for request {issued.request_id}. Restore it from a "
            "backup.",
        )
        return result
    opened = check_signature(result, path, state, public_key)
    if opened is None:
        return result
    content, predicate = opened
    if replaced or hashlib.sha256(content).hexdigest() != digest:
        result.failed(
            "ledger",
            f"{path} is not the certificate that event {issued.seq} issued for request {issued.request_id}: another "
            "one stands in its place. Restore it from a backup.",
        )
        return result
    check_file(result, "model", predicate["model"], None, state, facts)
    if predicate.get("report"):
        check_file(result, "report", predicate["report"], None, state, facts)
    if facts is not None:
        check_certificate(result, place, facts, path, content, predicate)
    else:
        result.skipped("ledger", f"{place} is not whole; see there", "That the certificate is on the ledger.")
    say_limits(result, predicate)
    return result


def _superseded(state: Path, issued: Issued, later: int) -> Verification:
    result = Verification(str(state / issued.path))
    result.skipped(
        "certificate",
        f"the interim certificate of event {issued.seq} for request {issued.request_id}; event {later} issued a later "
        "one in its place",
        "What the interim certificate said: its file was replaced.",
    )
    return result


def _check_keys(result: Verification, state: Path) -> set[str]:
    """Ids of the public keys in the folder; each must be written as the program writes it, under its own name."""
    found: set[str] = set()
    for path in known_keys(state):
        try:
            key = read_public_key(path)
            written = path.read_bytes() == key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        except (Malformed, OSError) as error:
            result.failed("keys", f"{error}. Restore {path} from a backup.")
            continue
        own = key_id(key)
        named = path == state / PUBLIC_KEY or path.name == f"certificate.{own[:16]}.pub.pem"
        if not written or not named:
            result.failed("keys", f"{path} is not as it was written: it was changed. Restore it from a backup.")
            continue
        found.add(own)
    return found
