"""Does only one process answer requests, and does a dead one hold nobody up? On files, and on a shared PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from postgresql_server import NoServer, running_server

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
from adapters.turn import turn
with turn(wait=sys.argv[1] == "wait", say=lambda line: print(line, flush=True)):
    print("HOLDS", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(project: Path, url: str, wait: str, seconds: float) -> subprocess.Popen[str]:
    project.mkdir(exist_ok=True)
    environment = {**os.environ, "EXPUNGE_PROJECT": str(project), "EXPUNGE_LEDGER_URL": url, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", HOLD, wait, str(seconds)],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def check(first: Path, second: Path, url: str) -> None:
    one = holder(first, url, "no", 300)
    assert one.stdout is not None and one.stdout.readline() == "HOLDS\n"
    refused = holder(second, url, "no", 0)
    out, err = refused.communicate(timeout=60)
    assert out == "" and "AtWork" in err and "answering requests" in err
    waiting = holder(second, url, "wait", 0)
    assert waiting.stdout is not None and "waiting for it" in waiting.stdout.readline()
    time.sleep(0.5)
    assert waiting.poll() is None
    os.kill(one.pid, signal.SIGKILL)
    one.communicate()
    out, err = waiting.communicate(timeout=30)
    assert "HOLDS" in out and waiting.returncode == 0, err


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    check(tmp_path / "project", tmp_path / "project", "")


@pytest.mark.xdist_group("postgresql")
def test_two_machines_with_one_ledger(tmp_path: Path) -> None:
    """Two projects stand for two machines: they share nothing but the database."""
    try:
        with running_server() as server:
            check(tmp_path / "here", tmp_path / "there", server.new_database())
            other = holder(tmp_path / "here", server.new_database(), "no", 0)
            assert "HOLDS" in other.communicate(timeout=60)[0], "another ledger is another turn"
    except NoServer as reason:
        pytest.skip(str(reason))


def test_no_wait_leaves_the_work_to_the_other(new_house: Callable[..., Any], declare: Callable[..., None]) -> None:
    house = new_house("busy")
    declare(house)
    one = holder(house.root, "", "no", 300)
    try:
        assert one.stdout is not None and one.stdout.readline() == "HOLDS\n"
        scheduled = house.run("run-due", "--schedule", "nightly", "-c", house.scenario)
        assert "Another process is answering requests" in scheduled.err and scheduled.out == ""
        assert not (house.state / "zenml").exists(), "nothing heavy was started for that"
    finally:
        os.kill(one.pid, signal.SIGKILL)
        one.communicate()
