"""Who may change models and stores now? One process at a time: what a deletion run holds, nobody else touches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from adapters.project import current_project
from expunge.errors import ExpungeError


@contextmanager
def alone() -> Iterator[None]:
    """Hold the lock that `expunge run-due` takes. Raises ExpungeError at once while another process holds it."""
    lock = FileLock(current_project().lock("deletion"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ExpungeError(
            "Another process is answering requests in this project: nothing was changed.", "Wait for it, or see it end."
        ) from error
    try:
        yield
    finally:
        lock.release()
