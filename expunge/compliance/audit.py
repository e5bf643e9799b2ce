"""What does the ledger know? Queues, everything about one record or person, statistics, and whether anybody touched
it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from expunge.compliance import chain, models
from expunge.compliance.chain import ChainCheck, Head
from expunge.compliance.deadlines import local_date
from expunge.compliance.lifecycle import OPEN, Status, status_of
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
from expunge.compliance.statistics import Statistics
from expunge.compliance.whole_file import write_whole

SQLITE_GUARDS: tuple[str, ...] = ("event_no_delete", "event_no_replace", "event_no_update")
POSTGRESQL_GUARDS: tuple[str, ...] = ("event_no_change", "event_no_truncate")


class Audit(Statistics):
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

    def page_of_requests(self, status: str | None = None, *, limit: int | None = None, skip: int = 0) -> list[Request]:
        """Requests that are owed an answer, by deadline, then those answered, the newest answer first; `limit` of them
        after the first `skip`.

        A long ledger is read no further than the page reaches.
        """
        table = models.request
        wanted = set(Status) if status is None else {status_of(status)}
        deadline = func.coalesce(table.c.extended_to, table.c.due_at)
        owed = table.c.status.in_(sorted(wanted & OPEN))
        answered = [table.c.answered_at.is_not(None)]
        if wanted != set(Status):
            answered.append(table.c.status.in_(sorted(wanted - OPEN)))
        by_answer = (table.c.answered_at.desc(), table.c.id.desc())
        rows: list[Any] = []
        with self._read() as connection:
            first = connection.execute(select(func.count()).select_from(table).where(owed)).scalar_one()
            if wanted & OPEN and skip < first:
                query = select(table).where(owed).order_by(deadline, table.c.received_at, table.c.id)
                rows += connection.execute(query.offset(skip).limit(limit)).mappings()
            left = None if limit is None else limit - len(rows)
            if wanted - OPEN and left != 0:
                query = select(table).where(*answered).order_by(*by_answer)
                rows += connection.execute(query.offset(max(0, skip - first)).limit(left)).mappings()
        return [Request.from_row(row) for row in rows]

    def counts_by_status(self) -> dict[str, int]:
        """How many requests stand where; every status is there."""
        table = models.request
        with self._read() as connection:
            rows = connection.execute(select(table.c.status, func.count()).group_by(table.c.status))
            found = {row[0]: row[1] for row in rows}
        return {**{status.value: 0 for status in Status}, **found}

    def request_records(self, request_id: str) -> list[RequestRecord]:
        """The records of a request, by pseudonym. Raises NotFoundError."""
        table = models.request_record
        query = select(table).where(table.c.request_id == request_id).order_by(table.c.record_pseudonym)
        with self._read() as connection:
            self._request(connection, request_id)
            return [RequestRecord.from_row(row) for row in connection.execute(query).mappings()]

    def record_counts(self) -> dict[str, dict[str, int]]:
        """Request -> status of a record -> how many of the request's records have it, for every request with any."""
        table = models.request_record
        query = select(table.c.request_id, table.c.status, func.count()).group_by(table.c.request_id, table.c.status)
        found: dict[str, dict[str, int]] = {}
        with self._read() as connection:
            for request_id, status, count in connection.execute(query.order_by(table.c.request_id, table.c.status)):
                found.setdefault(request_id, {})[status] = count
        return found

    def due_requests(
        self,
        now: datetime | None = None,
        within: timedelta | None = None,
        statuses: Collection[str] | None = None,
    ) -> list[DueRequest]:
        """Open requests whose deadline is at most `within` away (None: all), in the order of their deadline; late
        ones lead.

        `statuses` narrows the states (default: every open one). A request that waits for proof of identity is marked
        as paused; under GDPR, once the person was asked for it, its deadline moves on with every day of waiting, so
        it does not become late meanwhile.
        """
        moment = now if now is not None else self._now()
        today = local_date(moment, self._settings.timezone, "now")
        wanted = OPEN if statuses is None else {status_of(name) for name in statuses} & OPEN
        table = models.request
        query = select(table).where(table.c.status.in_(sorted(status.value for status in wanted)))
        if within is not None:
            # a clock that stands still only moves a deadline away
            query = query.where(func.coalesce(table.c.extended_to, table.c.due_at) <= (today + within).isoformat())
        with self._read() as connection:
            requests = [Request.from_row(row) for row in connection.execute(query).mappings()]
        found = []
        for request in requests:
            paused = request.status == Status.IDENTITY_UNVERIFIED
            deadline = self._deadline_at(request, moment) if paused else request.deadline
            days = (deadline - today).days
            if within is None or days <= within.days:
                found.append(DueRequest(request, deadline, days, days < 0, paused))
        return sorted(found, key=lambda due: (due.deadline, due.request.received_at, due.request.id))

    def events(
        self,
        request_id: str | None = None,
        run_id: str | None = None,
        *,
        kinds: Collection[str] | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> list[Event]:
        """Events of a request, of a run, of some kinds, or all, in the order of seq, from `after` on."""
        query = select(models.event).where(models.event.c.seq > after).order_by(models.event.c.seq)
        if kinds is not None:
            query = query.where(models.event.c.kind.in_(sorted(kinds)))
        if request_id is not None:
            query = query.where(models.event.c.request_id == request_id)
        if run_id is not None:
            query = query.where(models.event.c.run_id == run_id)
        with self._read() as connection:
            return [Event.from_row(row) for row in connection.execute(query.limit(limit)).mappings()]

    def head(self, at: int | None = None) -> Head:
        """Seq and hash of the last event: write them down elsewhere, and a cut-off end of the chain shows.

        With `at`, of that event; its hash is empty where there is none.
        """
        with self._read() as connection:
            if at is None:
                return chain.head_of(connection)
            found = connection.execute(select(models.event.c.hash).where(models.event.c.seq == at)).scalar()
            return Head(at, found or "")

    def verify_chain(self, *, after: Head | None = None, upto: int | None = None) -> ChainCheck:
        """Recompute every event's hash: (ok, first bad seq, hash of the last good event).

        `after`: trust the chain up to there. `upto`: go no further than this seq.
        """
        query = select(*chain.COLUMNS).order_by(models.event.c.seq)
        if after is not None:
            query = query.where(models.event.c.seq > after.seq)
        if upto is not None:
            query = query.where(models.event.c.seq <= upto)
        with self._read() as connection, connection.execute(query.execution_options(yield_per=2000)) as rows:
            return chain.check(rows.mappings(), after or Head(0, chain.GENESIS))

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
