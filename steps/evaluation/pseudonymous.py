"""Evidence outlives the records, so it names them as the ledger does."""

from __future__ import annotations

from adapters.ledger import pseudonymizer
from expunge.evaluation.evidence import Evidence


def pseudonymous(evidence: Evidence) -> Evidence:
    """The same evidence, records under their keyed pseudonyms."""
    name = pseudonymizer().record
    requests = [
        request.model_copy(
            update={"places": [p.model_copy(update={"record_id": name(p.record_id)}) for p in request.places]}
        )
        for request in evidence.requests
    ]
    return evidence.model_copy(update={"requests": requests})
