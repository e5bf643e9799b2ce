"""A crontab that is given back as it was, and a schedule written down by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock


@pytest.fixture
def crontab() -> Iterator[Callable[..., str]]:
    """Reads this user's crontab, or replaces it; afterwards it is as it was. Tests that use it share a worker."""
    if shutil.which("crontab") is None:
        pytest.skip("cron is not installed (Debian: apt-get install cron)")

    def read() -> str | None:
        done = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else None

    def write(content: str | None) -> None:
        call = ["crontab", "-r"] if content is None else ["crontab", "-"]
        subprocess.run(call, input=content, capture_output=True, text=True, check=False)

    def _crontab(content: str | None = None) -> str:
        if content is not None:
            write(content)
        return read() or ""

    # A user has one crontab: pytest-xdist's groups alone do not keep two workers apart (pytest 9.2 breaks them).
    with FileLock(Path(tempfile.gettempdir()) / f"expunge-tests-crontab-{os.getuid()}.lock"):
        before = read()
        try:
            yield _crontab
        finally:
            write(before)


@pytest.fixture(scope="session")
def declare() -> Callable[..., None]:
    """Writes a schedule into a project's schedules.yaml, as its format is documented."""

    def _declare(house: Any, name: str = "nightly", **values: Any) -> None:
        declared = {"cron": "0 2 * * *", "timezone": "Europe/Berlin", "since": "2026-03-01T12:00:00+00:00", **values}
        house.state.mkdir(exist_ok=True)
        (house.state / "schedules.yaml").write_text(yaml.safe_dump({name: declared}))

    return _declare
