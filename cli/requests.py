"""request add|list|show, run-due."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.context import Config, Json, Set, project, settings, start

app = typer.Typer(help="Deletion requests: add, list, show.", no_args_is_help=True)


def add_to(parent: typer.Typer) -> None:
    parent.add_typer(app, name="request")
    parent.command("run-due")(run_due)


@app.command("add")
def add(
    records: Annotated[list[str] | None, typer.Option("--record", "-r", help="A record id. Repeatable.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", "-s", help="A person: all of their records.")] = None,
    request_id: Annotated[
        str | None, typer.Option("--id", help="The controller's request id; default: a new one.")
    ] = None,
    regulation: Annotated[str, typer.Option("--regulation", help="gdpr or ccpa: sets the deadline.")] = "gdpr",
    config: Config = None,
    json: Json = False,
) -> None:
    """Take in one deletion request. The same request twice changes nothing."""
    chosen = settings(config)
    found = project()
    from pipelines.intake import add_request

    added, count = add_request(chosen, found, records or [], subject, request_id, regulation)
    if json:
        output.as_json({**added.request.to_dict(), "created": added.created, "records": count})
        return
    words = "on the ledger" if added.created else "was on the ledger already; nothing changed"
    output.line(f"Request {added.request.id} {words}: {added.request.status}, {count} record(s).")
    output.line(f"  due {added.request.deadline} ({added.request.due_rule})")


@app.command("list")
def list_requests(
    status: Annotated[str | None, typer.Option("--status", help="Only those in this state.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=0, help="So many a page; 0: all. Default: 50, with --json all.")
    ] = None,
    page: Annotated[int, typer.Option("--page", min=1, help="Which page of them.")] = 1,
    json: Json = False,
) -> None:
    """Requests that are owed an answer, by deadline, then those answered, the newest answer first."""
    found = project()
    from adapters.ledger import open_ledger

    # a table is for people, a page at a time; what a script reads must not end early without its asking
    size = (50 if limit is None and not json else limit) or None
    with open_ledger(found) as ledger:
        rows = ledger.page_of_requests(status, limit=size, skip=(page - 1) * (size or 0))
        counts = ledger.counts_by_status()
    if json:
        output.as_json([row.to_dict() for row in rows])
        return
    every = sum(counts.values()) if status is None else counts[rows[0].status] if rows else 0
    if not rows:
        words = "No requests." if status is None else f"No requests are {status}."
        output.line(words if page == 1 else f"No requests on page {page}.")
        return
    shown = [(r.id, r.status, r.regulation, f"{r.received_at:%Y-%m-%d}", r.deadline, r.outcome or "") for r in rows]
    output.table("Requests", ("request", "status", "regulation", "received", "due", "outcome"), shown)
    left = every - (page - 1) * (size or 0) - len(rows)
    if left > 0:
        output.line(f"… {left} more: --page {page + 1}, or --limit 0 for all.")


@app.command("show")
def show(request_id: Annotated[str, typer.Argument()], json: Json = False) -> None:
    """One request with everything that happened to it."""
    found = project()
    from adapters.ledger import open_ledger

    with open_ledger(found) as ledger:
        request, events = ledger.get_request(request_id), ledger.events(request_id)
        certificates, records = ledger.certificates(request_id), ledger.request_records(request_id)
    if json:
        parts: dict[str, Any] = {"records": records, "events": events, "certificates": certificates}
        listed = {name: [part.to_dict() for part in values] for name, values in parts.items()}
        output.as_json({**request.to_dict(), **listed})
        return
    output.line(f"Request {request.id}: {request.status}" + (f" ({request.outcome})" if request.outcome else ""))
    output.line(f"  {request.regulation}, received {request.received_at:%Y-%m-%d}, due {request.deadline}")
    output.line(f"  {len(records)} record(s), run {request.run_id or 'none yet'}")
    for certificate in certificates:
        output.line(f"  certificate {found.state / certificate.path}")
    output.table("Events", ("at", "what", "run"), [(e.at, e.kind, e.run_id or "") for e in events])


def run_due(
    within: Annotated[
        str | None, typer.Option("--within", help="Only what is due within this time, such as 7d; default: all open.")
    ] = None,
    config: Config = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Answer every due request in one run: plan, unlearn, judge, promote, destroy, certify. Safe to call again."""
    chosen = settings(config, overrides)
    span = _days(within)
    start()
    from pipelines.due import run_due as run
    from pipelines.outcome import outcomes

    done = run(chosen, span, output.say)
    rows = outcomes(chosen, done.requests) if done.requests else []
    if json:
        output.as_json({"requests": [row.to_dict() for row in rows], "answered": done.answered})
        return
    if not rows and not done.answered:
        output.line("Nothing is due.")
        return
    for request_id in done.answered:
        output.line(f"{request_id}: answered; the model was never trained on its records.")
    if rows:
        from cli.outcomes import show_outcomes

        show_outcomes(rows)


def _days(within: str | None) -> Any:
    from datetime import timedelta

    from expunge.errors import UsageError

    if within is None:
        return None
    number, unit = within[:-1], within[-1:]
    if not number.isdigit() or unit not in ("d", "w"):
        raise UsageError(f"--within {within!r} is no time span.", "Write 7d or 2w.")
    return timedelta(days=int(number) * (7 if unit == "w" else 1))
