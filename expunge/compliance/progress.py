"""How does a request move on? One legal step at a time, the row and its event together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Update, bindparam, select, update

from expunge.compliance import deadlines, models
from expunge.compliance.canonical import canonical_text
from expunge.compliance.lifecycle import (
    HOLDS_QUARANTINE,
    IN_A_RUN,
    RELEASES_DUPLICATES,
    IllegalMove,
    Status,
    check_move,
    is_past,
    refusal_ground,
    status_of,
)
from expunge.compliance.moments import date_to_text, from_text, to_text
from expunge.compliance.quarantine import Quarantine
from expunge.compliance.rows import Request
from expunge.errors import UsageError, nearest

_MOMENTS = ("answered_at", "model_unlearned_at", "identity_requested_at", "identity_confirmed_at")
_FIELDS = (*_MOMENTS, "outcome", "refusal_ground", "duplicate_of", "details")

AMBIGUOUS = "ambiguous_identity"
"""Outcome of a request that more than one person fits, until it is said which."""

CONTENT_KEY = "content_key_id"
"""In the details: the key of `content_sha256`, once the request has pseudonyms under a newer one."""

_OUTCOME = {
    Status.REFUSED: "refused",
    Status.NOT_FOUND: "not_found",
    Status.DUPLICATE: "duplicate",
    Status.CANCELLED: "cancelled",
    Status.CLOSED: "erased",
}


class Progress(Quarantine):
    """The chapter of the ledger that moves requests through their life."""

    def move(self, request_id: str, status: str, run_id: str | None = None, **fields: Any) -> Request:
        """Move a request to `status`; returns it as it is afterwards.

        `fields`: answered_at, model_unlearned_at, identity_requested_at, identity_confirmed_at (aware), outcome,
        refusal_ground, duplicate_of, details (merged into what is there). A request already in that state, for the
        same run, stays as it is (new field values are still recorded), and one that the same run has taken further
        is left alone, so that a run can start again after a crash.

        Moving to `quarantined` takes the records out of every new training; `cancelled` and `refused` let them back
        unless another request holds them. Those two, `not_found` and `identity_unverified` open again the requests that
        were answered as duplicates of this one.
        Raises IllegalMove for a step that the life of a request does not know, for a request that another run holds,
        and for closing before the data are erased and a model is promoted; UsageError for a refusal without a ground
        or an unknown field; NotFoundError.
        """
        target = status_of(status)
        for name in fields:
            if name not in _FIELDS:
                raise UsageError(f"A move cannot set {name!r}.", nearest(name, list(_FIELDS)))
        with self._write() as connection:
            return self._move(connection, self._request(connection, request_id), target, run_id, fields)

    def admit(self, request_id: str) -> Request:
        """received -> accepted -> quarantined, at once; idempotent.

        Raises IllegalMove for a request that waits for proof of identity (`Contact.confirm` it first), or is answered;
        NotFoundError.
        """
        with self._write() as connection:
            request = self._request(connection, request_id)
            if request.status in HOLDS_QUARANTINE:
                return request
            if request.status == Status.IDENTITY_UNVERIFIED:
                raise IllegalMove(
                    f"Request {request_id} waits for proof of identity.",
                    f"When it is there: expunge request confirm {request_id}.",
                )
            if request.status != Status.ACCEPTED:
                request = self._move(connection, request, Status.ACCEPTED, None, {})
            return self._move(connection, request, Status.QUARANTINED, None, {})

    def cancel(self, request_id: str, **details: Any) -> Request:
        """Withdraw a request; possible until unlearning starts, and once it failed. Raises IllegalMove otherwise."""
        return self.move(request_id, Status.CANCELLED, details=details)

    def refuse(self, request_id: str, ground: str, **details: Any) -> Request:
        """Refuse a request on a ground of GDPR Art. 17(3) (a to e) or Art. 12, or of CCPA. Raises as `move`."""
        return self.move(request_id, Status.REFUSED, refusal_ground=ground, details=details)

    def extend(self, request_id: str, reason: str, notice_at: datetime) -> Request:
        """Extend the deadline once. `notice_at` is when the subject was told, with the reason.

        Raises UsageError if that was after the deadline, without a reason, or a second time; the same again is
        accepted.
        """
        notice = to_text(notice_at, "The time of the notice")
        if not reason.strip():
            raise UsageError("An extension needs its reason.", "The subject must be told it (GDPR Art. 12(3)).")
        with self._write() as connection:
            request = self._request(connection, request_id)
            if request.extended_to is not None:
                if request.extension_reason == reason and to_text(request.extension_notice_at) == notice:
                    return request
                raise UsageError(f"Request {request_id} is already extended to {request.extended_to}.", "Only once.")
            if not request.is_open:
                raise IllegalMove(f"Request {request_id} is {request.status}.", "Nothing is left to extend.")
            told = deadlines.local_date(notice_at, self._settings.timezone, "The time of the notice")
            received = deadlines.local_date(request.received_at, self._settings.timezone)
            if not received <= told <= self._deadline_at(request, notice_at):
                raise UsageError(
                    f"Request {request_id} was due on {request.due_at}; the notice is of {told}.",
                    "An extension counts only if the subject is told before the first deadline.",
                )
            paused = deadlines.paused_days(
                request.regulation, request.received_at, request.identity_requested_at,
                request.identity_confirmed_at, request.due_at, self._settings.timezone,
            )  # fmt: skip
            longer = deadlines.extend(
                request.regulation, request.received_at, self._settings.holidays, self._settings.timezone, paused
            )
            values = {
                "extended_to": date_to_text(longer.due_at),
                "extension_reason": reason,
                "extension_notice_at": notice,
            }
            return self._update(
                connection, request, "request.extended", values, {"from": str(request.due_at), "rule": longer.rule}
            )

    def rule_of(self, request: Request) -> str:
        """The rule that gives the request's deadline, that of the extension where there is one."""
        _, longer = self._paused(request, request.identity_requested_at, request.identity_confirmed_at)
        return longer.rule if longer is not None else request.due_rule

    def _move(
        self, connection: Connection, request: Request, target: Status, run_id: str | None, fields: Mapping[str, Any]
    ) -> Request:
        if request.status == target:
            if run_id is not None and request.run_id is not None and run_id != request.run_id:
                raise _held(request, run_id)
            values = self._field_values(request, fields)
            if run_id is not None and request.run_id is None:
                values["run_id"] = run_id
            values = {name: value for name, value in values.items() if value != self._stored(connection, request, name)}
            return self._update(connection, request, "request.updated", values, {}) if values else request
        if run_id is not None and run_id == request.run_id and is_past(request.status, target):
            return request
        check_move(request.status, target, request.id)
        if request.status in IN_A_RUN and run_id is not None and request.run_id not in (None, run_id):
            raise _held(request, run_id)
        values = self._field_values(request, fields)
        if values.get("duplicate_of") is not None:
            self._request(connection, values["duplicate_of"])
        values["status"] = target.value
        if target == Status.QUARANTINED:
            values["run_id"] = None  # whatever run held it has let go
        elif run_id is not None:
            values["run_id"] = run_id
        self._state_values(request, target, values)
        touched = self._quarantine_effects(connection, request, target)
        moved = self._update(
            connection,
            request,
            "request.moved",
            values,
            {"from": request.status.value, "to": target.value},
            touched=touched,
            run_id=run_id or request.run_id,
        )
        if target in RELEASES_DUPLICATES:
            self._reopen_duplicates(connection, request.id)
        return moved

    def _state_values(self, request: Request, target: Status, values: dict[str, Any]) -> None:
        """What a state brings with it: its milestone, its outcome, the clock that ran or stood still."""
        now = to_text(self._now())
        if target in _OUTCOME:
            values.setdefault("outcome", _OUTCOME[target])
            values.setdefault("answered_at", now)
        if target == Status.REFUSED:
            values["refusal_ground"] = refusal_ground(request.regulation, values.get("refusal_ground"))
        if target == Status.IDENTITY_UNVERIFIED:
            values.setdefault("identity_requested_at", now)
        if target == Status.ACCEPTED and request.outcome == AMBIGUOUS:
            raise IllegalMove(
                f"Request {request.id} fits more than one person.",
                f"Say which: expunge request confirm {request.id} --subject PERSON.",
            )
        if target == Status.ACCEPTED and request.status == Status.IDENTITY_UNVERIFIED:
            values.setdefault("identity_confirmed_at", now)
            values.setdefault("outcome", None)
            asked = from_text(values.get("identity_requested_at")) or request.identity_requested_at
            later, longer = self._paused(request, asked, from_text(values["identity_confirmed_at"]))
            values["due_at"], values["due_rule"] = date_to_text(later.due_at), later.rule
            if longer is not None:
                values["extended_to"] = date_to_text(longer.due_at)
        if target == Status.PROMOTED:
            values.setdefault("model_unlearned_at", now)
        if target == Status.CLOSED:
            for name, what in (
                ("data_erased_at", "the data are erased"),
                ("model_unlearned_at", "a model is promoted"),
            ):
                if getattr(request, name) is None and values.get(name) is None:
                    raise IllegalMove(
                        f"Request {request.id} cannot be closed before {what} ({name} is empty).",
                        "Call mark_erased after the purge." if name == "data_erased_at" else "Promote a model first.",
                    )

    def _reopen_duplicates(self, connection: Connection, original: str) -> None:
        """Requests answered with "we already have this one" are owed an answer again when that one falls away, or
        waits for proof that may never come.
        """
        table = models.request
        query = select(table.c.id).where(
            table.c.duplicate_of == original,
            table.c.status == Status.DUPLICATE.value,
            table.c.outcome == "duplicate",  # what is erased already stays so
        )
        for name in sorted(connection.execute(query).scalars()):
            request = self._request(connection, name)
            ambiguous = "candidate_pseudonyms" in request.details
            asked = request.identity_requested_at is not None and request.identity_confirmed_at is None
            waits = ambiguous or asked or not request.details.get("identity_verified", True)
            target = Status.IDENTITY_UNVERIFIED if waits else Status.RECEIVED
            outcome = AMBIGUOUS if ambiguous else None
            values = {"status": target.value, "duplicate_of": None, "outcome": outcome, "answered_at": None}
            payload = {"from": "duplicate", "to": target.value, "duplicate_of": original}
            self._update(connection, request, "request.reopened", values, payload)

    def _update(
        self,
        connection: Connection,
        request: Request,
        kind: str,
        values: Mapping[str, Any],
        payload: Mapping[str, Any],
        touched: tuple[str, ...] = (),
        run_id: str | None = None,
    ) -> Request:
        """Change the row and append the event. Free text stays in the row: an event can never be corrected."""
        connection.execute(_update_of(tuple(sorted(values))), {"key": request.id, **values})
        content = {**payload, "fields": sorted(name for name in values if name != "status")}
        self._event(
            connection,
            kind,
            content,
            touched=(f"request/{request.id}", *touched),
            request_id=request.id,
            run_id=run_id or request.run_id,
        )
        return self._request(connection, request.id)

    def _field_values(self, request: Request, fields: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in fields.items():
            if name in _MOMENTS:
                values[name] = to_text(value, name)
            elif name == "details":
                if value:
                    values[name] = canonical_text({**request.details, **value})
            else:
                values[name] = value
        return values

    def _stored(self, connection: Connection, request: Request, name: str) -> Any:
        row = self._row(connection, models.request, "id", request.id)
        return None if row is None else row[name]


@cache
def _update_of(names: tuple[str, ...]) -> Update:
    """Set these columns of the request `key`; made once, for to build a statement takes longer than to run it."""
    values: dict[str, Any] = {name: bindparam(name) for name in names}
    return update(models.request).where(models.request.c.id == bindparam("key")).values(values)


def _held(request: Request, run_id: str) -> IllegalMove:
    return IllegalMove(
        f"Request {request.id} is {request.status} and held by run {request.run_id}, not by run {run_id}.",
        "Resume that run, or let it fail first.",
    )
