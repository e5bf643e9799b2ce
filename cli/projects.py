"""init, doctor, status."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import output
from cli.context import Config, Json, Set, project, settings, start


def add_to(app: typer.Typer) -> None:
    app.command("init")(init)
    app.command()(doctor)
    app.command()(status)
    app.command(hidden=True)(epoch)


def init(directory: Annotated[Path, typer.Argument(help="A new or empty folder.")]) -> None:
    """Make a project for your own data and model: a configuration, a data function and a model function that run."""
    from adapters.project import Project
    from cli.template import write_project

    written = write_project(Project(directory.resolve()))
    for path in written:
        output.line(f"wrote {path}")
    output.line(f"Next: cd {directory} && expunge train && expunge score --top 20")


def doctor(
    json: Json = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Time the kernels on the scenario's model; scoring then uses the fastest.")
    ] = False,
    untune: Annotated[bool, typer.Option("--untune", help="Forget what --tune found.")] = False,
    config: Config = None,
    overrides: Set = None,
) -> None:
    """Check that everything works here: versions, stores, ledger, every artifact and checkpoint of what serves."""
    if tune or untune:
        from cli.tuning import forget_kernels, time_kernels

        if untune:
            forget_kernels(json)
        if tune:
            time_kernels(settings(config, overrides), json)
        return
    start()
    from adapters.health import check_health

    checks = check_health(project())
    if json:
        output.as_json([check.to_dict() for check in checks])
    else:
        rows = [(check.name, "ok" if check.ok else "NOT OK", check.words) for check in checks]
        output.table("Doctor", ("check", "", "what was found"), rows)
    worst = next((check for check in checks if not check.ok), None)
    if worst is not None:
        raise typer.Exit(worst.exit_code)


def status(json: Json = False) -> None:
    """Open requests, runs and the ledger's chain; reads the ledger alone.

    Of a long chain only the new end is checked, and the answer says so; `expunge doctor` checks all of it.
    """
    found = project()
    from adapters import clock
    from adapters.ledger import open_ledger
    from expunge.compliance.chain_check import check_quickly

    with open_ledger(found) as ledger:
        counts, due = ledger.counts_by_status(), ledger.due_requests()
        runs, last_run = ledger.last_run()
        chain = check_quickly(ledger, found.chain_note, clock.now())
    facts = {
        "project": str(found.root),
        "open": len(due),
        "late": sum(one.late for one in due),
        "done": counts["closed"],
        "next_due": due[0].deadline.isoformat() if due else None,
        "runs": runs,
        "last_run": last_run,
        "chain": chain.state,
        "checked": chain.words,
    }
    if json:
        output.as_json(facts)
    else:
        for name, value in facts.items():
            output.line(f"{name.replace('_', ' '):<10}{'-' if value is None else value}")
    if chain.broken:
        raise typer.Exit(5)


def epoch() -> None:
    """Write the erasure epoch for dvc.yaml: new after every quarantine and purge, and when a store was lost."""
    start()
    from adapters.health import check_stores
    from adapters.ledger import open_ledger, write_epoch

    found = project()
    if not check_stores():
        with open_ledger(found) as ledger:
            ledger.advance_epoch("reset")
    output.line(write_epoch(found))
