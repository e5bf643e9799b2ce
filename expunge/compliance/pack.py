"""What does the ledger itself add to a certificate? The request's clock, who was told what and when, and in which words
the guarantee is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from expunge.compliance.ledger import Ledger
from expunge.compliance.moments import to_text
from expunge.compliance.rows import Event, Request, RequestRecord

Guarantee = Literal["exact", "certified", "empirical"]

EXACT = "The model was trained without the records, so it holds nothing of them by construction."
EMPIRICAL = {
    "oracle": "Tests found no difference from models retrained without the records; nothing is proven beyond them.",
    "pool": "Weaker evidence: tests found no difference from a pool of models trained earlier on parts of the data; no "
    "model was retrained without the records to compare with.",
    "oracle-free": "The weakest evidence: no model was retrained to compare with; the records only look like similar "
    "ones that the model never saw. A stronger test may find what these could not.",
}


def guarantee_words(guarantee: Guarantee, level: str, bound: dict[str, Any] | None = None) -> str:
    """What the guarantee's label means at this level of evidence; weaker evidence has visibly weaker words."""
    if guarantee == "exact":
        return EXACT
    if guarantee == "certified" and bound is not None:
        return f"A bound with all constants known: ({bound['epsilon']:g}, {bound['delta']:g}) from retraining."
    return EMPIRICAL.get(level, "Tests found no difference; nothing is proven beyond them.")


def request_part(request: Request) -> dict[str, Any]:
    """The request as its certificate states it, with the deadline that counted and the rule that gave it."""
    return {
        "id": request.id,
        "regulation": request.regulation,
        "received_at": request.received_at,
        "due_at": request.deadline.isoformat(),
        "due_rule": request.due_rule,
        "first_due_at": request.due_at.isoformat(),
        "subject_request_type": request.subject_request_type,
        "subject_pseudonym": request.subject_pseudonym,
        "key_id": request.key_id,
    }


def scope_part(records: Sequence[RequestRecord]) -> dict[str, Any]:
    """The records as the certificate names them. `key_id` is the key of their pseudonyms, which may have been replaced
    since the request came in; of several, all, with commas between them.
    """
    known = [one for one in records if one.status != "not_found"]
    pseudonyms = sorted({one.record_pseudonym for one in known})
    keys = ",".join(sorted({one.key_id for one in known}))
    return {"record_pseudonyms": pseudonyms, "count": len(pseudonyms), "key_id": keys or None}


def notices(ledger: Ledger, request: Request) -> list[dict[str, Any]]:
    """Who was told or asked what, from the request's row and its `notice.*` events, in the order of time.

    The reason of an extension is left out: it is free text and may speak of a person. It is on the ledger.
    """
    found: list[dict[str, Any]] = []
    for kind, at in (
        ("identity.requested", request.identity_requested_at),
        ("identity.confirmed", request.identity_confirmed_at),
    ):
        if at is not None:
            found.append({"kind": kind, "at": to_text(at)})
    if request.extended_to is not None:
        extended = request.extended_to.isoformat()
        told = to_text(request.extension_notice_at)
        found.append({"kind": "extension", "at": told, "extended_to": extended, "from": request.due_at.isoformat()})
    if request.acknowledge_by is not None:
        done = to_text(request.acknowledged_at)
        found.append({"kind": "acknowledgement", "at": done, "by": request.acknowledge_by.isoformat()})
    found += [_of_event(event) for event in ledger.events(request.id) if event.kind.startswith("notice.")]
    return sorted(found, key=lambda notice: notice["at"] or notice.get("by", ""))


def _of_event(event: Event) -> dict[str, Any]:
    payload = {name: value for name, value in event.payload.items() if name != "rows"}
    return {**payload, "kind": event.kind, "at": to_text(event.at), "seq": event.seq}
