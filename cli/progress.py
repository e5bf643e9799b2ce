"""How far has it come? A bar on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

_bar: Any = None
_task: Any = None
_stage = ""
_started = 0.0
_said = 0.0
QUIET_SECONDS = 10.0


def show_progress() -> None:
    """Listen to what the steps report."""
    from adapters.progress import listen

    listen(_on_terminal if sys.stderr.isatty() else _on_lines)


def stop_progress() -> None:
    """Take the bar down before something else is printed."""
    global _bar, _stage
    if _bar is not None:
        _bar.stop()
    _bar, _stage = None, ""


def _on_terminal(stage: str, done: int, total: int) -> None:
    global _bar, _task, _stage
    if _bar is None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        _bar = Progress(*columns, console=Console(stderr=True), transient=True)
        _bar.start()
        _stage = ""
    if stage != _stage:
        for old in list(_bar.task_ids):
            _bar.remove_task(old)
        _task, _stage = _bar.add_task(stage, total=total), stage
    _bar.update(_task, completed=done, total=total)


def _on_lines(stage: str, done: int, total: int) -> None:
    """A line a stage, and one every ten seconds of a long one."""
    global _stage, _started, _said
    now = time.monotonic()
    if stage != _stage:
        _stage, _started, _said = stage, now, now
        sys.stderr.write(f"  {stage} ...\n")
    elif now - _said > QUIET_SECONDS and done:
        _said = now
        left = (now - _started) / done * (total - done)
        sys.stderr.write(f"  {stage}: {done} of {total}, about {left:.0f} s left\n")
