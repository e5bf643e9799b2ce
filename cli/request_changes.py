"""request extend|refuse|cancel|hold|confirm|acknowledge: what happens to a request on its way to the answer."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.context import Config, Json, data_settings, project

Id = Annotated[str, typer.Argument(help="The request's id.", metavar="REQUEST")]
At = Annotated[str | None, typer.Option("--at", help="When it was, as 2026-03-31T22:00:00+02:00; default: now.")]


def add_to(app: typer.Typer) -> None:
    for verb in (extend, refuse, cancel, hold, confirm, acknowledge):
        app.command()(verb)


def extend(
    request_id: Id,
    reason: Annotated[str, typer.Option("--reason", help="Why; the person must be told it.")],
    notice_at: Annotated[
        str | None, typer.Option("--notice-at", help="When the person was told, an ISO moment; default: now.")
    ] = None,
    json: Json = False,
) -> None:
    """Extend the deadline, once: GDPR to three months, CCPA to 90 days. The person must have been told why."""
    from adapters import clock

    told = _moment(notice_at, "--notice-at") or clock.now()
    _change(request_id, json, lambda ledger: ledger.extend(request_id, reason, told))


def refuse(
    request_id: Id,
    ground: Annotated[
        str, typer.Option("--ground", help="GDPR: a to e (Art. 17(3)), 12(5), 12(6). CCPA: the section, in words.")
    ],
    json: Json = False,
) -> None:
    """Refuse a request on a ground of its law; its records go back to training unless another request holds them."""
    _change(
        request_id,
        json,
        lambda ledger: ledger.refuse(request_id, ground),
        "The person must be told the reasons and the remedies by the deadline (GDPR Art. 12(4)).",
    )


def cancel(request_id: Id, json: Json = False) -> None:
    """Withdraw a request; possible until unlearning starts, and after it failed."""
    _change(request_id, json, lambda ledger: ledger.cancel(request_id))


def hold(request_id: Id, at: At = None, json: Json = False) -> None:
    """Ask for proof of identity: the request waits, and a GDPR clock stands still, until it is confirmed."""
    moment = _moment(at, "--at")
    _change(request_id, json, lambda ledger: ledger.hold(request_id, moment))


def confirm(
    request_id: Id,
    subject: Annotated[
        str | None, typer.Option("--subject", "-s", help="Whom it means, where more than one person fits.")
    ] = None,
    at: At = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """The proof of identity is there: the request is accepted, and its clock goes on."""
    moment = _moment(at, "--at")
    found = project()
    if subject is not None:
        from pipelines.intake import confirm_as

        confirm_as(data_settings(config), found, request_id, subject)
    _change(request_id, json, lambda ledger: ledger.confirm(request_id, moment))


def acknowledge(request_id: Id, at: At = None, json: Json = False) -> None:
    """Note that receipt was confirmed to the person; CCPA asks for it within 10 business days."""
    moment = _moment(at, "--at")
    _change(request_id, json, lambda ledger: ledger.acknowledge(request_id, moment))


def _change(request_id: str, json: bool, change: Any, advice: str = "") -> None:
    """Make one change, and say what it changed and which deadline counts now, by which rule."""
    found = project()
    from adapters.ledger import open_ledger, write_epoch

    with open_ledger(found) as ledger:
        before, epoch = ledger.get_request(request_id), ledger.epoch()
        after = change(ledger)
        rule = ledger.rule_of(after)
        moved = ledger.epoch() != epoch
    if moved:
        write_epoch(found)
    changed = {
        name: value
        for name, value in after.to_dict().items()
        if value != before.to_dict()[name] and name not in ("details", "due_rule")
    }
    if after.acknowledged_at != before.acknowledged_at and after.acknowledged_at is not None:
        changed["acknowledged_at"] = after.acknowledged_at.isoformat()
    if json:
        output.as_json({**after.to_dict(), "changed": changed, "deadline": after.deadline, "rule": rule})
        return
    output.line(f"Request {request_id}: {after.status}" + ("" if changed else "; nothing changed."))
    for name, value in changed.items():
        output.line(f"  {name.replace('_', ' ')}: {before.to_dict().get(name) or '-'} -> {value or '-'}")
    if after.is_open:
        late = f" (acknowledge by {after.acknowledge_by})" if after.owes_acknowledgement else ""
        output.line(f"  due {after.deadline}: {rule}{late}")
        if after.status == "identity_unverified" and after.identity_requested_at is None:
            output.line(
                "  It waits for proof of identity, and nobody was asked yet: the clock runs on. "
                f"When the person is asked: expunge request hold {after.id}."
            )
        elif after.status == "identity_unverified":
            stands = "goes on meanwhile" if after.regulation == "ccpa" else "stands still until it is confirmed"
            output.line(f"  It waits for proof of identity; the clock {stands}.")
    elif advice and changed:
        output.line(f"  {advice}")


def _moment(text: str | None, option: str) -> Any:
    from datetime import datetime

    from adapters import clock
    from expunge.compliance.moments import require_aware
    from expunge.errors import UsageError

    if text is None:
        return None
    try:
        moment = require_aware(datetime.fromisoformat(text), option)
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is not a moment.", "Write 2026-03-31T22:00:00+02:00.") from error
    if moment > clock.now():
        raise UsageError(f"{option} {text} is still to come.", "Note it when it has happened.")
    return moment
