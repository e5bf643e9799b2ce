"""schedule create|list|remove."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.context import Json, project, start
from cli.due import Approve, Within, days

app = typer.Typer(help="Scheduled runs: create, list, remove.", no_args_is_help=True)
KINDS = ("zenml", "systemd", "cron")


def add_to(parent: typer.Typer) -> None:
    parent.add_typer(app, name="schedule")


@app.command("create")
def create(
    cron: Annotated[str, typer.Option("--cron", help='Five fields; "0 2 * * *" is every night at 2.')],
    name: Annotated[str, typer.Argument(help="The schedule's name.", metavar="[NAME]")] = "nightly",
    timezone: Annotated[
        str | None, typer.Option("--timezone", help="IANA name; default: that of the compliance settings.")
    ] = None,
    within: Within = None,
    approve: Approve = False,
    kind: Annotated[
        str | None, typer.Option("--as", help="zenml, systemd or cron; default: the first that works here.")
    ] = None,
    show: Annotated[bool, typer.Option("--print", help="Only print what would be installed.")] = False,
    json: Json = False,
) -> None:
    """Answer due requests on a schedule, in a named time zone. The same again changes nothing."""
    from adapters import schedules
    from adapters.ledger import controller
    from expunge.errors import UsageError, nearest

    found = project()
    if kind is not None and kind not in KINDS:
        raise UsageError(f"--as {kind!r} is not known.", nearest(kind, list(KINDS)))
    span = days(within)
    zone = timezone or controller(found).timezone
    wanted = schedules.Schedule(name, cron, zone, None if span is None else span.days, approve)
    _ = wanted.timetable  # refused here, a bad expression starts nothing
    before = next((one for one in schedules.schedules(found) if one.name == name), None)
    kind = kind or _first(found)
    from dataclasses import replace

    wanted = replace(wanted, installed=kind, cron=wanted.timetable.cron)
    if show:
        output.line(_rendered(found, wanted))
        return
    if kind == "cron":
        from adapters import crontab

        if not crontab.available():
            raise UsageError("There is no cron here.", "Install it (Debian: apt-get install cron), or use --print.")
    if before is not None and before.installed not in ("", kind):
        _remove(found, before)
    declared, changed = schedules.declare(found, wanted)
    changed = _install(found, declared) or changed
    _report(found, declared, changed, json)


@app.command("list")
def list_schedules(json: Json = False) -> None:
    """Every schedule: when it ran last, what came of it, what was missed, and when it runs next."""
    from adapters import clock, schedules
    from adapters.ledger import open_ledger
    from expunge.compliance.scheduled import ran_at

    found = project()
    rows = []
    with open_ledger(found) as ledger:
        for one in schedules.schedules(found):
            last = ledger.last_scheduled_run(one.name)
            turn, _ = schedules.turn_of(found, one)
            table = one.timetable
            rows.append(
                {
                    **one.to_dict(),
                    "in_place": _in_place(found, one),
                    "last_ran": None if last is None else ran_at(last).isoformat(timespec="seconds"),
                    "last": None if last is None else last.payload,
                    "missed_now": 0 if turn is None else turn.missed,
                    "next": [table.local(m) for m in table.following(clock.now(), 3)],
                }
            )
    if json:
        output.as_json(rows)
        return
    if not rows:
        output.line("No schedules. Make one: expunge schedule create --cron '0 2 * * *' --timezone Europe/Berlin")
        return
    shown = [
        (
            row["name"],
            f"{row['cron']} {row['timezone']}",
            row["installed"] + ("" if row["in_place"] is not False else ": NOT THERE"),
            "never" if row["last"] is None else f"{row['last_ran']} {row['last']['outcome']}",
            "" if row["last"] is None else f"{row['last']['answered']} / {row['last']['failed']}",
            row["missed_now"],
            "\n".join(row["next"]),
        )
        for row in rows
    ]
    columns = ("schedule", "when", "called by", "last ran", "answered / failed", "missed since", "next")
    output.table("Schedules", columns, shown, lines=True)


@app.command("remove")
def remove(name: Annotated[str, typer.Argument(help="The schedule's name.", metavar="NAME")]) -> None:
    """Take a schedule away, from the project and from whatever calls it. What it did stays on the ledger."""
    from adapters import schedules

    found = project()
    declared = schedules.find_schedule(found, name)
    gone = _remove(found, declared)
    schedules.forget(found, name)
    output.line(f"Schedule {name} is removed" + ("." if gone else f"; {declared.installed} did not have it any more."))


def _first(found: Any) -> str:
    """The first that works here. Raises UsageError if none does."""
    from adapters import crontab, systemd
    from expunge.errors import UsageError

    start()
    from adapters import zenml_schedule

    if zenml_schedule.available():
        return "zenml"
    if systemd.available():
        return "systemd"
    if crontab.available():
        return "cron"
    raise UsageError(
        "Nothing here runs on a schedule: the ZenML stack cannot, and there is neither systemd nor cron.",
        "Install cron (Debian: apt-get install cron), or name one with --as and --print to see what to install.",
    )


def _install(found: Any, declared: Any) -> bool:
    if declared.installed == "zenml":
        start()
        from pipelines.scheduled import install_in_zenml

        return install_in_zenml(found, declared)
    from adapters import crontab, systemd

    return (systemd if declared.installed == "systemd" else crontab).install(found, declared)


def _remove(found: Any, declared: Any) -> bool:
    if declared.installed == "zenml":
        start()
        from adapters import zenml_schedule

        return zenml_schedule.remove(found, declared.name)
    from adapters import crontab, systemd

    if declared.installed == "cron" and not crontab.available():
        return False
    return (systemd if declared.installed == "systemd" else crontab).remove(found, declared.name)


def _in_place(found: Any, declared: Any) -> bool | None:
    """Whether what calls it is there; None where that cannot be seen without starting ZenML."""
    if declared.installed == "zenml":
        return None
    from adapters import crontab, systemd

    return (systemd if declared.installed == "systemd" else crontab).installed(found, declared.name)


def _rendered(found: Any, wanted: Any) -> str:
    if wanted.installed == "cron":
        from adapters import crontab

        return crontab.entry(found, wanted).rstrip("\n")
    if wanted.installed == "systemd":
        from adapters import systemd

        return "\n".join(f"# {name}\n{text}" for name, text in systemd.units(found, wanted).items()).rstrip("\n")
    start()
    from adapters import zenml_schedule

    return f'Schedule(cron_expression="{zenml_schedule.utc_expression(wanted)}")  # UTC, on pipeline scheduled_run'


def _report(found: Any, declared: Any, changed: bool, json: bool) -> None:
    from adapters import clock, schedules

    table = declared.timetable
    following = [table.local(m) for m in table.following(clock.now(), 3)]
    if json:
        output.as_json({**declared.to_dict(), "changed": changed, "next": following})
        return
    called = {"zenml": "a ZenML Schedule", "systemd": "a systemd timer", "cron": "an entry of the crontab"}
    words = "is set up" if changed else "was set up already; nothing changed"
    output.line(f"Schedule {declared.name} {words}: {declared.cron} {declared.timezone}, {called[declared.installed]}.")
    output.line("  next: " + ", ".join(following))
    output.line(f"  log: {schedules.log_of(found)}")
    for words in table.oddities(clock.now()):
        output.say(words)
    if missing := schedules.not_carried(found):
        output.say(
            f"Set here, but not for scheduled runs: {', '.join(missing)}."
            f" Write them as KEY=VALUE lines into {schedules.environment_file(found)} (chmod 600)."
        )
