"""statistics: what a regulator asks to see."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from cli import output
from cli.context import project

COLUMNS = (
    "received", "done", "refused", "not_found", "duplicate", "cancelled", "open", "late", "answered_late",
    "median_days",
)  # fmt: skip


class Format(StrEnum):
    """How statistics are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def add_to(app: typer.Typer) -> None:
    app.command()(statistics)


def statistics(
    since: Annotated[str | None, typer.Option("--since", help="First day of receipt, as 2026-01-01.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Last day of receipt, inclusive.")] = None,
    format: Annotated[Format, typer.Option("--format", help="table, json or csv.")] = Format.TABLE,
) -> None:
    """Counts of requests received, done, refused and open, and the median days to an answer, by regulation."""
    found = project()
    from adapters.ledger import controller, open_ledger

    timezone = controller(found).timezone
    first, last = _start_of(since, "--since", timezone), _start_of(until, "--until", timezone, days=1)
    with open_ledger(found) as ledger:
        counts = ledger.statistics(first, last)
    if format is Format.JSON:
        output.as_json({"since": since, "until": until, "timezone": timezone, **counts})
        return
    rows = [("all", counts), *counts["by_regulation"].items()]
    lines = [(name, *("" if one[c] is None else one[c] for c in COLUMNS)) for name, one in rows]
    if format is Format.CSV:
        output.line("\n".join(",".join(map(str, line)) for line in [("regulation", *COLUMNS), *lines]))
        return
    period = f"{since or 'the first'} to {until or 'now'}, days in {timezone}"
    titles = ("regulation", *(name.replace("_", " ") for name in COLUMNS))
    output.table(f"Requests received from {period}", titles, lines)


def _start_of(text: str | None, option: str, timezone: str, days: int = 0) -> Any:
    """The first moment of a day in the controller's time zone, or of the day so many days later."""
    from datetime import date, datetime, timedelta
    from zoneinfo import ZoneInfo

    from expunge.errors import UsageError

    if text is None:
        return None
    try:
        day = date.fromisoformat(text) + timedelta(days=days)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{option} {text!r} is not a day.", "Write 2026-01-31.") from error
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone))
