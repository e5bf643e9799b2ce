"""How does systemd call a schedule? A service and a timer with the schedule's own time zone, of the system or a user.

`Persistent=true` starts a run that was missed as soon as the machine is up again. systemd leaves out a time that the
clocks skip; the timer names those moments besides.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from adapters import clock
from adapters.project import Project
from adapters.schedules import Schedule, command, log_of
from expunge.compliance.canonical import sha256_of
from expunge.compliance.timetable import Timetable
from expunge.errors import ExpungeError, UsageError

_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


def available() -> bool:
    """Whether systemd runs here, and takes units of this user."""
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        return False
    if os.geteuid() == 0:
        return True
    return subprocess.run([*_systemctl(), "show-environment"], capture_output=True, check=False).returncode == 0


def unit_name(project: Project, name: str) -> str:
    """Without its ending; two projects on one machine do not meet."""
    return f"expunge-{name}-{sha256_of(str(project.root))[:8]}"


def calendars(timetable: Timetable) -> list[str]:
    """OnCalendar values: together they elapse at every moment of the timetable."""
    minute, hour, day, month, weekday = timetable.fields
    clock_time = f"{_list(hour, 2)}:{_list(minute, 2)}:00 {timetable.timezone}"
    months = _list(month, 2)
    plain = f"*-{months}-{_list(day, 2)} {clock_time}"
    by_weekday = f"{','.join(_DAYS[d] for d in weekday)} *-{months}-* {clock_time}" if weekday is not None else ""
    if weekday is None:
        found = [plain]
    else:  # cron takes the day of the month or that of the week
        found = [by_weekday] if day is None else [plain, by_weekday]
    local = [m.astimezone(timetable.zone) for m in timetable.skipped(clock.now())]
    return found + sorted({f"{m:%Y-%m-%d %H:%M:%S} {timetable.timezone}" for m in local})


def units(project: Project, schedule: Schedule) -> dict[str, str]:
    """File name -> content of the service and its timer. Raises UsageError for a path that no unit can hold."""
    log, name = log_of(project), unit_name(project, schedule.name)
    if re.search(r"[\n\r]", str(log)):
        raise UsageError(f"The path of the project, {str(project.root)!r}, has a line break.", "Rename it.")
    words = " ".join(_quoted(word) for word in command(project, schedule))
    about = f"Expunge: answer deletion requests (schedule {schedule.name})"
    service = (
        f"[Unit]\nDescription={about}\n\n[Service]\nType=oneshot\nExecStart={words}\n"
        # 4: the gate refused; 6: a person must decide. Both are on the ledger.
        f"SuccessExitStatus=4 6\nStandardOutput=append:{_specifiers(str(log))}\n"
        f"StandardError=append:{_specifiers(str(log))}\n"
    )
    lines = "".join(f"OnCalendar={value}\n" for value in calendars(schedule.timetable))
    timer = (
        f"[Unit]\nDescription={about}\n\n[Timer]\n{lines}Persistent=true\nAccuracySec=1s\n\n"
        "[Install]\nWantedBy=timers.target\n"
    )
    return {f"{name}.service": service, f"{name}.timer": timer}


def install(project: Project, schedule: Schedule) -> bool:
    """Write the units and start the timer; returns whether anything changed."""
    log_of(project).parent.mkdir(parents=True, exist_ok=True)
    folder, wanted = _folder(), units(project, schedule)
    if all((folder / name).is_file() and (folder / name).read_text() == text for name, text in wanted.items()):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in wanted.items():
        (folder / name).write_text(text)
    timer = f"{unit_name(project, schedule.name)}.timer"
    _call("daemon-reload")
    _call("enable", timer)
    _call("restart", timer)
    return True


def remove(project: Project, name: str) -> bool:
    """Stop the timer and take the units away; returns whether there were any."""
    unit, folder = unit_name(project, name), _folder()
    files = [folder / f"{unit}.timer", folder / f"{unit}.service"]
    if not any(path.exists() for path in files):
        return False
    if available():
        _call("disable", "--now", f"{unit}.timer")
    for path in files:
        path.unlink(missing_ok=True)
    if available():
        _call("daemon-reload")
    return True


def installed(project: Project, name: str) -> bool:
    return (_folder() / f"{unit_name(project, name)}.timer").is_file()


def _folder() -> Path:
    if os.geteuid() == 0:
        return Path("/etc/systemd/system")
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def _systemctl() -> list[str]:
    return ["systemctl"] if os.geteuid() == 0 else ["systemctl", "--user"]


def _call(*words: str) -> None:
    done = subprocess.run([*_systemctl(), *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ExpungeError(f"systemctl {' '.join(words)} failed: {done.stderr.strip()}.", "See `journalctl -xe`.")


def _list(values: tuple[int, ...] | None, width: int) -> str:
    return "*" if values is None else ",".join(f"{value:0{width}d}" for value in values)


def _specifiers(word: str) -> str:
    return word.replace("%", "%%")


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{_specifiers(escaped)}"'
