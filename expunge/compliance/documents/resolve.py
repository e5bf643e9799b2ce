"""Which records does a request mean? Compared with a table's ids; who cannot be told apart is ambiguous."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from expunge.compliance.documents.incoming import Incoming
from expunge.compliance.intake import NewRequest


class People:
    """Who owns which records of a table, for any number of look-ups."""

    def __init__(self, record_ids: Sequence[str], subject_ids: Sequence[str]) -> None:
        self.owner = dict(zip(record_ids, subject_ids, strict=True))
        self._owned: dict[str, list[str]] = {}
        for record_id, subject_id in self.owner.items():
            self._owned.setdefault(subject_id, []).append(record_id)

    def records_of(self, subject_id: str) -> tuple[str, ...]:
        """All records of a person; none of an unknown one."""
        return tuple(self._owned.get(subject_id, ()))


def resolve(incoming: Incoming, people: People, now: datetime, regulation: str) -> NewRequest:
    """What the ledger is told of a request.

    Records named one by one are meant alone; without any, all of the person's are. It is ambiguous if its identities
    belong to different people, or if a record that it names belongs to somebody else. A request without a time of
    receipt counts from when it was submitted, so that its deadline is never too late; without that, from `now`.
    `regulation` is that of requests that name none.
    """
    known = [one for one in incoming.subjects if people.records_of(one)]
    owners = {people.owner[one] for one in incoming.record_ids if one in people.owner}
    strangers = owners - set(incoming.subjects) if incoming.subjects else set()
    ambiguous = len(known) > 1 or bool(strangers)
    records: tuple[str, ...] = incoming.record_ids
    if not records and not ambiguous and known:
        records = people.records_of(known[0])
    details: dict[str, Any] = {"kind": "records" if incoming.record_ids else "person"}
    if incoming.unmatched:
        details["unmatched_identities"] = incoming.unmatched
    unknown = len(incoming.subjects) - len(known)
    if known and unknown:
        details["unknown_identities"] = unknown
    return NewRequest(
        incoming.request_id,
        next(iter((*known, *incoming.subjects)), None),
        records,
        incoming.regulation or regulation,
        incoming.received_at or incoming.submitted_time or now,
        submitted_time=incoming.submitted_time,
        identity_verified=incoming.identity_verified,
        ambiguous=ambiguous,
        status_callback_urls=incoming.status_callback_urls,
        details=details,
        named_identities=incoming.subjects,
        named_records=incoming.record_ids,
        candidates=tuple(sorted({*known, *strangers})) if ambiguous else (),
    )
