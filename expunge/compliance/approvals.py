"""Who said yes or no to a deletion run? A plan waits for a person; the answer names the plan by its digest.

The decision stands on the run's row, under `details.approval`, and in an event. The ledger alone counts: what a
workflow engine shows beside it follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from sqlalchemy import Connection, select, update

from expunge.compliance import models
from expunge.compliance.audit import Audit
from expunge.compliance.canonical import canonical_text, sha256_of
from expunge.compliance.lifecycle import Status
from expunge.compliance.moments import to_text
from expunge.compliance.progress import Progress
from expunge.compliance.rows import DeletionRun
from expunge.errors import UsageError, nearest

WAITING, APPROVED, REFUSED, WITHDRAWN = "awaiting_approval", "approved", "refused", "withdrawn"

REASONS = {
    "too_expensive": "the plan costs too much",
    "wrong_method": "another method is wanted",
    "wrong_requests": "a request in it should not be answered like this",
    "not_now": "this is not the time",
    "other": "another reason, kept elsewhere",
}
"""Why a person says no: codes, for an event can never be corrected and must hold no free text."""

CHANGES = {
    "requests_joined": "other requests came in",
    "requests_left": "a request in it was cancelled or taken over",
    "model_changed": "another model serves now",
    "plan_lost": "its plan is not there any more",
    "start_destroyed": "a checkpoint that it starts from is destroyed",
}
"""Why a plan needs a new answer."""

How = Literal["person", "policy"]


def plan_digest(run: DeletionRun) -> str:
    """SHA-256 of the run's plan as the ledger holds it: what an approval names."""
    return sha256_of(run.plan)


class Approvals(Progress, Audit):
    """The chapter of the ledger on approvals."""

    def ask_approval(self, run_id: str, **details: Any) -> DeletionRun:
        """Let a planned run wait for a person: planned -> awaiting_approval for each of its requests; idempotent.

        `details` are kept on the run. Raises UsageError for a run without a plan; IllegalMove; NotFoundError.
        """
        with self._write() as connection:
            run = self._run(connection, run_id)
            if not run.plan:
                raise UsageError(f"Run {run_id} has no plan to approve.", "Plan it first.")
            if run.status == WAITING and run.details["approval"]["plan_sha256"] == plan_digest(run):
                return run
            for request_id in run.details.get("requests", []):
                request = self._request(connection, request_id)
                self._move(connection, request, Status.AWAITING_APPROVAL, run_id, {})
            approval = {"plan_sha256": plan_digest(run), "asked_at": to_text(self._now())}
            payload = {"plan_sha256": approval["plan_sha256"], "requests": len(run.details.get("requests", []))}
            return self._settle(connection, run, WAITING, {**details, "approval": approval}, "approval.asked", payload)

    def decide(
        self,
        run_id: str,
        yes: bool,
        *,
        by: str,
        how: How = "person",
        reason: str | None = None,
        plan_sha256: str | None = None,
    ) -> DeletionRun:
        """Record who said yes or no to a run's plan. No puts its requests back to quarantined: each is still owed an
        answer. The same answer again changes nothing; a yes can be taken back until unlearning starts.

        `plan_sha256`: the plan that was looked at, if it must not be another by now. `reason` of a no: one of REASONS.
        Raises UsageError for a run that waits for no answer, an unknown reason or another plan; NotFoundError.
        """
        name = by.strip()
        if not name:
            raise UsageError("An approval needs the name of who gives it.", "Set --by or EXPUNGE_APPROVER.")
        if not yes and reason not in REASONS:
            raise UsageError(f"A no needs its reason, not {reason!r}.", nearest(str(reason), list(REASONS)))
        with self._write() as connection:
            run = self._run(connection, run_id)
            if run.status == (APPROVED if yes else REFUSED):
                return run
            if run.status != WAITING and not (run.status == APPROVED and not yes):
                raise UsageError(f"Run {run_id} waits for no answer: {_standing(run)}.", _remedy(run))
            found = plan_digest(run)
            if found != run.details["approval"]["plan_sha256"] or plan_sha256 not in (None, found):
                raise UsageError(f"The plan of {run_id} is not the one that was asked about.", "See `expunge approve`.")
            if not yes:
                if run.status == APPROVED and self._started(connection, run):
                    raise UsageError(f"Run {run_id} is being carried out.", "A yes can be taken back until it starts.")
                self._put_back(connection, run)
            answer = {"by": name, "how": how, "at": to_text(self._now()), "yes": yes, "reason": reason}
            approval = {**run.details["approval"], **answer}
            payload = {"plan_sha256": found, "by": name, "how": how, **({} if yes else {"reason": reason})}
            kind = "approval.given" if yes else "approval.refused"
            return self._settle(connection, run, APPROVED if yes else REFUSED, {"approval": approval}, kind, payload)

    def withdraw_approval(self, run_id: str, reason: str) -> DeletionRun:
        """Drop a plan that waits or was approved and does not hold any more, with why (one of CHANGES). Its requests
        go back to quarantined, to be planned and asked about anew. Idempotent.
        """
        if reason not in CHANGES:
            raise UsageError(f"A plan is not withdrawn because of {reason!r}.", nearest(reason, list(CHANGES)))
        with self._write() as connection:
            run = self._run(connection, run_id)
            if run.status == WITHDRAWN:
                return run
            if run.status not in (WAITING, APPROVED):
                raise UsageError(f"Run {run_id} waits for no answer: {_standing(run)}.", _remedy(run))
            self._put_back(connection, run)
            return self._settle(connection, run, WITHDRAWN, {}, "approval.withdrawn", {"reason": reason})

    def runs_for_approval(self) -> list[DeletionRun]:
        """Runs that wait for an answer, or have a yes and did not start, in the order of their start."""
        table = models.deletion_run
        query = select(table).where(table.c.status.in_((WAITING, APPROVED)))
        with self._read() as connection:
            rows = connection.execute(query.order_by(table.c.started_at, table.c.id)).mappings()
            return [DeletionRun.from_row(row) for row in rows]

    def refused_before(self, request_ids: Iterable[str]) -> bool:
        """Whether a person said no to a plan with one of these requests: then no policy may say yes."""
        wanted = set(request_ids)
        return any(wanted & set(run.details.get("requests", [])) for run in self.list_runs(REFUSED))

    def change_of(self, run_id: str, serving: str) -> str | None:
        """What changed since the run's plan was made (one of CHANGES), None if it still holds.

        `serving`: id of the model version that serves now.
        """
        with self._read() as connection:
            run = self._run(connection, run_id)
            if run.model_version_before != serving:
                return "model_changed"
            for request_id in run.details.get("requests", []):
                request = self._request(connection, request_id)
                if request.status != Status.AWAITING_APPROVAL or request.run_id != run_id:
                    return "requests_left"
            return None if plan_digest(run) == run.details["approval"]["plan_sha256"] else "plan_lost"

    def carry_over(self, run_id: str, policies: bool = False) -> bool:
        """Give a waiting run the yes that an interrupted one had for the very same plan under the very same settings;
        returns whether it has one. A policy's yes counts only where `policies` may say yes.
        """
        run = self.get_run(run_id)
        asked = run.details.get("approval") or {}
        if self.refused_before(run.details.get("requests", [])):
            return False
        for earlier in reversed(self.list_runs("interrupted")):
            given = earlier.details.get("approval") or {}
            if not given.get("yes") or given["plan_sha256"] != asked.get("plan_sha256"):
                continue
            # a plan does not hold the bounds that the gate judges by; the settings do
            same = sha256_of(earlier.details.get("settings")) == sha256_of(run.details.get("settings"))
            if same and (policies or given["how"] == "person"):
                self.decide(run_id, True, by=given["by"], how=given["how"], plan_sha256=given["plan_sha256"])
                return True
        return False

    def _started(self, connection: Connection, run: DeletionRun) -> bool:
        statuses = (self._request(connection, r).status for r in run.details.get("requests", []))
        return any(s not in (Status.AWAITING_APPROVAL, Status.CANCELLED) for s in statuses)

    def _put_back(self, connection: Connection, run: DeletionRun) -> None:
        for request_id in run.details.get("requests", []):
            request = self._request(connection, request_id)
            if request.status == Status.AWAITING_APPROVAL and request.run_id == run.id:
                self._move(connection, request, Status.QUARANTINED, run.id, {})

    def _settle(
        self,
        connection: Connection,
        run: DeletionRun,
        status: str,
        details: dict[str, Any],
        kind: str,
        payload: dict[str, Any],
    ) -> DeletionRun:
        """Change the run's row and append the event."""
        values = {"status": status, "details": canonical_text({**run.details, **details})}
        connection.execute(update(models.deletion_run).where(models.deletion_run.c.id == run.id).values(values))
        self._event(connection, kind, payload, touched=[f"run/{run.id}"], run_id=run.id)
        return self._run(connection, run.id)


def approvals_of(run: DeletionRun) -> list[dict[str, Any]]:
    """What a certificate says of the approval of a run: nothing where none was asked for."""
    found = run.details.get("approval") or {}
    if not found.get("yes"):
        return []
    return [{name: found[name] for name in ("by", "how", "at", "asked_at", "plan_sha256")}]


def _standing(run: DeletionRun) -> str:
    found = run.details.get("approval") or {}
    if run.status in (APPROVED, REFUSED):
        return f"{run.status} by {found['by']} at {found['at'][:16]}"
    return f"it is {run.status}"


def _remedy(run: DeletionRun) -> str:
    if run.status == WITHDRAWN:
        return "Its plan was replaced: see `expunge approve` for what waits now."
    if run.status == REFUSED:
        return "Its requests are planned again by the next `expunge run-due`."
    return "See `expunge approve` for what waits."
