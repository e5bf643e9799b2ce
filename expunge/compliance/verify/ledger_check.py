"""Does the ledger at hand know this certificate, and is the ledger itself whole?"""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

from .ledger_file import LedgerFacts, read_ledger
from .outcome import NOT_FOUND, Verification

LEDGER = "ledger.db"
RESTORE = "Keep the file as evidence and restore the ledger from a backup."
UNREADABLE = (sqlite3.Error, OSError, ValueError, KeyError, TypeError, AttributeError)
SHOWN = 5


def load_facts(result: Verification, place: Path, was_named: bool) -> LedgerFacts | None:
    """Facts of the ledger at `place`; None where there is none or it cannot be read, which is then noted."""
    if not place.is_file():
        if was_named:
            result.failed("ledger", f"{place} does not exist. Check the path.", NOT_FOUND)
        else:
            stays_open = "That the certificate is on the ledger, and that the ledger's events are whole."
            result.skipped(
                "ledger", f"{place} is not there; give the ledger or an export of its chain with --ledger", stays_open
            )
        return None
    try:
        return read_ledger(place)
    except UNREADABLE as error:
        result.failed("ledger", f"{place} is not a readable ledger: {error}. Restore it from a backup.")
        return None


def is_whole(result: Verification, place: Path, facts: LedgerFacts) -> bool:
    """Whether chain, rows and triggers are as the program left them; what is not is noted by name."""
    if facts.first_bad_seq is not None:
        result.failed("ledger", f"{place}: event {facts.first_bad_seq} is missing or was changed. {RESTORE}")
        return False
    if facts.changed_rows:
        names = ", ".join(facts.changed_rows[:SHOWN]) + (", …" if len(facts.changed_rows) > SHOWN else "")
        result.failed("ledger", f"{place}: rows were changed without an event: {names}. {RESTORE}")
        return False
    if facts.missing_guards:
        names = ", ".join(facts.missing_guards)
        result.failed("ledger", f"{place}: triggers that keep its events append-only are gone: {names}. {RESTORE}")
        return False
    return True


def check_certificate(
    result: Verification, place: Path, facts: LedgerFacts, path: Path, content: bytes, predicate: dict[str, Any]
) -> None:
    """Note whether a whole ledger issued this certificate where it says, and whether a later one took its place."""
    head, seq = predicate["ledger"]["head_hash"], predicate["ledger"]["seq"]
    if facts.hashes.get(seq) != head:
        result.failed(
            "ledger",
            f"{place}: event {seq}, which the certificate {path} builds on, is not in the chain: the ledger was "
            f"rewritten or cut off, or is another one. {RESTORE}",
        )
        return
    request_id = predicate["request"]["id"]
    issued = facts.issued.get(hashlib.sha256(content).hexdigest())
    if issued is None or issued.seq <= seq or issued.request_id != request_id:
        result.failed("ledger", f"{place}: {path} is not on record as issued for its request. Ask its issuer.")
        return
    rows = "its rows match them" if facts.rows_checked else "its rows are not in this export"
    result.passed(
        "ledger",
        f"{place}: {facts.events} events in an unbroken chain, the certificate is event {issued.seq}; {rows}",
        "The ledger's events are whole, and the certificate was issued where it says.",
    )
    if not facts.rows_checked:
        result.does_not_prove.append("That the ledger's rows match its events: an export holds the events alone.")
    later = facts.latest[request_id]
    if later > issued.seq:
        result.does_not_prove.append(
            f"How the request stands now: event {later} of the ledger issued a later certificate for it."
        )
    result.does_not_prove.append(
        f"That nothing was cut off after event {facts.events}, the ledger's last: only a head written down elsewhere "
        "shows that (`expunge ledger anchor`)."
    )
