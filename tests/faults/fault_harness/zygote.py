"""One process that has imported everything and started nothing; every start of the program is a fork of it.

A fork costs milliseconds where a start costs seconds. The process itself never makes a ZenML client, a database
engine or a thread, so that a child is what a fresh process would be after its imports.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fault_harness.house import House

KILLED = (signal.SIGKILL, signal.SIGXFSZ)


@dataclass(frozen=True)
class End:
    """How a child ended: its exit code, or the signal that ended it; `hung` when it had to be stopped."""

    code: int | None
    signal: int | None
    hung: bool = False

    @property
    def was_killed(self) -> bool:
        return self.signal in KILLED and not self.hung


def warm_up(house: House) -> None:
    """Import what a run imports. Must be called once, before the first fork."""
    from adapters.bootstrap import set_environment
    from adapters.project import Project

    os.environ["OMP_NUM_THREADS"] = "1"
    set_environment(Project(house.root.resolve()))
    import torch

    torch.set_num_threads(1)
    for name in ("zenml", "dvc.repo", "sklearn", "pyarrow.parquet", "cli.main", "pipelines.due", "pipelines.training"):
        importlib.import_module(name)
    for name in ("pipelines.scoring", "pipelines.calibration", "pipelines.outcome", "cli.outcomes", "evidently"):
        importlib.import_module(name)
    _list_packages_once()
    settle()


def _list_packages_once() -> None:
    """ZenML starts a package manager in every run to write down what is installed; once is enough here."""
    from zenml.environment import Environment

    found = Environment.get_python_packages()
    Environment.get_python_packages = staticmethod(lambda: found)  # type: ignore[method-assign]


def import_too(names: Iterable[str]) -> None:
    """Import what a child was seen to import as well, so that no later child has to."""
    for name in names:
        if name in sys.modules or name.startswith(("__", "fault_harness")):
            continue
        try:
            importlib.import_module(name)
        except Exception:
            continue
    settle()


def settle() -> None:
    """Nothing may run beside the fork, and nothing need be collected in the children."""
    if threading.active_count() != 1:
        raise RuntimeError(f"a fork would not be safe: {threading.enumerate()}")
    gc.collect()
    gc.freeze()


def start(action: Callable[[], int | None], log: Path | None) -> int:
    """Fork a child that does this and exits; its output goes to the end of `log`, or nowhere. Returns its pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        output = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = action() or 0
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()  # what a process does at its end, such as removing borrowed folders
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int, seconds: float = 180) -> End:
    """Wait for a child; one that takes longer is stopped and said to hang."""
    deadline = time.monotonic() + seconds
    hung = False
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            return End(None, -code, hung) if code < 0 else End(code, None, hung)
        if time.monotonic() > deadline and not hung:
            hung = True
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def run(action: Callable[[], int | None], log: Path | None, seconds: float = 180) -> End:
    """Start and wait."""
    return wait(start(action, log), seconds)


def expunge(house: House, *arguments: str) -> int:
    """In a child: a verb of the program, as its console script runs it."""
    import cli.main

    sys.argv = ["expunge", "--project", str(house.root), *arguments]
    try:
        cli.main.main()
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    return 0
