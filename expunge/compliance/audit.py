"""What does the ledger know? Queues, everything about one record or person, statistics, and whether anybody touched
it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import Connection, func, select

from expunge.compliance import chain, models
from expunge.compliance.chain import ChainCheck, Head
from expunge.compliance.deadlines import local_date
from expunge.compliance.lifecycle import OPEN, Status, status_of
from expunge.compliance.moments import to_text
from expunge.compliance.row_digests import changed_rows
from expunge.compliance.rows import (
    CertificateEntry,
    DeletionRun,
    DueRequest,
    ErasedRecord,
    Event,
    Request,
    RequestRecord,
    Tombstone,
)
from expunge.compliance.runs import Runs
from expunge.compliance.whole_file import write_whole

SQLITE_GUARDS: tuple[str, ...] = ("event_no_delete", "event_no_replace", "event_no_update")
POSTGRESQL_GUARDS: tuple[str, ...] = ("event_no_change", "event_no_truncate")


class Audit(Runs):
    """The chapter of the ledger that only reads."""

    def get_request(self, request_id: str) -> Request:
        """A request by id. Raises NotFoundError."""
        with self._read() as connection:
            return self._request(connection, request_id)

    def list_requests(self, status: str | None = None, *, run_id: str | None = None) -> list[Request]:
        """Requests in the order of their deadline, then of receipt."""
        table = models.request
        query = select(table).order_by(
            func.coalesce(table.c.extended_to, table.c.due_at), table.c.received_at, table.c.id
        )
        if status is not None:
            query = query.where(table.c.status == status_of(status).value)
        if run_id is not None:
            query = query.where(table.c.run_id == run_id)
        with self._read() as connection:
            return [Request.from_row(row) for row in connection.execute(query).mappings()]

    def request_records(self, request_id: str) -> list[RequestRecord]:
        """The records of a request, by pseudonym. Raises NotFoundError."""
        table = models.request_record
        query = select(table).where(table.c.request_id == request_id).order_by(table.c.record_pseudonym)
        with self._read() as connection:
            self._request(connection, request_id)
            return [RequestRecord.from_row(row) for row in connection.execute(query).mappings()]

    def due_requests(
        self,
        now: datetime | None = None,
        within: timedelta | None = None,
        statuses: Collection[str] | None = None,
    ) -> list[DueRequest]:
        """Open requests whose deadline is at most `within` away (None: all), in the order of their deadline; late
        ones lead.

        `statuses` narrows the states (default: every open one). A request that waits for proof of identity is marked
        as paused.
        """
        today = local_date(now if now is not None else self._now(), self._settings.timezone, "now")
        wanted = OPEN if statuses is None else {status_of(name) for name in statuses} & OPEN
        table = models.request
        deadline = func.coalesce(table.c.extended_to, table.c.due_at)
        query = select(table).where(table.c.status.in_(sorted(status.value for status in wanted)))
        if within is not None:
            query = query.where(deadline <= (today + within).isoformat())
        with self._read() as connection:
            rows = connection.execute(query.order_by(deadline, table.c.received_at, table.c.id)).mappings().all()
        found = []
        for row in rows:
            request = Request.from_row(row)
            days = (request.deadline - today).days
            paused = request.status == Status.IDENTITY_UNVERIFIED
            found.append(DueRequest(request, request.deadline, days, days < 0, paused))
        return found

    def events(
        self, request_id: str | None = None, run_id: str | None = None, *, after: int = 0, limit: int | None = None
    ) -> list[Event]:
        """Events of a request, of a run, or all, in the order of seq, from `after` on."""
        query = select(models.event).where(models.event.c.seq > after).order_by(models.event.c.seq)
        if request_id is not None:
            query = query.where(models.event.c.request_id == request_id)
        if run_id is not None:
            query = query.where(models.event.c.run_id == run_id)
        with self._read() as connection:
            return [Event.from_row(row) for row in connection.execute(query.limit(limit)).mappings()]

    def head(self) -> Head:
        """Seq and hash of the last event: write them down elsewhere, and a cut-off end of the chain shows."""
        with self._read() as connection:
            return chain.head_of(connection)

    def verify_chain(self) -> ChainCheck:
        """Recompute every event's hash: (ok, first bad seq, hash of the last good event)."""
        with self._read() as connection:
            return chain.check(connection.execute(select(models.event).order_by(models.event.c.seq)).mappings())

    def export_chain(self, path: str | os.PathLike[str]) -> str:
        """Write every event to a file that the stand-alone verifier reads in place of the ledger; returns its SHA-256.

        It names people and records by pseudonym only. The file appears whole or not at all.
        """
        with self._read() as connection:
            content = chain.export(connection.execute(select(models.event).order_by(models.event.c.seq)).mappings())
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, content)
        return hashlib.sha256(content).hexdigest()

    def verify_rows(self) -> list[str]:
        """Names of the ledger rows that are not as their last event left them ("request/<id>", ...); [] when all are.

        It trusts the events: check `verify_chain` first.
        """
        with self._read() as connection:
            query = select(models.event).order_by(models.event.c.seq)
            payloads = [Event.from_row(row).payload for row in connection.execute(query).mappings()]
            return changed_rows(connection, payloads)

    def missing_guards(self) -> list[str]:
        """Names of the triggers that keep events append-only and are gone; [] when all are there."""
        with self._read() as connection:
            if connection.dialect.name == "sqlite":
                names, query = SQLITE_GUARDS, "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            else:
                names, query = POSTGRESQL_GUARDS, "SELECT tgname FROM pg_trigger WHERE tgenabled <> 'D'"
            there = set(connection.exec_driver_sql(query).scalars())
            return [name for name in names if name not in there]

    def audit_record(self, record_id: str) -> dict[str, Any]:
        """Everything known of one record: guard, requests, runs, tombstones, certificates, events; as plain JSON."""
        names = self._pseudonyms.records(record_id)
        record, guard = models.request_record, models.erased_record
        with self._read() as connection:
            in_requests = (
                connection.execute(select(record).where(record.c.record_pseudonym.in_(names))).mappings().all()
            )
            guards = connection.execute(select(guard).where(guard.c.record_pseudonym.in_(names))).mappings().all()
            return {
                "record_pseudonyms": sorted({row["record_pseudonym"] for row in [*in_requests, *guards]}) or [names[0]],
                "known": bool(in_requests or guards),
                "guard": [ErasedRecord.from_row(row).to_dict() for row in guards],
                "record_status": {row["request_id"]: row["status"] for row in in_requests},
                **self._about(connection, {row["request_id"] for row in in_requests}),
            }

    def audit_subject(self, identity: str) -> dict[str, Any]:
        """Everything known of one person's requests; plain JSON values."""
        names = self._pseudonyms.identities(identity)
        table = models.request
        with self._read() as connection:
            found = set(connection.execute(select(table.c.id).where(table.c.subject_pseudonym.in_(names))).scalars())
            return {"subject_pseudonym": names[0], "known": bool(found), **self._about(connection, found)}

    def audit_request(self, request_id: str) -> dict[str, Any]:
        """Everything known of one request; plain JSON values. Raises NotFoundError."""
        records = [record.to_dict() for record in self.request_records(request_id)]
        with self._read() as connection:
            return {"records": records, **self._about(connection, {request_id})}

    def audit_model(self, *names: str) -> dict[str, Any]:
        """Everything known of one model version; plain JSON values. `names`: its id, its label, whatever runs call it.

        Its runs are those that started from it, made it, or destroyed it or something that belonged to it.
        """
        run, tomb = models.deletion_run, models.tombstone
        with self._read() as connection:
            query = select(run.c.id).where(
                run.c.model_version_before.in_(names) | run.c.model_version_after.in_(names) | run.c.id.in_(names)
            )
            runs = set(connection.execute(query).scalars())
            for row in connection.execute(select(tomb)).mappings():
                stone = Tombstone.from_row(row)
                if stone.run_id is not None and {stone.name, stone.details.get("model_version")} & set(names):
                    runs.add(stone.run_id)
            worked = select(models.event.c.request_id).where(
                models.event.c.run_id.in_(sorted(runs)), models.event.c.request_id.is_not(None)
            )
            requests = set(connection.execute(worked).scalars())
            return {"known": bool(runs), **self._about(connection, requests, runs)}

    def statistics(self, since: datetime | None = None, until: datetime | None = None) -> dict[str, Any]:
        """Counts for a report (CCPA 7102): received, done, refused and the other answers, open, late, median days to
        answer.

        `since` (inclusive) and `until` (exclusive) bound the time of receipt. Days are from receipt to the answer.
        """
        table = models.request
        query = select(table)
        if since is not None:
            query = query.where(table.c.received_at >= to_text(since, "since"))
        if until is not None:
            query = query.where(table.c.received_at < to_text(until, "until"))
        with self._read() as connection:
            requests = [Request.from_row(row) for row in connection.execute(query).mappings()]
        today = local_date(self._now(), self._settings.timezone)
        return {
            **_count(requests, today, self._settings.timezone),
            "by_regulation": {
                name: _count([r for r in requests if r.regulation == name], today, self._settings.timezone)
                for name in sorted({r.regulation for r in requests})
            },
        }

    def _about(
        self, connection: Connection, request_ids: Iterable[str], run_ids: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """Rows on these requests and on these runs (default: every run that worked on one of the requests)."""
        ids = sorted(request_ids)
        runs = sorted(run_ids) if run_ids is not None else self._runs_of(connection, ids)
        tables: tuple[tuple[str, Any, Any, Any], ...] = (
            ("requests", Request, models.request, models.request.c.id.in_(ids)),
            ("runs", DeletionRun, models.deletion_run, models.deletion_run.c.id.in_(runs)),
            ("tombstones", Tombstone, models.tombstone, models.tombstone.c.run_id.in_(runs)),
            ("certificates", CertificateEntry, models.certificate, models.certificate.c.request_id.in_(ids)),
            ("events", Event, models.event, models.event.c.request_id.in_(ids) | models.event.c.run_id.in_(runs)),
        )
        found = {}
        for name, kind, table, condition in tables:
            query = select(table).where(condition).order_by(*table.primary_key.columns)
            found[name] = [kind.from_row(row).to_dict() for row in connection.execute(query).mappings()]
        return found


def _count(requests: list[Request], today: Any, timezone: str) -> dict[str, Any]:
    by_status = dict.fromkeys(Status, 0)
    for request in requests:
        by_status[request.status] += 1
    days = [
        (local_date(r.answered_at, timezone) - local_date(r.received_at, timezone)).days
        for r in requests
        if r.answered_at is not None and r.status not in (Status.CANCELLED, *OPEN)
    ]
    late = [r for r in requests if r.is_open and r.deadline < today]
    answered_late = [r for r in requests if r.answered_at and local_date(r.answered_at, timezone) > r.deadline]
    return {
        "received": len(requests),
        "done": by_status[Status.CLOSED],
        "refused": by_status[Status.REFUSED],
        "not_found": by_status[Status.NOT_FOUND],
        "duplicate": by_status[Status.DUPLICATE],
        "cancelled": by_status[Status.CANCELLED],
        "open": sum(by_status[status] for status in OPEN),
        "late": len(late),
        "answered_late": len(answered_late),
        "median_days": median(days) if days else None,
    }
