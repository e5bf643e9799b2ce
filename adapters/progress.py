"""Who is told how far a step has come? Steps run in the process of the command that started them."""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[str, int, int], None]
_listener: Listener | None = None


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
