"""demo --week."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from cli import output
from cli.context import Options, project, settings, start


def show_week(config: Path | None, json: bool) -> None:
    """Play the rehearsed week in a project of its own below the state folder, and check it; exit 1 if a check fails."""
    from adapters.project import CODE_ROOT, Project
    from pipelines.week.run import run_week

    configuration = (config or CODE_ROOT / "configs" / "week.yaml").resolve()
    home = Project(project().state / "week")
    home.root.mkdir(parents=True, exist_ok=True)
    Options.project = home.root  # its clock is simulated: it shares no ledger with anything real
    chosen = settings(configuration)
    start()
    found = run_week(chosen, configuration, home, (lambda line: None) if json else output.line)
    if json:
        output.as_json(
            {
                "checks": [vars(finding) for finding in found.findings],
                "requests": found.requests,
                "statistics": found.statistics,
                "seconds": found.seconds,
            }
        )
    else:
        _show(found)
    if not all(finding.ok for finding in found.findings):
        raise typer.Exit(1)


def _show(found: Any) -> None:
    rows = [
        (
            r["id"],
            r["regulation"],
            r["received_at"][:10],
            r["extended_to"] or r["due_at"],
            (r["answered_at"] or "")[:10],
            r["status"],
            r["outcome"],
        )
        for r in found.requests
    ]
    columns = ("request", "regulation", "received", "deadline", "answered", "status", "outcome")
    output.table("The week's requests", columns, rows)
    checks = [(finding.name, "ok" if finding.ok else "NOT OK", finding.words) for finding in found.findings]
    output.table("Checks", ("check", "", "what was found"), checks)
    output.line(f"{found.scenes} scenes; this call took {found.seconds:.0f} s. The clock was simulated.")
