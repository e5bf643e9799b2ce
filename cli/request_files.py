"""request import|export: requests from files, their status back to the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.context import Config, Json, data_settings, project

SHOWN = 100
"""Lines of a receipt on a screen."""


def add_to(app: typer.Typer) -> None:
    app.command("import")(import_files)
    app.command("export")(export)


def import_files(
    files: Annotated[list[Path], typer.Argument(help="CSV, JSON lines or OpenDSR documents.", metavar="FILE...")],
    format: Annotated[
        str | None, typer.Option("--format", help="csv, jsonl or opendsr; default: by suffix and content.")
    ] = None,
    identity: Annotated[
        list[str] | None,
        typer.Option("--identity", help="OpenDSR: TYPE=subject_id or TYPE=record_id, such as email=subject_id."),
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Take in files of deletion requests, each whole or not at all. The same file twice changes nothing."""
    types = _identity_types(identity or [])
    found = project()
    from adapters.ledger import controller
    from pipelines.intake import Imported, import_requests, read_files

    read = read_files(found, files, format, types)
    failed = {name: error for name, error in read.items() if isinstance(error, Exception)}
    if len(failed) == len(read):  # the data are not needed to say so
        done = [Imported(name, error=error) for name, error in failed.items()]
    else:
        done = import_requests(data_settings(config), found, read)
    _show_imported(done, controller(found).timezone, json)
    errors = [one.error for one in done if one.error is not None]
    if errors:
        _raise(errors)


def export(
    request_ids: Annotated[
        list[str] | None, typer.Argument(help="Requests; default: all.", metavar="[REQUEST]...")
    ] = None,
) -> None:
    """The OpenDSR status documents of requests, as JSON: one object for one request, else a list."""
    found = project()
    from adapters.ledger import controller, open_ledger
    from expunge.compliance.documents import status_document

    timezone = controller(found).timezone
    with open_ledger(found) as ledger:
        requests = [ledger.get_request(one) for one in request_ids] if request_ids else ledger.list_requests()
        counts, issued = ledger.record_counts(), ledger.certificates()
    certificates: dict[str, list[Any]] = {}
    for one in issued:
        certificates.setdefault(one.request_id, []).append(one)
    documents = [
        status_document(request, timezone, counts.get(request.id), certificates.get(request.id, ()))
        for request in requests
    ]
    output.as_json(documents[0] if request_ids and len(request_ids) == 1 else documents)


def _identity_types(given: list[str]) -> dict[str, str]:
    from expunge.errors import UsageError

    types = {}
    for one in given:
        name, equals, column = one.partition("=")
        if not name or not equals or column not in ("subject_id", "record_id"):
            raise UsageError(f"--identity {one!r} is no mapping.", "Write TYPE=subject_id or TYPE=record_id.")
        types[name] = column
    return types


def _answer(added: Any) -> str:
    """What a receipt says of a request, in one word or two."""
    if not added.created:
        return "already there"
    words = {"received": "created", "identity_unverified": "identity in doubt", "not_found": "not found"}
    if added.request.outcome == "ambiguous_identity":
        return "ambiguous"
    if added.request.outcome == "already_erased":
        return "erased already"
    return words.get(added.request.status.value, added.request.status.value)


def _show_imported(done: list[Any], timezone: str, json: bool) -> None:
    from expunge.compliance.documents.status import receipt

    rows: list[dict[str, Any]] = []
    for one in done:
        for added in one.added:
            request = added.request
            rows.append(
                {
                    "file": one.file,
                    "request": request.id,
                    "answer": _answer(added),
                    "status": request.status.value,
                    "outcome": request.outcome,
                    "duplicate_of": request.duplicate_of,
                    "unknown_records": request.details.get("unknown_records", 0),
                    "unmatched_identities": request.details.get("unmatched_identities", 0),
                    "due_at": request.deadline.isoformat(),
                    "due_rule": request.due_rule,
                    **receipt(request, timezone),
                }
            )
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["answer"]] = counts.get(row["answer"], 0) + 1
    if json:
        refused = [
            {
                "file": one.file,
                "error": one.error.message,
                "faults": [vars(f) for f in getattr(one.error, "faults", ())],
            }
            for one in done
            if one.error is not None
        ]
        output.as_json({"counts": counts, "requests": rows, "refused_files": refused})
        return
    if not rows:
        return
    columns = ("request", "answer", "due", "received_time", "expected_completion_time", "request_status", "note")
    shown = [
        (
            row["request"],
            row["answer"],
            row["due_at"],
            row["received_time"],
            row["expected_completion_time"],
            row["request_status"],
            _note(row),
        )
        for row in rows[:SHOWN]
    ]
    output.table("Receipt", columns, shown)
    if len(rows) > SHOWN:
        output.line(f"... and {len(rows) - SHOWN} more: --json has all of them.")
    output.line(f"{len(rows)} request(s): " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


def _note(row: dict[str, Any]) -> str:
    notes = []
    if row["duplicate_of"]:
        notes.append(f"by {row['duplicate_of']}")
    if row["unknown_records"] and row["answer"] != "not found":
        notes.append(f"{row['unknown_records']} record(s) unknown")
    if row["unmatched_identities"]:
        notes.append(f"{row['unmatched_identities']} identity(s) of a type that is not mapped")
    return ", ".join(notes)


def _raise(errors: list[Any]) -> None:
    """One error as it is; several as one."""
    from expunge.errors import UsageError

    if len(errors) == 1:
        raise errors[0]
    raise UsageError("\n".join(error.message for error in errors), errors[0].hint)
