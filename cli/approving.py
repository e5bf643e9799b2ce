"""approve RUN."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.context import Json, project, settings, start


def add_to(app: typer.Typer) -> None:
    app.command()(approve)


def approve(
    run_id: Annotated[
        str | None, typer.Argument(help="A run that waits; without it: what waits, and why.", metavar="[RUN]")
    ] = None,
    no: Annotated[bool, typer.Option("--no", help="Say no: the requests are planned again later.")] = False,
    reason: Annotated[
        str | None,
        typer.Option(help="Why not: too_expensive, wrong_method, wrong_requests, not_now or other."),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="Who says so: an account or role; default: EXPUNGE_APPROVER, or yours.")
    ] = None,
    plan: Annotated[
        str | None, typer.Option("--plan", help="The digest of the plan you saw, or its beginning: no other is meant.")
    ] = None,
    later: Annotated[bool, typer.Option("--later", help="Leave carrying it out to the next run-due.")] = False,
    json: Json = False,
) -> None:
    """Answer a deletion run that waits for a person; a yes is carried out at once. Without RUN: list what waits."""
    from adapters.approver import approver
    from adapters.ledger import open_ledger
    from adapters.verification import require_sound
    from expunge.compliance.approvals import plan_digest
    from expunge.errors import UsageError

    found = project()
    if run_id is None:
        _list(found, json)
        return
    if reason is not None and not no:
        raise UsageError("--reason says why not.", "Add --no, or leave it out.")
    require_sound(found)  # a plan that was changed behind its events is nobody's to approve
    with open_ledger(found) as ledger:
        run = ledger.get_run(run_id)
        digest = plan_digest(run) if run.plan else ""
        if plan is not None and (len(plan) < 8 or not digest.startswith(plan)):
            raise UsageError(f"The plan of {run_id} is not {plan!r} but {digest[:12]!r}.", "See `expunge approve`.")
        name = by or approver()
        before = run.status
        run = ledger.decide(run_id, not no, by=name, reason=reason, plan_sha256=digest or None)
    answer = run.details["approval"]
    if before == run.status:
        output.say(f"It was answered before, by {answer['by']} at {answer['at'][:16]}; nothing changed.")
    facts = {"run": run.id, "status": run.status, "approval": answer}
    if no:
        start()
        from pipelines.approval import settle_in_zenml

        settle_in_zenml(run.id, output.say)
        words = f"{run.id}: no, by {answer['by']}. Its requests stay quarantined and are planned again by `run-due`."
        output.as_json(facts) if json else output.line(words)
        return
    if not json:
        output.line(f"{run.id}: approved by {answer['by']}.")
    if later:
        output.as_json(facts) if json else output.line("The next `expunge run-due` carries it out.")
        return
    chosen = settings()
    start()
    from cli.due import show
    from pipelines.due import carry_out_approved

    show(chosen, carry_out_approved(chosen, output.say), json)


def _list(found: Any, json: bool) -> None:
    from adapters.ledger import open_ledger
    from expunge.compliance.approval_words import in_words
    from expunge.compliance.approvals import APPROVED, plan_digest

    with open_ledger(found) as ledger:
        runs = ledger.runs_for_approval()
        requests = {run.id: [ledger.get_request(r) for r in run.details["requests"]] for run in runs}
    if json:
        shown = [
            {
                "run": run.id,
                "status": run.status,
                "requests": run.details["requests"],
                "plan_sha256": plan_digest(run),
                "approval": run.details["approval"],
                "words": in_words(run, requests[run.id]),
            }
            for run in runs
        ]
        output.as_json(shown)
        return
    if not runs:
        output.line("Nothing waits for approval.")
    for run in runs:
        output.line(f"{run.id}  plan {plan_digest(run)[:12]}")
        output.line("  " + in_words(run, requests[run.id]))
        if run.status == APPROVED:
            output.line(f"  Approved by {run.details['approval']['by']}; the next `expunge run-due` carries it out.")
        else:
            output.line(f"  Yes: expunge approve {run.id}   No: expunge approve {run.id} --no --reason not_now")
