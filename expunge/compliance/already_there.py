"""What does the ledger know already of the requests that come in? Looked up once for all of them.

Ten thousand requests of a file cost a few dozen queries, not four each. What is taken in on the way is noted, so that
the second of two that ask for the same sees the first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from expunge.compliance import models
from expunge.compliance.lifecycle import FALLS_AWAY, RELEASES_DUPLICATES, Status
from expunge.compliance.moments import to_text
from expunge.compliance.rows import Request

_BATCH = 500  # values in one IN (...): far below every database's limit
_PASSED_OVER = frozenset({*RELEASES_DUPLICATES, Status.DUPLICATE})
_GONE = frozenset({*FALLS_AWAY, Status.DUPLICATE})
Aliases = Mapping[str, tuple[str, ...]]
"""Pseudonym of a record under the current key -> its pseudonyms under every key."""


@dataclass
class Seen:
    """requests: by id. erased: current pseudonym -> the request that erased it. standing: current pseudonym -> (time
    of receipt, id) of the requests that ask for it, still stand and do not wait for proof of identity. asked: current
    pseudonyms of the records that any open request asks for. people: pseudonym of a person, under whatever key -> the
    request that erased all of their records.
    """

    requests: dict[str, Request] = field(default_factory=dict)
    erased: dict[str, str] = field(default_factory=dict)
    standing: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    people: dict[str, str] = field(default_factory=dict)

    @classmethod
    def look_up(
        cls,
        connection: Connection,
        request_ids: Sequence[str],
        aliases: Iterable[Aliases],
        people: Iterable[Sequence[str]],
    ) -> Seen:
        """What is on the ledger of these ids, records and people."""
        seen = cls()
        request, record, guard = models.request, models.request_record, models.erased_record
        for chunk in _chunks(sorted(set(request_ids))):
            for row in connection.execute(select(request).where(request.c.id.in_(chunk))).mappings():
                seen.requests[row["id"]] = Request.from_row(row)
        current = {alias: name for some in aliases for name, names in some.items() for alias in names}
        gone = [status.value for status in _GONE]
        for chunk in _chunks(sorted(current)):
            erased = select(guard).where(guard.c.record_pseudonym.in_(chunk), guard.c.erased_at.is_not(None))
            for found in connection.execute(erased):
                seen.erased[current[found.record_pseudonym]] = found.request_id
            asked = (
                select(record.c.request_id, record.c.record_pseudonym, request.c.received_at, request.c.status)
                .join(request, request.c.id == record.c.request_id)
                .where(record.c.record_pseudonym.in_(chunk), record.c.status != "not_found")
                .where(request.c.status.not_in(gone))
            )
            for found in connection.execute(asked):
                name = current[found.record_pseudonym]
                seen.asked.add(name)
                if found.status not in _PASSED_OVER:
                    seen._stand(name, found.received_at, found.request_id)
        for chunk in _chunks(sorted({name for names in people for name in names})):
            closed = (
                select(request.c.id, request.c.subject_pseudonym, request.c.details)
                .where(request.c.subject_pseudonym.in_(chunk), request.c.data_erased_at.is_not(None))
                .order_by(request.c.received_at, request.c.id)
            )
            for found in connection.execute(closed):
                if json.loads(found.details).get("kind") == "person":
                    seen.people.setdefault(found.subject_pseudonym, found.id)
        return seen

    def note(self, request: Request, records: Iterable[str]) -> None:
        """A request that was just taken in, and those of its records that are known, by current pseudonym."""
        self.requests[request.id] = request
        for name in records if request.status not in _GONE else ():
            self.asked.add(name)
            if request.status not in _PASSED_OVER:
                self._stand(name, to_text(request.received_at) or "", request.id)

    def covering(self, wanted: Sequence[str]) -> str | None:
        """The earliest request of those in `standing` that already asks for every wanted record."""
        standing = [self.standing.get(name, set()) for name in wanted]
        whole = set.intersection(*standing) if standing else set()
        return min(whole)[1] if whole else None

    def erased_person(self, pseudonyms: Sequence[str]) -> str | None:
        """The request that erased all that there was of a person."""
        return next((self.people[name] for name in pseudonyms if name in self.people), None)

    def _stand(self, name: str, received_at: str, request_id: str) -> None:
        self.standing.setdefault(name, set()).add((received_at, request_id))


def _chunks(values: Sequence[str]) -> Iterable[Sequence[str]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]
