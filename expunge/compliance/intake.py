"""How does a request enter the ledger? Once, whatever comes in twice, and never without an answer.

What becomes of it at once:
* every record is in an open or finished request already, or erased already -> `duplicate` (`duplicate_of`, outcome
  "duplicate" or "already_erased");
* none of its records is known, or it names none -> `not_found`;
* some are unknown -> the request goes on for the rest; the unknown ones are listed with the record status
  `not_found`, and `details["unknown_records"]` counts them, so that the answer can say so;
* the identity is in doubt, or matches several people -> `identity_unverified`;
* otherwise `received`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select

from expunge.compliance import deadlines, models
from expunge.compliance.canonical import canonical_text, sha256_of
from expunge.compliance.lifecycle import RELEASES_DUPLICATES, Status
from expunge.compliance.moments import date_to_text, to_text
from expunge.compliance.rows import Request
from expunge.compliance.store import Store
from expunge.errors import UsageError

ERASURE_TYPES = ("erasure", "deletion")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_BATCH = 500  # values in one IN (...): far below every database's limit


@dataclass(frozen=True)
class NewRequest:
    """What a controller sends. Raw ids live only in this value; the ledger stores their pseudonyms.

    `known_record_pseudonyms`: pseudonyms (current key) of the ids that exist; None when the caller did not look.
    """

    request_id: str
    subject_identity: str | None
    record_ids: Sequence[str]
    regulation: str
    received_at: datetime
    submitted_time: datetime | None = None
    subject_request_type: str = "erasure"
    known_record_pseudonyms: Collection[str] | None = None
    identity_verified: bool = True
    ambiguous: bool = False
    status_callback_urls: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


class Added(NamedTuple):
    """The request as it is on the ledger, and whether this call put it there."""

    request: Request
    created: bool


class Intake(Store):
    """The chapter of the ledger that takes requests in."""

    def add_request(
        self,
        request_id: str,
        subject_identity: str | None,
        record_ids: Sequence[str],
        regulation: str,
        received_at: datetime,
        **more: Any,
    ) -> Added:
        """Take one request in; `more` are the other fields of `NewRequest`.

        The same request again returns what is on the ledger and changes nothing: the first time of receipt counts.
        Raises UsageError for the same id with another person, other records or another regulation,
        a naive time, an unusable id, an unknown regulation, or nothing to act on.
        """
        return self.add_requests(
            [NewRequest(request_id, subject_identity, record_ids, regulation, received_at, **more)]
        )[0]

    def add_requests(self, requests: Iterable[NewRequest]) -> list[Added]:
        """Take several requests in, all or none, in one transaction. Raises as `add_request`."""
        checked = [(new, self._request_row(new)) for new in requests]
        with self._write() as connection:
            return [self._add(connection, new, row) for new, row in checked]

    def _request_row(self, new: NewRequest) -> dict[str, Any]:
        if not isinstance(new.request_id, str) or not _ID.fullmatch(new.request_id):
            raise UsageError(
                f"The request id {new.request_id!r} cannot be used.",
                "Use 1 to 128 letters, digits, dots, dashes or underscores (a UUID); never a name or an address.",
            )
        if new.subject_request_type not in ERASURE_TYPES:
            raise UsageError(
                f"Request {new.request_id} is of type {new.subject_request_type!r}.",
                "This ledger answers erasure requests.",
            )
        if not new.subject_identity and not new.record_ids:
            raise UsageError(f"Request {new.request_id} names neither a person nor a record.", "Give one of the two.")
        if isinstance(new.record_ids, str):
            raise UsageError(f"The record ids of request {new.request_id} are one text.", "Pass a list.")
        regulation = deadlines.regulation_name(new.regulation)
        deadline = deadlines.due(regulation, new.received_at, self._settings.holidays, self._settings.timezone)
        for url in new.status_callback_urls:
            if not str(url).startswith(("https://", "http://")):
                raise UsageError(f"Request {new.request_id}: {url!r} is not a callback URL.", "Use https://.")
        _refuse_raw(new)
        row: dict[str, Any] = {column.name: None for column in models.request.columns}
        row.update(
            id=new.request_id,
            subject_pseudonym=self._pseudonyms.identity(new.subject_identity) if new.subject_identity else None,
            regulation=regulation,
            subject_request_type=new.subject_request_type,
            received_at=to_text(new.received_at, "The time of receipt"),
            submitted_time=to_text(new.submitted_time, "The time of submission"),
            due_at=date_to_text(deadline.due_at),
            due_rule=deadline.rule,
            acknowledge_by=date_to_text(deadline.acknowledge_by),
            status_callback_urls=canonical_text(list(new.status_callback_urls)),
            key_id=self._pseudonyms.key_id,
        )
        return row

    def _add(self, connection: Connection, new: NewRequest, row: dict[str, Any]) -> Added:
        existing = self._row(connection, models.request, "id", new.request_id)
        if existing is not None:
            found = Request.from_row(existing)
            if not self._same_content(new, row, found):
                raise UsageError(
                    f"Request {new.request_id} is on the ledger with another content.",
                    "A changed request needs a new id; cancel the old one if it no longer holds.",
                )
            return Added(found, created=False)
        aliases = {self._pseudonyms.record(name): self._pseudonyms.records(name) for name in new.record_ids}
        erased = self._erased(connection, aliases)
        unknown = set()
        if new.known_record_pseudonyms is not None:
            unknown = {
                current
                for current, names in aliases.items()
                if current not in erased and not any(name in new.known_record_pseudonyms for name in names)
            }
        row.update(self._first_state(connection, new, aliases, unknown, erased))
        details = {**new.details, "content_sha256": self._content(new, row, self._pseudonyms.key_id)}
        if unknown:
            details["unknown_records"] = len(unknown)
        if not new.identity_verified:
            details["identity_verified"] = False
        row["details"] = canonical_text(details)
        connection.execute(insert(models.request).values(row))
        if aliases:
            connection.execute(
                insert(models.request_record),
                [
                    {
                        "request_id": new.request_id,
                        "record_pseudonym": name,
                        "status": "not_found" if name in unknown else "requested",
                        "key_id": self._pseudonyms.key_id,
                    }
                    for name in sorted(aliases)
                ],
            )
        self._event(
            connection,
            "request.received",
            {
                "status": row["status"],
                "regulation": row["regulation"],
                "due_at": row["due_at"],
                "records": len(aliases),
                "unknown_records": len(unknown),
            },
            touched=[f"request/{new.request_id}"],
            request_id=new.request_id,
        )
        return Added(Request.from_row(row), created=True)

    def _first_state(
        self,
        connection: Connection,
        new: NewRequest,
        aliases: Mapping[str, tuple[str, ...]],
        unknown: set[str],
        erased: Mapping[str, str],
    ) -> dict[str, Any]:
        now = to_text(self._now())
        if new.ambiguous:
            state = {"status": Status.IDENTITY_UNVERIFIED, "outcome": "ambiguous_identity"}
            return {**state, "identity_requested_at": now}
        wanted = {name: names for name, names in aliases.items() if name not in unknown}
        if not wanted:
            return {"status": Status.NOT_FOUND, "outcome": "not_found", "answered_at": now}
        if all(name in erased for name in wanted):
            original = min(erased[name] for name in wanted)
            state = {"status": Status.DUPLICATE, "outcome": "already_erased"}
            return {**state, "duplicate_of": original, "answered_at": now}
        covering = self._covering_request(connection, wanted)
        if covering is not None:
            state = {"status": Status.DUPLICATE, "outcome": "duplicate"}
            return {**state, "duplicate_of": covering, "answered_at": now}
        if not new.identity_verified:
            return {"status": Status.IDENTITY_UNVERIFIED, "identity_requested_at": now}
        return {"status": Status.RECEIVED}

    def _erased(self, connection: Connection, aliases: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
        """Current pseudonym -> request that erased it, for the records that are erased already."""
        table = models.erased_record
        current = {alias: name for name, names in aliases.items() for alias in names}
        found = {}
        for chunk in _chunks(sorted(current)):
            query = select(table).where(table.c.record_pseudonym.in_(chunk), table.c.erased_at.is_not(None))
            for row in connection.execute(query):
                found[current[row.record_pseudonym]] = row.request_id
        return found

    def _covering_request(self, connection: Connection, wanted: Mapping[str, tuple[str, ...]]) -> str | None:
        """The earliest request, still standing, that already asks for every wanted record."""
        record, request = models.request_record, models.request
        current = {alias: name for name, names in wanted.items() for alias in names}
        covered: dict[tuple[str, str], set[str]] = {}
        passed_over = [status.value for status in (*RELEASES_DUPLICATES, Status.DUPLICATE)]
        for chunk in _chunks(sorted(current)):
            query = (
                select(record.c.request_id, record.c.record_pseudonym, request.c.received_at)
                .join(request, request.c.id == record.c.request_id)
                .where(record.c.record_pseudonym.in_(chunk), record.c.status != "not_found")
                .where(request.c.status.not_in(passed_over))
            )
            for row in connection.execute(query):
                covered.setdefault((row.received_at, row.request_id), set()).add(current[row.record_pseudonym])
        whole = sorted(key for key, names in covered.items() if len(names) == len(wanted))
        return whole[0][1] if whole else None

    def _same_content(self, new: NewRequest, row: Mapping[str, Any], found: Request) -> bool:
        return found.details.get("content_sha256") == self._content(new, row, found.key_id)

    def _content(self, new: NewRequest, row: Mapping[str, Any], key_id: str) -> str:
        """Digest of what was asked, under the key that the request was taken in with.

        Not of when it came in: a controller that sends it again sends it later, and the first receipt counts.
        """
        ids = self._pseudonyms.key_ids
        if key_id not in ids:
            raise UsageError(
                f"Request {new.request_id} was taken in under the key {key_id}, which is not at hand.",
                "Add the retired key below the current one in the key file.",
            )
        index = ids.index(key_id)
        subject = self._pseudonyms.identities(new.subject_identity)[index] if new.subject_identity else None
        return sha256_of(
            {
                "subject": subject,
                "records": sorted({self._pseudonyms.records(name)[index] for name in new.record_ids}),
                "regulation": row["regulation"],
                "type": row["subject_request_type"],
            }
        )


def _chunks(values: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]


def _refuse_raw(new: NewRequest) -> None:
    """The free fields must not carry what the pseudonyms hide."""
    raw = set(new.record_ids)
    for text in _texts([dict(new.details), list(new.status_callback_urls), new.request_id]):
        if text in raw or (new.subject_identity and new.subject_identity in text):
            raise UsageError(
                f"Request {new.request_id} repeats the person or a record id in its details, callback or id.",
                "The ledger keeps pseudonyms only: leave it out.",
            )


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from _texts(key)
            yield from _texts(child)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from _texts(child)
