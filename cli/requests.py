"""request add|list|show; the other verbs of `request` are in request_files and request_changes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.context import Config, Json, data_settings, project

app = typer.Typer(help="Deletion requests: take in, list, change, answer.", no_args_is_help=True)


def add_to(parent: typer.Typer) -> None:
    from cli import request_changes, request_files

    request_files.add_to(app)
    request_changes.add_to(app)
    parent.add_typer(app, name="request")


@app.command("add")
def add(
    records: Annotated[
        list[str] | None, typer.Option("--record", "-r", help="A record id, of --subject if given. Repeatable.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", "-s", help="A person: without --record, all of their records.")
    ] = None,
    request_id: Annotated[
        str | None, typer.Option("--id", help="The controller's request id; default: a new one.")
    ] = None,
    regulation: Annotated[
        str | None, typer.Option("--regulation", help="gdpr, uk_gdpr or ccpa; default: compliance.regulation.")
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Take in one deletion request. The same request twice changes nothing."""
    chosen = data_settings(config)
    found = project()
    from pipelines.intake import add_request

    added, count = add_request(chosen, found, records or [], subject, request_id, regulation)
    if json:
        output.as_json({**added.request.to_dict(), "created": added.created, "records": count})
        return
    words = "on the ledger" if added.created else "was on the ledger already; nothing changed"
    output.line(f"Request {added.request.id} {words}: {added.request.status}, {count} record(s).")
    output.line(f"  due {added.request.deadline} ({added.request.due_rule})")
    if added.request.outcome == "ambiguous_identity":
        output.line("  It fits more than one person. Say who is meant:")
        output.line(f"    expunge request confirm {added.request.id} --subject PERSON")


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
    shown = [
        (r.id, r.status, r.regulation, f"{r.received_at:%Y-%m-%d}", r.deadline, r.outcome or "", _owed(r)) for r in rows
    ]
    output.table("Requests", ("request", "status", "regulation", "received", "due", "outcome", "still owed"), shown)
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
    if owed := _owed(request):
        output.line(f"  still owed: {owed}")
    output.line(f"  {len(records)} record(s), run {request.run_id or 'none yet'}")
    for certificate in certificates:
        output.line(f"  certificate {found.state / certificate.path}")
    output.table("Events", ("at", "what", "run"), [(e.at, e.kind, e.run_id or "") for e in events])


def _owed(request: Any) -> str:
    """What the person must still hear before the answer itself."""
    if request.owes_acknowledgement:
        return f"acknowledge by {request.acknowledge_by}"
    if request.status != "identity_unverified":
        return ""
    return "proof of identity" + ("" if request.identity_requested_at is not None else "; nobody was asked yet")
