"""explain REQUEST."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.context import Json, project


def add_to(app: typer.Typer) -> None:
    app.command()(explain)


def explain(
    request_id: Annotated[str, typer.Argument(help="The request's id.", metavar="REQUEST")], json: Json = False
) -> None:
    """One paragraph on a request for a privacy officer: what was asked, done, tested, and what that does not prove."""
    found = project()
    from pipelines.explanation import explanation

    request, words = explanation(found, request_id)
    if json:
        output.as_json({"request": request.to_dict(), "words": words})
        return
    output.line(words)
