"""run-due."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output
from cli.context import Config, Json, Set, project, settings, start

if TYPE_CHECKING:
    from datetime import timedelta

    from pipelines.due import DueResult

Within = Annotated[
    str | None,
    typer.Option("--within", help="Wait until an open request is due within this time, such as 7d; then answer all."),
]
Approve = Annotated[
    bool, typer.Option("--approve", help="Approve plans as deletion.approve_up_to allows, for runs nobody watches.")
]


def add_to(app: typer.Typer) -> None:
    app.command("run-due")(run_due)


def run_due(
    within: Within = None,
    approve: Approve = False,
    wait: Annotated[
        bool,
        typer.Option("--wait/--no-wait", help="Wait for another process that answers requests, or leave."),
    ] = True,
    schedule: Annotated[
        str | None, typer.Option("--schedule", help="What a scheduler calls: run this schedule if its time has come.")
    ] = None,
    config: Config = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Answer all open requests in one run: plan, unlearn, judge, promote, destroy, certify. Safe to call again."""
    if schedule is not None:
        _scheduled(schedule, within, approve, config, overrides, json)
        return
    chosen = settings(config, overrides)
    span = days(within)
    start()
    from adapters.approver import approver
    from pipelines.due import run_due as run

    show(chosen, run(chosen, span, output.say, wait=wait, policy=approver() if approve else None), json)


def _scheduled(
    name: str, within: str | None, approve: bool, config: Any, overrides: list[str] | None, json: bool
) -> None:
    """The turn of a schedule: nothing heavy is loaded before its time has come."""
    from adapters import clock
    from adapters.schedules import find_schedule, load_environment, turn_of
    from expunge.errors import UsageError

    found = project()
    if within is not None or approve:
        raise UsageError("A schedule has its own --within and --approve.", "Change them: `expunge schedule create`.")
    load_environment(found)
    declared = find_schedule(found, name)
    now, _ = turn_of(found, declared)
    done = None
    if now is not None:
        output.say(f"-- {clock.now():%Y-%m-%d %H:%M:%S} UTC")
        chosen = settings(config, overrides)
        from adapters.turn import turn

        with turn(wait=False):
            pass  # is anybody at work? Asked before ZenML is loaded, and again when the turn is taken
        start()
        from adapters.approver import approver
        from pipelines.scheduled import run_scheduled

        policy = approver() if declared.approve else None
        done = run_scheduled(found, declared, chosen, policy, output.say)
    if done is None:
        if json:
            output.as_json({"requests": [], "answered": [], "not_yet": True})
        return
    show(chosen, done, json)


def show(chosen: Any, done: DueResult, json: bool) -> None:
    """What a run did, as a table or JSON. Raises NeedsApproval if something waits for a person."""
    from pipelines.outcome import outcomes

    rows = outcomes(chosen, done.requests) if done.requests else []
    if json:
        waiting = {"awaiting": done.awaiting} if done.awaiting else {}
        output.as_json({"requests": [row.to_dict() for row in rows], "answered": done.answered, **waiting})
    elif not rows and not done.answered and not done.awaiting:
        output.line("Nothing is due.")
    else:
        for request_id in done.answered:
            output.line(f"{request_id}: answered; the model was never trained on its records.")
        if rows:
            from cli.outcomes import show_outcomes

            show_outcomes(rows)
    if done.awaiting:
        from expunge.errors import NeedsApproval

        names = ", ".join(done.awaiting)
        raise NeedsApproval(
            f"{names} {'waits' if len(done.awaiting) == 1 else 'wait'} for approval.",
            f"See the plan: `expunge approve`. Say yes: `expunge approve {done.awaiting[0]}`, or no: --no --reason ...",
        )


def days(within: str | None) -> timedelta | None:
    """A time span such as 7d or 2w. Raises UsageError."""
    from datetime import timedelta

    from expunge.errors import UsageError

    if within is None:
        return None
    number, unit = within[:-1], within[-1:]
    if not number.isdigit() or unit not in ("d", "w") or len(number) > 4:
        raise UsageError(f"--within {within!r} is no time span.", "Write 7d or 2w.")
    return timedelta(days=int(number) * (7 if unit == "w" else 1))
