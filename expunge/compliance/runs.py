"""What did a deletion run do, what is left of what it destroyed, and which certificates were issued?"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from expunge.compliance import models
from expunge.compliance.canonical import canonical_text, sha256_of
from expunge.compliance.moments import to_text
from expunge.compliance.rows import CertificateEntry, DeletionRun, Tombstone
from expunge.compliance.store import Store
from expunge.errors import NotFoundError, UsageError, nearest

_RUN_TEXTS = ("status", "method", "model_version_before", "model_version_after", "stop_reason", "fallback_reason")
_RUN_FIELDS = (*_RUN_TEXTS, "plan", "details", "finished_at")
_TOMBSTONE_FIELDS = tuple(column.name for column in models.tombstone.columns)
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Runs(Store):
    """The chapter of the ledger on deletion runs, tombstones and certificates."""

    def add_run(
        self,
        run_id: str,
        *,
        status: str = "started",
        method: str | None = None,
        model_version_before: str | None = None,
        attempt: int = 1,
        plan: Mapping[str, Any] | None = None,
        started_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> DeletionRun:
        """Record that a deletion run starts.

        A run that is there already is returned as it is (a restart after a crash).
        """
        row = {
            "id": _name(run_id, "run id"),
            "status": status,
            "method": method,
            "model_version_before": model_version_before,
            "attempt": attempt,
            "plan": canonical_text(plan or {}),
            "details": canonical_text(details or {}),
        }
        with self._write() as connection:
            if self._row(connection, models.deletion_run, "id", run_id) is None:
                row["started_at"] = to_text(started_at or self._now(), "The start of the run")
                connection.execute(insert(models.deletion_run).values(row))
                self._event(
                    connection,
                    "run.started",
                    {"status": status, "method": method, "attempt": attempt},
                    touched=[f"run/{run_id}"],
                    run_id=run_id,
                )
            return self._run(connection, run_id)

    def update_run(self, run_id: str, **fields: Any) -> DeletionRun:
        """Change status, method, model_version_before, model_version_after, stop_reason, fallback_reason, plan,
        details (merged) or finished_at (aware). Nothing new, no event. Raises NotFoundError, and UsageError for
        another field.
        """
        for name in fields:
            if name not in _RUN_FIELDS:
                raise UsageError(f"A run has no {name!r} to change.", nearest(name, list(_RUN_FIELDS)))
        with self._write() as connection:
            run = self._run(connection, run_id)
            stored = self._row(connection, models.deletion_run, "id", run_id) or {}
            values = dict(fields)
            if "plan" in values:
                values["plan"] = canonical_text(values["plan"])
            if "details" in values:
                values["details"] = canonical_text({**run.details, **values["details"]})
            if "finished_at" in values:
                values["finished_at"] = to_text(values["finished_at"], "The end of the run")
            values = {name: value for name, value in values.items() if stored[name] != value}
            if values:
                connection.execute(update(models.deletion_run).where(models.deletion_run.c.id == run_id).values(values))
                payload = {"status": values.get("status", run.status), "fields": sorted(values)}
                self._event(connection, "run.updated", payload, touched=[f"run/{run_id}"], run_id=run_id)
            return self._run(connection, run_id)

    def get_run(self, run_id: str) -> DeletionRun:
        """A run by id. Raises NotFoundError."""
        with self._read() as connection:
            return self._run(connection, run_id)

    def list_runs(self, status: str | None = None) -> list[DeletionRun]:
        """Runs in the order of their start."""
        query = select(models.deletion_run).order_by(models.deletion_run.c.started_at, models.deletion_run.c.id)
        if status is not None:
            query = query.where(models.deletion_run.c.status == status)
        with self._read() as connection:
            return [DeletionRun.from_row(row) for row in connection.execute(query).mappings()]

    def runs_holding(self, statuses: Collection[str]) -> list[DeletionRun]:
        """Runs that hold a request in one of these states now, in the order of their start."""
        run, request = models.deletion_run, models.request
        held = select(request.c.run_id).where(request.c.status.in_(sorted(statuses)), request.c.run_id.is_not(None))
        with self._read() as connection:
            ids = sorted(set(connection.execute(held).scalars()))
            query = select(run).where(run.c.id.in_(ids)).order_by(run.c.started_at, run.c.id)
            return [DeletionRun.from_row(row) for row in connection.execute(query).mappings()]

    def last_run(self) -> tuple[int, str | None]:
        """How many runs there are, and the id and status of the one that started last, as a text."""
        run = models.deletion_run
        with self._read() as connection:
            number = connection.execute(select(func.count()).select_from(run)).scalar_one()
            newest = select(run.c.id, run.c.status).order_by(run.c.started_at.desc(), run.c.id.desc()).limit(1)
            found = connection.execute(newest).first()
        return number, f"{found.id} {found.status}" if found else None

    def add_tombstones(self, tombstones: Iterable[Mapping[str, Any]]) -> list[Tombstone]:
        """Record descendants, all or none: destroyed (with a method) or kept (with a reason).

        Each has kind, name, status, and where known content_hash, created_at, destroyed_at, method, reason, run_id,
        details. Without an id it gets one from kind, name, content_hash and run_id, so that recording twice leaves
        one. A kept descendant may become a destroyed one later; never the other way round. Raises UsageError.
        """
        rows = [self._tombstone_row(one) for one in tombstones]
        with self._write() as connection:
            changed = []
            for row in rows:
                before = self._row(connection, models.tombstone, "id", row["id"])
                if before is None:
                    connection.execute(insert(models.tombstone).values(row))
                elif before["status"] == row["status"]:
                    continue
                elif row["status"] == "kept":
                    raise UsageError(
                        f"{row['kind']} {row['name']} is destroyed already.", "It cannot be kept any more."
                    )
                else:
                    # what was known when it was kept stays: the new row only adds to it
                    row = {name: before[name] if value is None else value for name, value in row.items()}
                    connection.execute(update(models.tombstone).where(models.tombstone.c.id == row["id"]).values(row))
                changed.append(row)
            for run_id in sorted({row["run_id"] for row in changed}, key=str):
                mine = [row for row in changed if row["run_id"] == run_id]
                self._event(
                    connection,
                    "tombstones.added",
                    {status: sum(row["status"] == status for row in mine) for status in ("destroyed", "kept")},
                    touched=[f"tombstone/{row['id']}" for row in mine],
                    run_id=run_id,
                )
            return [self._tombstone(connection, row["id"]) for row in rows]

    def tombstones(
        self, *, run_id: str | None = None, request_id: str | None = None, status: str | None = None
    ) -> list[Tombstone]:
        """Tombstones of a run, of every run that worked on a request, or all; by kind and name."""
        query = select(models.tombstone).order_by(
            models.tombstone.c.kind, models.tombstone.c.name, models.tombstone.c.id
        )
        with self._read() as connection:
            if request_id is not None:
                query = query.where(models.tombstone.c.run_id.in_(self._runs_of(connection, [request_id])))
            if run_id is not None:
                query = query.where(models.tombstone.c.run_id == run_id)
            if status is not None:
                query = query.where(models.tombstone.c.status == status)
            return [Tombstone.from_row(row) for row in connection.execute(query).mappings()]

    def add_certificate(
        self, request_id: str, path: str, sha256: str, run_id: str | None = None, interim: bool = False
    ) -> CertificateEntry:
        """Record the digest of a certificate file, by its path relative to the state folder; idempotent on the digest.

        Raises UsageError for a digest that is none or a path that is absolute; NotFoundError for an unknown request.
        """
        if not _SHA256.fullmatch(sha256):
            raise UsageError(f"{sha256!r} is not a SHA-256 in hex.", "Pass the digest of the certificate file's bytes.")
        if path.startswith("/") or ".." in path.split("/"):
            raise UsageError(f"The certificate path {path!r} is not inside the state folder.", "Pass a relative one.")
        with self._write() as connection:
            self._request(connection, request_id)
            table = models.certificate
            query = select(table).where(table.c.request_id == request_id, table.c.sha256 == sha256)
            if connection.execute(query).first() is None:
                at = to_text(self._now())
                row = {"request_id": request_id, "path": path, "sha256": sha256, "at": at, "run_id": run_id}
                connection.execute(insert(table).values(interim=int(interim), **row))
                self._event(
                    connection,
                    "certificate.issued",
                    {"path": path, "sha256": sha256, "interim": interim},
                    touched=[f"certificate/{request_id}/{sha256}"],
                    request_id=request_id,
                    run_id=run_id,
                )
            return CertificateEntry.from_row(connection.execute(query).mappings().one())

    def certificates(self, request_id: str | None = None) -> list[CertificateEntry]:
        """Certificates issued, oldest first."""
        query = select(models.certificate).order_by(models.certificate.c.at, models.certificate.c.sha256)
        if request_id is not None:
            query = query.where(models.certificate.c.request_id == request_id)
        with self._read() as connection:
            return [CertificateEntry.from_row(row) for row in connection.execute(query).mappings()]

    @staticmethod
    def _runs_of(connection: Connection, request_ids: Iterable[str]) -> list[str]:
        """Every run that ever worked on these requests, by the events: a request's row names only the last."""
        query = select(models.event.c.run_id).where(
            models.event.c.request_id.in_(list(request_ids)), models.event.c.run_id.is_not(None)
        )
        return sorted(set(connection.execute(query).scalars()))

    def _run(self, connection: Connection, run_id: str) -> DeletionRun:
        row = self._row(connection, models.deletion_run, "id", run_id)
        if row is None:
            raise NotFoundError(
                f"There is no run {run_id!r} in the ledger.",
                "`expunge request show ID` names the run of a request, `expunge approve` what waits.",
            )
        return DeletionRun.from_row(row)

    def _tombstone(self, connection: Connection, key: str) -> Tombstone:
        row = self._row(connection, models.tombstone, "id", key)
        assert row is not None
        return Tombstone.from_row(row)

    def _tombstone_row(self, given: Mapping[str, Any]) -> dict[str, Any]:
        for name in given:
            if name not in _TOMBSTONE_FIELDS:
                raise UsageError(f"A tombstone has no {name!r}.", nearest(name, list(_TOMBSTONE_FIELDS)))
        row = {**dict.fromkeys(_TOMBSTONE_FIELDS), **given}
        _name(row["kind"], "kind")
        _name(row["name"], "name")
        if row["status"] == "destroyed" and not row["method"]:
            raise UsageError(f"{row['kind']} {row['name']} is destroyed, but not how.", "Give the method.")
        if row["status"] == "kept" and not row["reason"]:
            raise UsageError(f"{row['kind']} {row['name']} is kept, but not why.", "Give the reason.")
        if row["status"] not in ("destroyed", "kept"):
            raise UsageError(f"A tombstone is not {row['status']!r}.", "Use destroyed or kept.")
        if row["status"] == "destroyed":
            row["destroyed_at"] = row["destroyed_at"] or self._now()
        for name in ("created_at", "destroyed_at"):
            row[name] = to_text(row[name], f"The {name} of {row['name']}")
        row["details"] = canonical_text(row["details"] or {})
        identity = [row["kind"], row["name"], row["content_hash"], row["run_id"]]
        row["id"] = row["id"] or sha256_of(identity)[:32]
        return row


def _name(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"The {what} {value!r} is empty.", "Give it a name.")
    return value
