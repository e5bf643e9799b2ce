"""How does a request enter the ledger? Once, whatever comes in twice, and never without an answer.

What becomes of it at once:
* every record is in an open or finished request already, one that does not wait for proof of identity, or erased
  already -> `duplicate` (`duplicate_of`, outcome "duplicate" or "already_erased");
* none of its records is known, or it names none -> `not_found`;
* some are unknown -> the request goes on for the rest; the unknown ones are listed with the record status
  `not_found`, and `details["unknown_records"]` counts them, so that the answer can say so;
* the identity is in doubt, or matches several people -> `identity_unverified`; its deadline runs on until the person
  is asked for proof (`Contact.hold`);
* otherwise `received`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

from expunge.compliance import chain, deadlines, models
from expunge.compliance.already_there import Seen
from expunge.compliance.canonical import canonical_text, sha256_of
from expunge.compliance.lifecycle import Status
from expunge.compliance.moments import date_to_text, to_text
from expunge.compliance.new_request import Added, NewRequest, check
from expunge.compliance.progress import AMBIGUOUS, CONTENT_KEY
from expunge.compliance.row_digests import digest_of_rows
from expunge.compliance.rows import Request
from expunge.compliance.store import Store
from expunge.errors import UsageError

_LISTED = 20

__all__ = ["Added", "Intake", "NewRequest"]


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
        """Take several requests in, all or none, in one transaction. Raises as `add_request`, for all at once."""
        faults: list[UsageError] = []
        checked: list[tuple[NewRequest, dict[str, Any]]] = []
        for new in requests:
            try:
                checked.append((new, self._request_row(new)))
            except UsageError as error:
                faults.append(error)
        _raise_all(faults)
        with self._write() as connection:
            return self._add_all(connection, checked)

    def _request_row(self, new: NewRequest) -> dict[str, Any]:
        check(new)
        regulation = deadlines.regulation_name(new.regulation)
        deadline = deadlines.due(regulation, new.received_at, self._settings.holidays, self._settings.timezone)
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

    def _add_all(self, connection: Connection, checked: Sequence[tuple[NewRequest, dict[str, Any]]]) -> list[Added]:
        """Every answer is worked out against what is looked up once, and everything is written once."""
        aliases = [
            {self._pseudonyms.record(name): self._pseudonyms.records(name) for name in new.record_ids}
            for new, _ in checked
        ]
        people = [
            self._pseudonyms.identities(new.subject_identity) if new.subject_identity else () for new, _ in checked
        ]
        seen = Seen.look_up(connection, [new.request_id for new, _ in checked], aliases, people)
        added: list[Added] = []
        faults: list[UsageError] = []
        requests: list[dict[str, Any]] = []
        records: list[dict[str, Any]] = []
        entries: list[chain.Entry] = []
        for (new, row), names, person in zip(checked, aliases, people, strict=True):
            found = seen.requests.get(new.request_id)
            if found is not None:
                if self._same_content(new, row, found):
                    added.append(Added(found, created=False))
                else:
                    faults.append(_other_content(new.request_id))
                continue
            unknown = self._complete(new, row, names, person, seen)
            mine = [
                {
                    "request_id": new.request_id,
                    "record_pseudonym": name,
                    "status": "not_found" if name in unknown else "requested",
                    "key_id": self._pseudonyms.key_id,
                }
                for name in sorted(names)
            ]
            requests.append(row)
            records.extend(mine)
            entries.append(self._received(row, mine, len(unknown)))
            made = Request.from_row(row)
            seen.note(made, [name for name in names if name not in unknown])
            added.append(Added(made, created=True))
        _raise_all(faults)
        if requests:
            connection.execute(insert(models.request), requests)
            if records:
                connection.execute(insert(models.request_record), records)
            chain.append_all(connection, entries, now=self._now())
        return added

    def _received(self, row: Mapping[str, Any], records: Sequence[Mapping[str, Any]], unknown: int) -> chain.Entry:
        payload = {
            "status": row["status"],
            "regulation": row["regulation"],
            "due_at": row["due_at"],
            "records": len(records),
            "unknown_records": unknown,
        }
        digest = digest_of_rows({models.request: [row], models.request_record: records})
        return chain.Entry("request.received", self._payload(payload, {f"request/{row['id']}": digest}), row["id"])

    def _complete(
        self,
        new: NewRequest,
        row: dict[str, Any],
        aliases: Mapping[str, tuple[str, ...]],
        person: Sequence[str],
        seen: Seen,
    ) -> set[str]:
        """Fill in the first state and the details of a new request; returns its unknown records."""
        unknown = set()
        if new.known_record_pseudonyms is not None:
            unknown = {
                current
                for current, names in aliases.items()
                if current not in seen.erased
                and current not in seen.asked
                and not any(name in new.known_record_pseudonyms for name in names)
            }
        row.update(self._first_state(new, [name for name in aliases if name not in unknown], person, seen))
        details = {**new.details, "content_sha256": self._content(new, row, self._pseudonyms.key_id)}
        if unknown:
            details["unknown_records"] = len(unknown)
        if not new.identity_verified:
            details["identity_verified"] = False
        if new.ambiguous:
            details["candidate_pseudonyms"] = [self._pseudonyms.identity(one) for one in new.candidates]
        row["details"] = canonical_text(details)
        return unknown

    def _first_state(self, new: NewRequest, wanted: Sequence[str], person: Sequence[str], seen: Seen) -> dict[str, Any]:
        now = to_text(self._now())
        if new.ambiguous:
            return {"status": Status.IDENTITY_UNVERIFIED, "outcome": AMBIGUOUS}
        if not wanted:
            earlier = seen.erased_person(person) if not new.record_ids else None
            if earlier is not None:
                state = {"status": Status.DUPLICATE, "outcome": "already_erased"}
                return {**state, "duplicate_of": earlier, "answered_at": now}
            return {"status": Status.NOT_FOUND, "outcome": "not_found", "answered_at": now}
        if all(name in seen.erased for name in wanted):
            original = min(seen.erased[name] for name in wanted)
            state = {"status": Status.DUPLICATE, "outcome": "already_erased"}
            return {**state, "duplicate_of": original, "answered_at": now}
        covering = seen.covering(wanted)
        if covering is not None:
            state = {"status": Status.DUPLICATE, "outcome": "duplicate"}
            return {**state, "duplicate_of": covering, "answered_at": now}
        if not new.identity_verified:
            return {"status": Status.IDENTITY_UNVERIFIED}
        return {"status": Status.RECEIVED}

    def _same_content(self, new: NewRequest, row: Mapping[str, Any], found: Request) -> bool:
        recorded, key_id = found.details.get("content_sha256"), found.details.get(CONTENT_KEY, found.key_id)
        if recorded == self._content(new, row, key_id):
            return True
        # a ledger of an earlier version noted what was found, not what was asked
        resolved = replace(new, named_identities=None, named_records=None)
        return recorded == self._content(resolved, row, key_id)

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
        people = [new.subject_identity] if new.subject_identity else []
        if new.named_identities is not None:
            people = list(new.named_identities)
        subjects = sorted(self._pseudonyms.identities(one)[index] for one in people)
        records = new.record_ids if new.named_records is None else new.named_records
        return sha256_of(
            {
                "subject": subjects if len(subjects) > 1 else next(iter(subjects), None),
                "records": sorted({self._pseudonyms.records(name)[index] for name in records}),
                "regulation": row["regulation"],
                "type": row["subject_request_type"],
            }
        )


def _other_content(request_id: str) -> UsageError:
    return UsageError(
        f"Request {request_id} is on the ledger with another content.",
        "A changed request needs a new id; cancel the old one if it no longer holds.",
    )


def _raise_all(faults: Sequence[UsageError]) -> None:
    if len(faults) == 1:
        raise faults[0]
    if faults:
        listed = [f"  {fault}" for fault in faults[:_LISTED]]
        if len(faults) > _LISTED:
            listed.append(f"  and {len(faults) - _LISTED} more")
        raise UsageError("\n".join([f"{len(faults)} requests cannot be taken in:", *listed]), "Nothing was changed.")
