"""queue: who is next, when, and who will be late."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.context import Json, project


def add_to(app: typer.Typer) -> None:
    app.command()(queue)


def queue(
    capacity: Annotated[
        float | None,
        typer.Option("--capacity", min=0, help="As if a night could take so many retrainings; default: the setting."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Show so many requests; 0: all.")] = 50,
    json: Json = False,
) -> None:
    """Open requests by deadline, the night each will be answered on, and which will be late; reads the ledger alone."""
    found = project()
    from adapters.queue import queue_of

    made = queue_of(found, capacity=capacity)
    if json:
        output.as_json(made.to_dict())
        return
    rows = [made.row(place, due) for place, due in enumerate(made.due, 1)]
    shown = rows[: limit or None]
    if shown:
        output.table(
            "Queue",
            ("", "request", "status", "deadline", "days left", "planned cost", "answered on"),
            [
                (
                    row["position"],
                    row["request_id"],
                    row["status"],
                    row["deadline"],
                    f"{row['days_left']}{' LATE' if row['late'] else ''}{' waits for proof' if row['paused'] else ''}",
                    "?" if row["planned_cost"] is None else f"{row['planned_cost']:.2f}",
                    (row["night"] or "-") + (" (late)" if row["will_be_late"] else ""),
                )
                for row in shown
            ],
        )
    if len(rows) > len(shown):
        output.line(f"… {len(rows) - len(shown)} more: --limit 0 for all.")
    output.line(made.words)
