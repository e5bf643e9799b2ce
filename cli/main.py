"""`expunge`: global options, the verbs, and errors in one or two lines with their exit codes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli import (
    approving,
    audit,
    demo,
    due,
    evaluating,
    evidence,
    explaining,
    keys,
    ledger,
    models,
    projects,
    purging,
    queue,
    reproducing,
    requests,
    scheduling,
    serving,
    statistics,
    storage,
    training,
    unlearning,
)
from cli.context import Options

app = typer.Typer(
    name="expunge",
    help="Make trained models forget, as cheaply as each record's privacy loss allows, and prove it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _global_options(
    project: Annotated[
        Path | None, typer.Option("--project", help="Project folder; default: found upward from here, else the clone.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and the libraries' own logs.")] = False,
) -> None:
    Options.project, Options.debug = project, debug


MODULES = (
    demo, projects, training, unlearning, evaluating, evidence, requests, queue, due, approving, scheduling, statistics,
    explaining, purging, models, audit, ledger, serving, keys, storage,
    reproducing,
)  # fmt: skip
for module in MODULES:
    module.add_to(app)


def main() -> None:
    """Run the app; turn every error into a message, what to do, and an exit code."""
    from expunge.errors import ExpungeError

    try:
        app()
    except ExpungeError as error:
        if Options.debug:
            raise
        _complain(error.message, error.hint)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _complain("Interrupted.", "Run the command again: it goes on where it was.")
        sys.exit(130)
    except Exception as error:
        if Options.debug:
            raise
        _complain(f"{type(error).__name__}: {error}", "Run it again with `expunge --debug ...` for the traceback.")
        sys.exit(1)


def _complain(message: str, hint: str) -> None:
    from cli.progress import stop_progress

    stop_progress()
    sys.stderr.write(f"expunge: {message}\n" + (f"  {hint}\n" if hint else ""))


if __name__ == "__main__":
    main()
