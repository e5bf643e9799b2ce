"""Is this ledger the newest there was, or did a backup bring back an older one? Then it has forgotten erasures."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapters.project import Project, current_project
from expunge.compliance.ledger import Ledger
from expunge.compliance.whole_file import write_whole
from expunge.errors import IntegrityError

HEAD_FILE = "ledger.head"


def write_head(ledger: Ledger, project: Project) -> None:
    """Write the end of the chain down beside the ledger, unless an end further on stands there."""
    path, head = project.state / HEAD_FILE, ledger.head()
    known = _written(path)
    if known is not None and known[0] >= head.seq:
        return
    write_whole(path, f"{ledger.ledger_id} {head.seq} {head.hash}\n".encode())


def require_current(ledger: Ledger, project: Project | None = None, certificates: bool = False) -> None:
    """Raise IntegrityError when the head file, or one of the certificates too, knows an event that this ledger lacks.

    What trains or destroys goes by the head file alone, so that removing it accepts an older ledger.
    """
    project = project or current_project()
    seq, where = _newest_known(ledger, project, certificates)
    if seq is None:
        return
    head = ledger.head()
    raise IntegrityError(
        f"The ledger ends at event {head.seq}, but {where} knows event {seq}, which it does not have: it is an older"
        " copy, or another ledger, and has forgotten what was erased since.",
        f"Restore the newest copy. If there is none: remove {HEAD_FILE}, add the requests of the certificates in"
        f" {project.certificates.name}/ again, and run `expunge purge`.",
    )


def erased_by_certificates(project: Project | None = None) -> set[str]:
    """Pseudonyms of the records that the certificates in the project's folder speak of: they outlive a lost ledger."""
    project = project or current_project()
    return {p for _, predicate in _certificates(project) for p in predicate["scope"]["record_pseudonyms"]}


def _newest_known(ledger: Ledger, project: Project, certificates: bool) -> tuple[int | None, str]:
    """The furthest event that somebody else wrote down and that this ledger lacks, and who; (None, "") without."""
    issued = _certificates(project) if certificates else ()
    known = [(part["ledger"], path.name) for path, part in issued if part.get("ledger")]
    claims = [(int(part["seq"]), str(part["head_hash"]), name) for part, name in known
              if part["ledger_id"] == ledger.ledger_id]  # fmt: skip
    if written := _written(project.state / HEAD_FILE):
        claims.append((*written, HEAD_FILE))
    hashes = _hashes(ledger, {seq for seq, _, _ in claims})
    lacking = [(seq, name) for seq, digest, name in claims if hashes.get(seq) != digest]
    return max(lacking) if lacking else (None, "")


def _hashes(ledger: Ledger, wanted: set[int]) -> dict[int, str]:
    return {e.seq: e.hash for seq in wanted for e in ledger.events(after=seq - 1, limit=1) if e.seq in wanted}


def _written(path: Path) -> tuple[int, str] | None:
    try:
        _, seq, digest = path.read_text().split()
        return int(seq), digest
    except (OSError, ValueError):
        return None


def _certificates(project: Project) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(project.certificates.glob("*.certificate.json")):
        try:
            yield path, json.loads(base64.b64decode(json.loads(path.read_bytes())["payload"]))["predicate"]
        except (ValueError, KeyError):  # `expunge doctor` names a certificate that cannot be read
            continue
