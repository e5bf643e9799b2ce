"""Does Debian's cron answer a request, exactly once, on a schedule of every minute?"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("crontab")]


@pytest.fixture
def daemon() -> Iterator[None]:
    """A running cron: the machine's own, or one that is started for the test."""
    if shutil.which("cron") is None:
        pytest.skip("cron is not installed (Debian: apt-get install cron)")
    running = subprocess.run(["pgrep", "-x", "cron"], capture_output=True, check=False).returncode == 0
    if not running and os.geteuid() != 0:
        pytest.skip("no cron runs, and only root can start one")
    started = None if running else subprocess.Popen(["cron", "-f"])
    try:
        yield
    finally:
        if started is not None:
            started.terminate()
            started.wait()


def test_every_minute(new_house: Callable[..., Any], crontab: Callable[..., str], daemon: None) -> None:
    house = new_house("cron", evaluation={"gating": ["utility"], "utility_margin": 0.5})
    house.run("train", "-c", house.scenario)
    house.run("request", "add", "-r", house.trained_ids()[0], "--id", "wanted")
    house.run("schedule", "create", "--cron", "* * * * *", "--timezone", "Europe/Berlin", "--as", "cron")
    ran = "select count(*) from event where kind = 'schedule.ran'"
    deadline = time.monotonic() + 900
    while house.ledger(ran)[0][0] < 2:
        assert time.monotonic() < deadline, (house.state / "logs" / "schedule.log").read_text()
        time.sleep(2)
    house.run("schedule", "remove", "nightly")
    assert "run-due" not in crontab() and house.status("wanted") == "closed"
    payloads = [p for (p,) in house.ledger("select payload from event where kind = 'schedule.ran' order by seq")]
    assert '"answered":1' in payloads[0] and all('"answered":0' in p for p in payloads[1:])
    assert house.ledger("select count(*) from certificate") == [(1,)]
    assert house.ledger("select count(*) from deletion_run where status = 'closed'") == [(1,)]
    log = (house.state / "logs" / "schedule.log").read_text()
    assert "Schedule nightly: the run of" in log and "Traceback" not in log
