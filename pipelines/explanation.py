"""One request in words: what the ledger says, and what its certificate says where it is answered. Starts nothing.

Light: neither ZenML nor torch is imported, so the answer is there at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from adapters.ledger import open_ledger
from adapters.project import Project
from expunge.compliance.ledger import Ledger, Request
from expunge.compliance.verify.canonical import Malformed
from expunge.compliance.verify.envelope import open_envelope
from expunge.errors import IntegrityError, NotFoundError
from expunge.reporting.request_words import RequestFacts, explain_request


def explanation(project: Project, request_id: str) -> tuple[Request, str]:
    """The request as it is on the ledger, and one paragraph about it.

    Raises:
        NotFoundError: no such request.
        IntegrityError: its certificate is not the one that was issued.
    """
    with open_ledger(project) as ledger:
        try:
            request = ledger.get_request(request_id)
        except NotFoundError as error:
            raise NotFoundError(error.message, "See them all with `expunge request list`.") from error
        return request, explain_request(request, _facts(ledger, project, request))


def _facts(ledger: Ledger, project: Project, request: Request) -> RequestFacts:
    records = ledger.request_records(request.id)
    run = None if request.run_id is None or request.status != "closed" else ledger.get_run(request.run_id)
    return RequestFacts(
        records=len(records),
        unknown=sum(record.status == "not_found" for record in records),
        days_left=next((due.days_left for due in ledger.due_requests() if due.request.id == request.id), None),
        together=len(run.details.get("requests", [request.id])) if run else 1,
        fallback=bool(run and run.fallback_reason),
        certificate=_certificate(ledger, project, request.id),
        original=ledger.get_request(request.duplicate_of) if request.duplicate_of else None,
    )


def _certificate(ledger: Ledger, project: Project, request_id: str) -> Mapping[str, Any] | None:
    """What the newest certificate of a request states, its bytes compared with the ledger's digest."""
    issued = ledger.certificates(request_id)
    if not issued:
        return None
    path = project.state / issued[-1].path
    if not path.is_file():
        return None
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != issued[-1].sha256:
        raise IntegrityError(f"The certificate {path} is not the one that was issued.", f"See `expunge verify {path}`.")
    try:
        statement = json.loads(open_envelope(content)[0])
    except (Malformed, ValueError) as error:
        raise IntegrityError(f"The certificate {path} cannot be read: {error}.", "Restore it from a backup.") from error
    predicate: Mapping[str, Any] = statement["predicate"]
    return predicate
