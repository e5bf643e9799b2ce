"""Is the ledger still the one whose head was written down elsewhere?

A chain shows every change but one: that its end was cut off, or that all of it was written anew. A head kept where
the ledger's writer cannot reach shows that too. An anchor file holds one head a line, canonical JSON:
`{"at", "hash", "key_id", "ledger_id", "seq"}`; an export of the chain serves as well, by its first line.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from .canonical import Malformed, read_canonical
from .ledger_file import EXPORT_FORMAT, GENESIS, LedgerFacts
from .outcome import NOT_FOUND, Verification

HEAD_FILE = "ledger.head"
FIELDS = {"at", "hash", "key_id", "ledger_id", "seq"}


def check_anchors(result: Verification, path: Path, facts: LedgerFacts, known_keys: Collection[str]) -> None:
    """Note whether the ledger holds every head of the file, and every signing key that stood there is still known."""
    try:
        anchors = read_anchors(path)
    except OSError as error:
        result.failed("anchor", f"{path} cannot be read: {error.strerror or error}. Check the path.", NOT_FOUND)
        return
    except Malformed as error:
        result.failed("anchor", f"{path} holds no ledger heads: {error}. Use one made by `expunge ledger anchor`.")
        return
    before = len(result.failures)
    for anchor in anchors:
        _check(result, path, anchor, facts, known_keys)
    if len(result.failures) == before:
        result.passed(
            "anchor",
            f"{path}: the ledger holds all {len(anchors)} heads that were written down, the last of event "
            f"{anchors[-1]['seq']}",
            f"Up to event {anchors[-1]['seq']} the ledger is the one whose heads were kept elsewhere.",
        )


def check_head_file(result: Verification, state: Path, facts: LedgerFacts) -> None:
    """Note whether the ledger has the event that the head file beside it names, where there is one.

    It is written by the program itself, so it shows an older copy that was put back, and no forger who knows of it.
    """
    path = state / HEAD_FILE
    if not path.is_file():
        return
    try:
        ledger_id, seq, digest = path.read_text(encoding="ascii").split()
        anchor = {"ledger_id": ledger_id, "seq": int(seq), "hash": digest}
    except (OSError, ValueError):
        result.failed("anchor", f"{path} is not as the program writes it. Find out who changed it.")
        return
    _check(result, path, anchor, facts, ())


def read_anchors(path: Path) -> list[dict[str, Any]]:
    """The heads in a file. Raises OSError, and Malformed if it holds anything else."""
    lines = path.read_bytes().split(b"\n")
    if not lines[0]:
        raise Malformed("it is empty")
    first = read_canonical(lines[0])
    if isinstance(first, dict) and first.get("format") == EXPORT_FORMAT:
        seq, digest = first.get("events"), first.get("head_hash")
        if not _is_count(seq) or not isinstance(digest, str):
            raise Malformed("the first line of the export does not say how many events it has and how they end")
        return [{"seq": seq, "hash": digest}]
    anchors = [read_canonical(line) for line in lines if line]
    if any(not isinstance(one, dict) or set(one) != FIELDS or not _is_count(one["seq"]) for one in anchors):
        raise Malformed("a line does not consist of at, hash, key_id, ledger_id and seq")
    return anchors


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _check(
    result: Verification, path: Path, anchor: dict[str, Any], facts: LedgerFacts, known_keys: Collection[str]
) -> None:
    seq, when = anchor["seq"], f" (written down at {anchor['at']})" if "at" in anchor else ""
    remedy = "Keep the file as evidence and restore the ledger from a backup."
    if facts.ledger_id and anchor.get("ledger_id") not in (None, facts.ledger_id):
        result.failed("anchor", f"{path}: the head of event {seq} is of another ledger. Check the path.")
    elif seq and seq > facts.events:
        result.failed(
            "anchor",
            f"{path}: the ledger ends at event {facts.events} and had {seq}{when}: its end was cut off. {remedy}",
        )
    elif facts.hashes.get(seq, GENESIS if seq == 0 else None) != anchor["hash"]:
        result.failed(
            "anchor", f"{path}: event {seq} is not the one that was written down{when}: history was rewritten. {remedy}"
        )
    if known_keys and anchor.get("key_id") and anchor["key_id"] not in known_keys:
        result.failed(
            "anchor",
            f"{path}: the public key {anchor['key_id'][:16]}, which signed{when}, is not among the known ones: it was "
            "replaced. Restore it from a backup.",
        )
