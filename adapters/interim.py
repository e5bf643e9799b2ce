"""What does a certificate say while a prefix of the request is kept, and how does the final one follow from it?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from adapters import clock, prefixes
from adapters.project import current_project
from expunge.compliance.certificate import build_statement, load_or_create_signing_key, sign, write_certificate
from expunge.compliance.ledger import Ledger
from expunge.compliance.rows import CertificateEntry
from expunge.compliance.verify.canonical import Malformed
from expunge.compliance.verify.envelope import open_envelope
from expunge.errors import IntegrityError

INTERIM = "interim"
"""Status of a run whose requests wait for the end of its prefix."""


def certificate_name(request_id: str, interim: bool) -> str:
    """File name of a certificate; the final one lies beside the interim one that it replaces."""
    return f"{request_id}.{'interim.' if interim else ''}certificate.json"


def for_request(listed: list[dict[str, Any]], request_id: str, run_id: str) -> tuple[list[dict[str, Any]], date | None]:
    """A purge's list for one request, and the day by which what is kept of its records is destroyed (None: nothing).

    Prefix checkpoints carry the share of the privacy loss of the request's own records that was spent by then; those
    that did not see them are left out.
    """
    own = next((p for p in prefixes.waited_for_by(request_id) if p.run_id == run_id), None)
    others = [part for part in listed if part["kind"] != prefixes.KIND or part["action"] != "kept"]
    if own is None:
        return others, None
    shares = {c.sha256: share for c, share in own.manifest.of_request(request_id)}
    mine = [
        {**part, "loss_share": shares[part["content_hash"]]}
        for part in listed
        if part["kind"] == prefixes.KIND and part["action"] == "kept" and part["content_hash"] in shares
    ]
    return [*others, *mine], own.destroy_by


def scan_words(rescan: Mapping[str, Any], listed: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A purge's second scan as it is true of what is listed: it does not look for the prefix that is kept."""
    kept = [part for part in listed if part["kind"] == prefixes.KIND and part["action"] == "kept"]
    if not kept:
        return dict(rescan)
    until = min(str(part["destroy_by"]) for part in kept)
    return {**rescan, "words": f"{rescan['words']}; but for {len(kept)} prefix checkpoints kept until {until}"}


def interim_limits(until: date | None) -> list[str]:
    """What an interim certificate does not prove."""
    if until is None:
        return []
    return [
        f"Interim: checkpoints that saw the records are kept until {until} at the latest, restricted to starting later"
        " rewinds. The request stays open until they are destroyed and a final certificate says so."
    ]


def waiting_requests(ledger: Ledger, run_id: str) -> frozenset[str]:
    """Requests of a run that are certified in the interim only."""
    found = set()
    for request_id in ledger.get_run(run_id).details.get("requests", []):
        issued = [c for c in ledger.certificates(request_id) if c.run_id == run_id]
        if issued and all(c.interim for c in issued):
            found.add(request_id)
    return frozenset(found)


def replaced(ledger: Ledger, request_id: str, run_id: str) -> CertificateEntry:
    """The interim certificate that a final one replaces."""
    return [c for c in ledger.certificates(request_id) if c.run_id == run_id and c.interim][-1]


def final_certificate(
    ledger: Ledger, request_id: str, run_id: str, rescan: Mapping[str, Any], method: str
) -> CertificateEntry:
    """Write and record the final certificate: the interim one with the prefix destroyed and a scan of today.

    What was tested and which model was promoted stand as they were certified then. Raises IntegrityError where the
    interim certificate is not the one that was issued.
    """
    project = current_project()
    before = replaced(ledger, request_id, run_id)
    predicate = _predicate(before)
    rows = {
        t.content_hash: t
        for t in ledger.tombstones(status="destroyed")
        if t.kind == prefixes.KIND and t.run_id == run_id
    }
    head = ledger.head()
    until = [part["destroy_by"] for part in predicate["artifacts"] if part["destroy_by"]]
    gone = sorted(str(t.details.get("destroyed_on", "")) for t in rows.values())
    late = max((int(t.details.get("days_late", 0)) for t in rows.values()), default=0)
    predicate |= {
        "interim": False,
        "issued_at": clock.now(),
        "artifacts": [_ended(part, rows, method) for part in predicate["artifacts"]],
        "rescan": dict(rescan),
        "limits": list(clock.limits()),
        "ledger": {"head_hash": head.hash, "seq": head.seq, "ledger_id": ledger.ledger_id},
        "details": {
            **predicate["details"],
            "replaces": {"path": before.path, "sha256": before.sha256},
            "prefix": {
                "destroy_by": min(until, default=None),
                "destroyed_on": gone[-1] if gone else None,
                "days_late": late,
            },
        },
    }
    model = predicate["model"]
    statement = build_statement([{"name": model["name"], "digest": {"sha256": model["sha256"]}}], predicate)
    path = project.certificates / certificate_name(request_id, interim=False)
    digest = write_certificate(path, sign(statement, load_or_create_signing_key(project.signing_key)))
    return ledger.add_certificate(request_id, str(path.relative_to(project.state)), digest, run_id)


def _ended(part: dict[str, Any], rows: Mapping[str | None, Any], method: str) -> dict[str, Any]:
    if part["kind"] != prefixes.KIND or part["action"] != "kept":
        return part
    row = rows.get(part["content_hash"])
    if row is None:
        raise IntegrityError(
            f"Prefix checkpoint {part['name']} is certified as kept, and the ledger does not know its end.",
            "Run `expunge run-due` again; if that does not help, restore the ledger from a backup.",
        )
    return {**part, "action": "destroyed", "method": row.method or method, "reason": None}


def _predicate(entry: CertificateEntry) -> dict[str, Any]:
    path = current_project().state / entry.path
    restore = "Restore it from a backup: the final certificate replaces it and repeats its evidence."
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"The interim certificate {path} cannot be read: {error.strerror}.", restore) from error
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise IntegrityError(f"The interim certificate {path} is not the one that was issued.", restore)
    try:
        predicate: dict[str, Any] = json.loads(open_envelope(content)[0])["predicate"]
    except (Malformed, ValueError, KeyError) as error:
        raise IntegrityError(f"The interim certificate {path} cannot be read: {error}.", restore) from error
    return predicate
