"""Which pipelines of this project run now, on this machine? Each holds a lock that says since when.

The lock of a killed process is free: nobody has to notice that it died.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from adapters.project import current_project

_PREFIX = "pipeline-"


@contextlib.contextmanager
def running() -> Iterator[None]:
    """While this lasts, a pipeline of this process runs."""
    name = f"{_PREFIX}{os.getpid()}-{time.time_ns()}"
    with FileLock(current_project().lock(name)) as lock:
        try:
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: nobody else can hold the same file


def nobody_since() -> float | None:
    """The moment (Unix time) before which everything that is half made was left by a killed process.

    None while another process runs a pipeline: what is half made may be its own.
    """
    moment = time.time()
    for path in current_project().lock("any").parent.glob(f"{_PREFIX}*.lock"):
        pid, started = path.stem.removeprefix(_PREFIX).split("-")
        if int(pid) == os.getpid():
            moment = min(moment, int(started) / 1e9)
            continue
        try:
            with FileLock(path, timeout=0):
                path.unlink(missing_ok=True)
        except Timeout:
            return None
    return moment - _GRAIN


_GRAIN = 0.02
"""File systems tell time in ticks: what was made just now may bear a moment slightly before."""
