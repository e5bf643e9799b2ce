"""dashboard."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.context import Json, project, start


def add_to(app: typer.Typer) -> None:
    app.command()(dashboard)


def dashboard(
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8237,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the dashboard of this project.")] = False,
    json: Json = False,
) -> None:
    """Start ZenML's dashboard for this project and say where it is: runs, their graphs, and the pages they made."""
    found = project()
    from adapters import dashboard as server

    if stop:
        stopped = server.stop(found)
        output.line("Stopped." if stopped else "It was not running.")
        return
    start()
    address = server.serve(found, port)
    if json:
        output.as_json({"address": address})
        return
    output.line(f"Dashboard: {address}/projects/default/runs")
    output.line(
        "  On this machine only, without a login. A real login: see docs/guide.md. Stop: expunge dashboard --stop"
    )
