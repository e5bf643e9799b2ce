"""Who is told how far a step has come? Steps run in the process of the command that started them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

Listener = Callable[[str, int, int], None]
_listener: Listener | None = None
_lock = threading.Lock()
_parts: dict[str, dict[int, int]] = {}
_stopped = threading.Event()


class Stopped(Exception):
    """A part ended early because the command was interrupted, or another part failed."""


def listen(listener: Listener | None) -> None:
    """Tell this function about progress: (what is running, done, in all)."""
    global _listener
    _listener = listener


def progress(stage: str) -> Callable[[int, int], None]:
    """A progress callback for one stage."""

    def report(done: int, total: int) -> None:
        if _listener is not None:
            _listener(stage, done, total)

    return report


def announce(stage: str, done: int, total: int) -> None:
    """Progress of a named part."""
    progress(stage)(done, total)


def begin(stage: str) -> None:
    """A stage of several parts starts: none of it is done."""
    with _lock:
        _parts[stage] = {}


@contextlib.contextmanager
def stopping_parts() -> Iterator[None]:
    """For the thread that waits: where it is interrupted, the parts in other threads end at their next report.

    ZenML waits for steps that run, which may take minutes.
    """
    _stopped.clear()
    try:
        yield
    except BaseException:
        _stopped.set()
        raise


def progress_of_part(stage: str, part: int, total: int) -> Callable[[int, int], None]:
    """A progress callback for one of several parts that may run at once; `total` is that of all of them.

    It raises Stopped, as this call does, once the thread that waits was interrupted.
    """
    _refuse_stopped()

    def report(done: int, _: int) -> None:
        _refuse_stopped()
        with _lock:
            parts = _parts.setdefault(stage, {})
            parts[part] = done
            announce(stage, sum(parts.values()), total)

    return report


def _refuse_stopped() -> None:
    if _stopped.is_set():
        raise Stopped("Another part failed, or the command was interrupted.")
