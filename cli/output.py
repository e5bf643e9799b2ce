"""How are results printed? Tables and JSON to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from cli.progress import stop_progress


def say(line: str) -> None:
    """A remark on stderr."""
    stop_progress()
    sys.stderr.write(line + "\n")


def line(text: str = "") -> None:
    """A result line on stdout."""
    stop_progress()
    sys.stdout.write(text + "\n")


def as_json(value: Any) -> None:
    """A result as JSON on stdout."""
    stop_progress()
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], lines: bool = False) -> None:
    """A result table on stdout, as wide as the terminal, or 160 columns where there is none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    stop_progress()
    made = Table(title=title, title_justify="left", show_lines=lines)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)
    console.print(made)
