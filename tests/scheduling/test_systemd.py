"""Does a systemd timer elapse when the timetable says so? systemd's own calendar is asked, which needs no systemd."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.systemd import calendars
from expunge.compliance.timetable import Timetable

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
NOW = datetime(2026, 3, 20, 12, 0, tzinfo=UTC)


def elapses(calendar: str, after: datetime, count: int) -> set[datetime]:
    """The next so many times, as systemd computes them."""
    base = f"--base-time={after:%Y-%m-%d %H:%M:%S} UTC"
    call = ["systemd-analyze", "calendar", base, f"--iterations={count}", calendar]
    out = subprocess.run(call, capture_output=True, text=True, check=True, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"})
    found = re.findall(r"(?:Next elapse|Iter. #\d+): \w+ (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", out.stdout)
    return {datetime.fromisoformat(text).replace(tzinfo=UTC) for text in found}


@pytest.mark.parametrize(
    "cron", ["0 2 * * *", "30 2 * * mon-fri", "*/20 1-3 * * *", "5 1,22 1,15 * 0", "0 2 1 */2 *", "45 * * * *"]
)
def test_every_moment_of_the_timetable(cron: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPUNGE_SIMULATED_NOW", NOW.isoformat())
    table = Timetable(cron, "Europe/Berlin")
    expected = table.following(NOW, 1000)
    expected = [m for m in expected if m < NOW + timedelta(days=270)]  # both changes of the clocks are within
    found = set().union(*(elapses(calendar, NOW, 1000) for calendar in calendars(table)))
    assert set(expected) <= found, "systemd misses a turn"
    # it may call once too often, where an hour comes twice: then run-due finds that its time has not come
    extra = [m for m in found if m <= expected[-1] and m not in set(expected)]
    assert len(extra) <= 4 and all(m.date().isoformat() in ("2026-03-29", "2026-10-25") for m in extra)


def test_the_units_are_whole(new_house: Callable[..., Any], tmp_path: Path) -> None:
    house = new_house("units")
    root = tmp_path / 'a "b" 100% $HOME c'
    house.root.rename(root)
    house = type(house)(root, house.elsewhere)
    out = house.run("schedule", "create", "--cron", "0 2 * * *", "--as", "systemd", "--print").out
    parts = re.split(r"^# (expunge-nightly-\w+\.(?:service|timer))$", out, flags=re.MULTILINE)
    units = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert len(units) == 2
    for name, text in units.items():
        (tmp_path / name).write_text(text)
    call = ["systemd-analyze", "verify", *(str(tmp_path / name) for name in units)]
    checked = subprocess.run(call, capture_output=True, text=True, check=False)
    complaints = [line for line in checked.stderr.splitlines() if "expunge-" in line]
    assert complaints == [] and "Persistent=true" in out and "02:00:00 UTC" in out
    service = next(text for name, text in units.items() if name.endswith("service"))
    assert str(root).replace("%", "%%") in re.search(r"^StandardOutput=append:(.*)$", service, re.MULTILINE).group(1)
