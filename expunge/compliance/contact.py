"""What passes between the controller and the person while a request waits? Receipt confirmed, proof of identity asked
for and given, and which of several people was meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert

from expunge.compliance import models
from expunge.compliance.canonical import canonical_text
from expunge.compliance.lifecycle import IllegalMove, Status, check_move
from expunge.compliance.moments import date_to_text, require_aware, to_text
from expunge.compliance.progress import AMBIGUOUS, CONTENT_KEY, Progress
from expunge.compliance.rows import Request
from expunge.errors import UsageError

_SKEW = timedelta(minutes=5)
"""How far another clock may be ahead of ours."""


class Contact(Progress):
    """The chapter of the ledger on the person who asked."""

    def acknowledge(self, request_id: str, at: datetime | None = None) -> Request:
        """Record that receipt was confirmed to the person (CCPA: within 10 business days); the first time counts.

        Raises UsageError for a moment before the request came in or still to come; NotFoundError.
        """
        with self._write() as connection:
            request = self._request(connection, request_id)
            if request.acknowledged_at is not None:
                return request
            moment = self._moment(request, at, "acknowledged")
            details = canonical_text({**request.details, "acknowledged_at": to_text(moment)})
            by = date_to_text(request.acknowledge_by)
            return self._update(connection, request, "request.acknowledged", {"details": details}, {"by": by})

    def hold(self, request_id: str, at: datetime | None = None) -> Request:
        """Ask for proof of identity, at that moment or now: the request waits, and a GDPR clock stands still.

        Of a request that came in in doubt it says when the person was asked; until then its deadline runs on. Again
        changes nothing. The requests that were answered as duplicates of this one are open again. Raises IllegalMove
        once the request is accepted or answered; UsageError as `acknowledge`; NotFoundError.
        """
        with self._write() as connection:
            request = self._request(connection, request_id)
            if request.status == Status.IDENTITY_UNVERIFIED and request.identity_requested_at is not None:
                return request
            if request.status != Status.IDENTITY_UNVERIFIED:
                check_move(request.status, Status.IDENTITY_UNVERIFIED, request_id)
            moment = self._moment(request, at, "asked for proof")
            return self._move(connection, request, Status.IDENTITY_UNVERIFIED, None, {"identity_requested_at": moment})

    def confirm(self, request_id: str, at: datetime | None = None) -> Request:
        """The proof of identity is there, at that moment or now: the request is accepted, and its clock goes on.

        Again changes nothing. Raises IllegalMove for a request that does not wait for proof, or that fits more than
        one person (`identify` it first); UsageError as `acknowledge`; NotFoundError.
        """
        with self._write() as connection:
            request = self._request(connection, request_id)
            if request.identity_confirmed_at is not None and request.status != Status.IDENTITY_UNVERIFIED:
                return request
            if request.status != Status.IDENTITY_UNVERIFIED:
                raise IllegalMove(
                    f"Request {request_id} is {request.status}: it does not wait for proof of identity.",
                    "Only a request on hold can be confirmed.",
                )
            moment = self._moment(request, at, "confirmed")
            return self._move(connection, request, Status.ACCEPTED, None, {"identity_confirmed_at": moment})

    def identify(self, request_id: str, subject_identity: str, record_ids: Sequence[str]) -> Request:
        """Say whom an ambiguous request means, and which records: those alone remain in it, under the current key.

        The requests that were answered as its duplicates are open again: it may mean less than it did. It goes on
        waiting for its proof of identity. Raises IllegalMove for a request that is not ambiguous;
        UsageError for a person who was not among those who fit, or without a record; NotFoundError.
        """
        with self._write() as connection:
            request = self._request(connection, request_id)
            if request.status != Status.IDENTITY_UNVERIFIED or request.outcome != AMBIGUOUS:
                raise IllegalMove(
                    f"Request {request_id} is {request.status}, and does not fit more than one person.",
                    "Confirm it without naming anybody.",
                )
            fitting = set(request.details.get("candidate_pseudonyms", []))
            if fitting.isdisjoint(self._pseudonyms.identities(subject_identity)):
                raise UsageError(f"That person does not fit request {request_id}.", "Name one of those who do.")
            if not record_ids:
                raise UsageError(
                    f"Request {request_id} means no record of that person.",
                    "Name another who fits, or refuse it (ground 12(6)).",
                )
            names = sorted({self._pseudonyms.record(one) for one in record_ids})
            table, key_id = models.request_record, self._pseudonyms.key_id
            connection.execute(delete(table).where(table.c.request_id == request_id))
            connection.execute(
                insert(table),
                [
                    {"request_id": request_id, "record_pseudonym": name, "status": "requested", "key_id": key_id}
                    for name in names
                ],
            )
            settled = ("candidate_pseudonyms", "unknown_records")
            details = {name: value for name, value in request.details.items() if name not in settled}
            if key_id != request.key_id:
                details.setdefault(CONTENT_KEY, request.key_id)
            values: dict[str, Any] = {
                "subject_pseudonym": self._pseudonyms.identity(subject_identity),
                "outcome": None,
                "key_id": key_id,
                "details": canonical_text(details),
            }
            identified = self._update(connection, request, "request.identified", values, {"records": len(names)})
            self._reopen_duplicates(connection, request_id)
            return identified

    def _moment(self, request: Request, at: datetime | None, what: str) -> datetime:
        """That moment, or now; it lies between the receipt of the request and now."""
        moment = self._now() if at is None else require_aware(at, "The time")
        if not request.received_at - _SKEW <= moment <= self._now() + _SKEW:
            raise UsageError(
                f"Request {request.id} came in at {request.received_at:%Y-%m-%dT%H:%MZ}; it cannot have been {what} at "
                f"{moment:%Y-%m-%dT%H:%MZ}.",
                "Give the time at which it really was.",
            )
        return moment
