"""Which schedules does this project have, and is it time for one? `.expunge/schedules.yaml`, read and written whole."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from adapters import clock
from adapters.ledger import open_ledger
from adapters.project import Project
from expunge.compliance.scheduled import ran_at
from expunge.compliance.timetable import GRACE, Timetable, Turn
from expunge.compliance.whole_file import write_whole
from expunge.errors import NotFoundError, UsageError, nearest

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class Schedule:
    """When requests are answered, and how. `installed`: what calls it: cron, systemd or zenml. `since`: declared then;
    earlier moments were never meant.
    """

    name: str
    cron: str
    timezone: str
    within_days: int | None = None
    approve: bool = False
    installed: str = ""
    since: str = ""

    @property
    def timetable(self) -> Timetable:
        return Timetable(self.cron, self.timezone)

    @property
    def within(self) -> timedelta | None:
        return None if self.within_days is None else timedelta(days=self.within_days)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def file_of(project: Project) -> Path:
    return project.state / "schedules.yaml"


def log_of(project: Project) -> Path:
    """Where scheduled runs write what they say."""
    return project.state / "logs" / "schedule.log"


def environment_file(project: Project) -> Path:
    """KEY=VALUE lines that scheduled runs are started with: cron and systemd know nothing of a login's environment."""
    return project.state / "schedule.env"


def schedules(project: Project) -> list[Schedule]:
    """The declared ones, by name. Raises UsageError for a file that cannot be read."""
    path = file_of(project)
    if not path.is_file():
        return []
    try:
        found = yaml.safe_load(path.read_text()) or {}
        made = [Schedule(name=name, **values) for name, values in sorted(found.items())]
        _ = [one.timetable for one in made]
        return made
    except (yaml.YAMLError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.", "Mend or remove it.") from error


def find_schedule(project: Project, name: str) -> Schedule:
    """One by name. Raises NotFoundError."""
    every = schedules(project)
    for one in every:
        if one.name == name:
            return one
    raise NotFoundError(f"There is no schedule {name!r}.", nearest(name, [one.name for one in every]))


def declare(project: Project, schedule: Schedule) -> tuple[Schedule, bool]:
    """Write it down; returns it, and whether anything changed. Another timetable counts from now on."""
    if not NAME.fullmatch(schedule.name):
        raise UsageError(f"{schedule.name!r} is no name for a schedule.", "Use a-z, 0-9 and '-', at most 40.")
    _ = schedule.timetable
    with FileLock(project.lock("schedules")):
        every = {one.name: one for one in schedules(project)}
        before = every.get(schedule.name)
        same_times = before is not None and before.timetable == schedule.timetable
        since = before.since if before and same_times else clock.now().isoformat(timespec="seconds")
        schedule = replace(schedule, cron=schedule.timetable.cron, since=since)
        if schedule == before:
            return schedule, False
        every[schedule.name] = schedule
        _write(project, every)
    return schedule, True


def brought(project: Project, schedule: Schedule) -> Schedule | None:
    """What counts of a schedule that was declared elsewhere and is brought here by what calls it.

    Where the project has its own file that one decides: it may say something else by now, or that the schedule was
    removed (None). Where it has none, the declaration is written down as it is.
    """
    with FileLock(project.lock("schedules")):
        if not file_of(project).is_file():
            _write(project, {schedule.name: schedule})
        return next((one for one in schedules(project) if one.name == schedule.name), None)


def forget(project: Project, name: str) -> None:
    with FileLock(project.lock("schedules")):
        _write(project, {one.name: one for one in schedules(project) if one.name != name})


def turn_of(project: Project, schedule: Schedule) -> tuple[Turn | None, datetime]:
    """Whether its time has come since it last ran, and since when that was counted."""
    now = clock.now()
    with open_ledger(project) as ledger:
        last = ledger.last_scheduled_run(schedule.name, by=now)
    since = datetime.fromisoformat(schedule.since)
    if since > now:  # declared under a wrong clock: what is on time now is still meant
        since = now - GRACE
    if last is not None:
        since = max(since, ran_at(last))
    return schedule.timetable.turn(since, now), since


def command(project: Project, schedule: Schedule) -> list[str]:
    """What a scheduler calls: absolute paths; everything else is in the declaration."""
    program = Path(sys.executable).with_name("expunge")
    return [str(program), "--project", str(project.root), "run-due", "--schedule", schedule.name]


def load_environment(project: Project) -> None:
    """Set what schedule.env names and the environment lacks. Raises UsageError for a line that is none, and for a
    file that others can read: it may hold a password.
    """
    path = environment_file(project)
    if not path.is_file():
        return
    if path.stat().st_mode & 0o077:
        raise UsageError(f"{path} can be read by others.", f"chmod 600 {path}")
    for line in path.read_text().splitlines():
        name, equals, value = line.strip().partition("=")
        if not name or name.startswith("#"):
            continue
        if not equals or not re.fullmatch(r"\w+", name):
            raise UsageError(f"A line of {path} is not KEY=VALUE.", "Mend it.")
        os.environ.setdefault(name, value)


def not_carried(project: Project) -> list[str]:
    """Variables set here that a scheduled run would lack."""
    path = environment_file(project)
    written = path.read_text() if path.is_file() else ""
    wanted = [n for n in os.environ if n.startswith(("EXPUNGE_", "ZENML_")) and n not in _OURS]
    return sorted(n for n in wanted if not re.search(rf"^\s*{n}=", written, flags=re.MULTILINE))


_OURS = {"EXPUNGE_PROJECT", clock.VARIABLE}


def _write(project: Project, every: dict[str, Schedule]) -> None:
    values = {name: {k: v for k, v in one.to_dict().items() if k != "name"} for name, one in sorted(every.items())}
    project.state.mkdir(parents=True, exist_ok=True)
    write_whole(file_of(project), yaml.safe_dump(values, sort_keys=False).encode())
