"""Which records may no training see? The replay guard: quarantined and erased records, by pseudonym."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from expunge.compliance import models
from expunge.compliance.lifecycle import HOLDS_QUARANTINE, IllegalMove, Status
from expunge.compliance.moments import to_text
from expunge.compliance.rows import Request
from expunge.compliance.store import EPOCH, Store

_GUARD = models.erased_record
_RECORD = models.request_record


class Quarantine(Store):
    """The chapter of the ledger that keeps records out of training."""

    def quarantined_pseudonyms(self) -> frozenset[str]:
        """Pseudonyms of every quarantined or erased record, each under the key of its time.

        To test an id, hash it with every known key (`Pseudonymizer.records`), or use `quarantined_among`.
        """
        with self._read() as connection:
            return frozenset(connection.execute(select(_GUARD.c.record_pseudonym)).scalars())

    def erased_pseudonyms(self) -> frozenset[str]:
        """Pseudonyms of every record that was erased: nothing may hold them any more."""
        with self._read() as connection:
            query = select(_GUARD.c.record_pseudonym).where(_GUARD.c.erased_at.is_not(None))
            return frozenset(connection.execute(query).scalars())

    def quarantined_among(self, record_ids: Iterable[str]) -> frozenset[str]:
        """Those of the given raw record ids that no training may see."""
        guarded = self.quarantined_pseudonyms()
        if not guarded:
            return frozenset()
        records = self._pseudonyms.records
        return frozenset(name for name in record_ids if not guarded.isdisjoint(records(name)))

    def is_quarantined(self, record_id: str) -> bool:
        """Whether no training may see this record."""
        names = self._pseudonyms.records(record_id)
        with self._read() as connection:
            query = select(_GUARD.c.record_pseudonym).where(_GUARD.c.record_pseudonym.in_(names)).limit(1)
            return connection.execute(query).first() is not None

    def mark_erased(self, request_id: str, run_id: str | None = None, at: datetime | None = None) -> Request:
        """Record that the request's records are gone from the training data and its copies (`data_erased_at`);
        idempotent.

        Raises IllegalMove unless the request holds its records in quarantine; NotFoundError.
        """
        with self._write() as connection:
            request = self._request(connection, request_id)
            if request.data_erased_at is not None:
                return request
            if request.status not in HOLDS_QUARANTINE:
                raise IllegalMove(
                    f"Request {request_id} is {request.status}: its records are not in quarantine.",
                    "Quarantine them first.",
                )
            moment = to_text(at if at is not None else self._now(), "The time of erasure")
            names = self._records_of(connection, request_id, "quarantined")
            for name in names:
                connection.execute(
                    update(_GUARD)
                    .where(_GUARD.c.record_pseudonym == name, _GUARD.c.erased_at.is_(None))
                    .values(erased_at=moment)
                )
            connection.execute(
                update(_RECORD)
                .where(_RECORD.c.request_id == request_id, _RECORD.c.status == "quarantined")
                .values(status="erased")
            )
            connection.execute(
                update(models.request).where(models.request.c.id == request_id).values(data_erased_at=moment)
            )
            touched = {f"request/{request_id}", self._advance_epoch(connection, "erased")}
            touched |= self._guard_groups(connection, names)
            self._event(
                connection,
                "request.erased",
                {"records": len(names)},
                touched=touched,
                request_id=request_id,
                run_id=run_id or request.run_id,
            )
            return self._request(connection, request_id)

    def epoch(self) -> str:
        """The erasure epoch: a hash that changes with every quarantine, release, erasure and reset."""
        with self._read() as connection:
            return self._meta(connection, EPOCH) or ""

    def advance_epoch(self, reason: str) -> str:
        """Start a new erasure epoch, for a reset; `reason` is a word for the event. Returns the new epoch."""
        with self._write() as connection:
            touched = self._advance_epoch(connection, reason)
            self._event(connection, "epoch.advanced", {"reason": reason}, touched=[touched])
            return self._meta(connection, EPOCH) or ""

    def _quarantine_effects(self, connection: Connection, request: Request, target: Status) -> tuple[str, ...]:
        """Put records under guard, or let them go; returns the row groups that changed."""
        if target == Status.QUARANTINED and request.status == Status.ACCEPTED:
            return self._guard(connection, request)
        if target in (Status.CANCELLED, Status.REFUSED) and request.status in HOLDS_QUARANTINE:
            return self._release(connection, request)
        return ()

    def _guard(self, connection: Connection, request: Request) -> tuple[str, ...]:
        names = self._records_of(connection, request.id, "requested")
        now = to_text(self._now())
        guarded = set()
        for name in names:
            if self._row(connection, _GUARD, "record_pseudonym", name) is None:
                guarded.add(name)
        rows = [
            {"record_pseudonym": name, "request_id": request.id, "quarantined_at": now, "key_id": request.key_id}
            for name in sorted(guarded)
        ]
        if rows:
            connection.execute(insert(_GUARD), rows)
        self._set_records(connection, request.id, "requested", "quarantined")
        return (f"erased/{request.id}", self._advance_epoch(connection, "quarantined"))

    def _release(self, connection: Connection, request: Request) -> tuple[str, ...]:
        """Let records go that no other request holds; the others change hands."""
        touched = {f"erased/{request.id}"}
        for name in self._records_of(connection, request.id, "quarantined"):
            guard = self._row(connection, _GUARD, "record_pseudonym", name)
            if guard is None or guard["request_id"] != request.id or guard["erased_at"] is not None:
                continue
            heir = connection.execute(
                select(_RECORD.c.request_id)
                .where(_RECORD.c.record_pseudonym == name, _RECORD.c.status == "quarantined")
                .where(_RECORD.c.request_id != request.id)
                .order_by(_RECORD.c.request_id)
                .limit(1)
            ).scalar()
            if heir is None:
                connection.execute(delete(_GUARD).where(_GUARD.c.record_pseudonym == name))
            else:
                connection.execute(update(_GUARD).where(_GUARD.c.record_pseudonym == name).values(request_id=heir))
                touched.add(f"erased/{heir}")
        self._set_records(connection, request.id, "quarantined", "requested")
        return (*sorted(touched), self._advance_epoch(connection, "released"))

    @staticmethod
    def _records_of(connection: Connection, request_id: str, status: str) -> list[str]:
        query = select(_RECORD.c.record_pseudonym).where(_RECORD.c.request_id == request_id, _RECORD.c.status == status)
        return sorted(connection.execute(query).scalars())

    @staticmethod
    def _set_records(connection: Connection, request_id: str, before: str, after: str) -> None:
        connection.execute(
            update(_RECORD).where(_RECORD.c.request_id == request_id, _RECORD.c.status == before).values(status=after)
        )

    def _guard_groups(self, connection: Connection, names: Iterable[str]) -> set[str]:
        """Row groups that hold the guards of these records: a guard may belong to an earlier request."""
        found = set()
        for name in names:
            row = self._row(connection, _GUARD, "record_pseudonym", name)
            if row is not None:
                found.add(f"erased/{row['request_id']}")
        return found
