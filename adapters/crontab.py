"""How does cron call a schedule? An entry between two marker lines in the user's crontab; other lines stay as they are.

Debian's cron knows no time zones (CRON_TZ in a crontab is ignored there). So the entry looks once an hour, at the
schedule's minute, and `run-due --schedule` decides by the schedule's own zone whether its time has come. That also
catches up, within the hour, what a machine missed while it was off.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess

from adapters import clock
from adapters.project import Project
from adapters.schedules import Schedule, command, log_of
from expunge.compliance.timetable import minutes_of
from expunge.errors import ExpungeError, UsageError


def available() -> bool:
    return shutil.which("crontab") is not None


def entry(project: Project, schedule: Schedule) -> str:
    """The lines of the crontab. Raises UsageError for a path that no crontab can hold."""
    log = log_of(project)
    words = " ".join(shlex.quote(word) for word in command(project, schedule))
    line = f"{words} >> {shlex.quote(str(log))} 2>&1"
    if "\n" in line or "\r" in line:
        raise UsageError(f"The path of the project, {str(project.root)!r}, has a line break.", "Rename it.")
    minutes = minutes_of(schedule.timetable.following(clock.now(), 3000))
    when = "*" if len(minutes) == 60 else ",".join(map(str, minutes))
    # a bare % ends the command in a crontab
    lines = (_mark(project, schedule.name), f"{when} * * * * " + line.replace("%", r"\%"), _mark(project))
    return "\n".join(lines) + "\n"


def install(project: Project, schedule: Schedule) -> bool:
    """Put the entry in; returns whether the crontab changed."""
    log_of(project).parent.mkdir(parents=True, exist_ok=True)
    before = _read()
    others = _without(before, project, schedule.name)
    if others and not others.endswith("\n"):
        others += "\n"
    return _write(before, others + entry(project, schedule))


def remove(project: Project, name: str) -> bool:
    """Take the entry out; returns whether there was one."""
    before = _read()
    return _write(before, _without(before, project, name))


def installed(project: Project, name: str) -> bool:
    return available() and f"{_mark(project, name)}\n" in _read()


def _mark(project: Project, name: str = "") -> str:
    return f"# expunge schedule {name} of {project.root}" if name else f"# end of expunge schedule of {project.root}"


def _without(content: str, project: Project, name: str) -> str:
    """The crontab without our entry. Raises UsageError where its end is missing: nobody else's line may go."""
    start, end = _mark(project, name), _mark(project)
    kept, inside = [], False
    for line in content.splitlines(keepends=True):
        text = line.rstrip("\n")
        if text == start:
            inside = True
        elif inside and text == end:
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise UsageError(
            f"The crontab has the start of schedule {name} but not its end ({end!r}).", "Mend it with `crontab -e`."
        )
    return "".join(kept)


def _read() -> str:
    done = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    if "no crontab for" in done.stderr:
        return ""
    raise ExpungeError(f"The crontab cannot be read: {done.stderr.strip()}.", "Nothing was changed.")


def _write(before: str, after: str) -> bool:
    if after == before:
        return False
    if after.strip():
        done = subprocess.run(["crontab", "-"], input=after, capture_output=True, text=True, check=False)
    else:
        done = subprocess.run(["crontab", "-r"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ExpungeError(f"The crontab cannot be written: {done.stderr.strip()}.", "It is as it was.")
    return True
