"""purge: what a purge would destroy, and destroying again what a backup brought back."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.context import Json, start


def add_to(app: typer.Typer) -> None:
    app.command()(purge)


def purge(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what a purge would destroy and keep, and why.")
    ] = False,
    requests: Annotated[
        list[str] | None,
        typer.Option(
            "--request",
            help="With --dry-run: for this request; default: every open one, and what is erased. Repeatable.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Destroy again whatever of an erased record is back, as after a restore from a backup.

    The records of open requests are purged by `expunge run-due`, after a model without them serves; never by this.
    """
    from expunge.errors import UsageError

    if requests and not dry_run:
        raise UsageError(
            "A purge for one request happens only inside its deletion run, after a model that passed the gate serves.",
            "See what it would destroy with --dry-run, and run `expunge run-due`.",
        )
    start()
    if dry_run:
        _show_preview(requests or [], json)
        return
    from adapters.purge_again import purge_again

    run_id, done = purge_again()
    if unfinished := _unfinished():
        output.say(f"{unfinished} request(s) wait for the purge of their own run: `expunge run-due` completes it.")
    if json:
        parts = done.destroyed if done else []
        output.as_json({"run": run_id or None, "destroyed": parts, "rescan": done.rescan if done else None})
        return
    if done is None:
        output.line("Nothing of an erased record is there: nothing was destroyed.")
        return
    rows = [(p["kind"], p["name"], p.get("content_hash") or "", p["method"]) for p in done.destroyed]
    output.table(f"Destroyed again ({run_id})", ("kind", "id", "hash", "how"), rows)
    output.line(f"Scanned again: {done.rescan['words']}.")
    output.line("Was a backup put back? Check that the model that serves is the right one: expunge model list.")


def _unfinished() -> int:
    """Requests whose new model serves and whose records are not purged yet."""
    from adapters.ledger import open_ledger

    with open_ledger() as ledger:
        return len(ledger.list_requests("promoted"))


def _show_preview(requests: list[str], json: bool) -> None:
    from adapters.purge_preview import preview

    chosen, items = preview(requests)
    if json:
        output.as_json({"requests": chosen, "items": [item.to_dict() for item in items]})
        return
    if not chosen and all(item.action == "keep" for item in items):
        output.line("No open request, and nothing of an erased record is there: a purge would destroy nothing.")
        return
    once = f"For {', '.join(chosen)}, once a model without these records serves" if chosen else "Of erased records"
    output.line(f"{once}; what is back or has no name goes with the next `expunge purge`:")
    logs = [item for item in items if item.kind == "step_log"]
    rows = [_row(item) for item in items if item not in logs]
    if logs:
        size = sum(item.size or 0 for item in logs)
        rows.append((logs[0].action, "step_log", f"{len(logs)} files", "", logs[0].where, size, logs[0].why))
    output.table("Purge", ("", "kind", "id", "hash", "where", "bytes", "why"), rows)
    output.line("Nothing was changed.")


def _row(item: Any) -> tuple[Any, ...]:
    size = "" if item.size is None else item.size
    return (item.action, item.kind, item.id, item.hash[:16], item.where, size, item.why)
