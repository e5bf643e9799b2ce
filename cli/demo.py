"""demo."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from cli import output
from cli.context import Config, Json, Set, project, remember, settings, start


def add_to(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    week: Annotated[
        bool, typer.Option("--week", help="A rehearsed week instead: 25 requests, two crashes, a failed gate.")
    ] = False,
    config: Config = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """The whole loop on real data: train, score, calibrate, and answer two deletion requests with evidence."""
    if week:
        from cli.week import show_week

        show_week(config, json)
        return
    began = time.monotonic()
    from pathlib import Path

    from adapters.project import CODE_ROOT

    chosen = settings(config or Path(CODE_ROOT / "configs" / "digits.yaml"), overrides)
    start()
    from pipelines.demo import run_demo

    started = time.monotonic() - began
    done = run_demo(chosen, output.say)
    remember(chosen)
    seconds = {"start": started, **done.seconds, "in all": time.monotonic() - began}
    if json:
        output.as_json(
            {"seconds": seconds, "done_before": done.done_before, "requests": [row.to_dict() for row in done.rows]}
        )
        return
    if done.losses is not None:
        from cli.scoring import show_hardest

        show_hardest(done.losses, 10)
    if done.done_before:
        output.line("Both requests were answered before: nothing was done twice. What is on record:")
    from cli.outcomes import show_outcomes

    show_outcomes(done.rows)
    _next(done)
    output.line("Time: " + ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()))


def _next(done: Any) -> None:
    state = project().state
    certificate = state / done.rows[0].certificate if done.rows else state / "certificates"
    output.line("Next: expunge verify " + str(certificate))
    output.line("      expunge audit request demo-hard-contributor --publish && expunge dashboard")
