"""Where does half-finished work lie? In a folder that a restarted run finds again and no other process touches."""

from __future__ import annotations

import atexit
import shutil
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from adapters.project import current_project

_claimed: dict[Path, FileLock] = {}


def claim(key: str) -> Path:
    """The folder of this piece of work, held until `release` or the end of the process.

    The same key gives the same folder after a crash; while another process holds it, a second one is made.
    """
    project = current_project()
    for number in count():
        folder = project.work / (key if number == 0 else f"{key}-{number}")
        if folder in _claimed:
            return folder
        lock = FileLock(project.lock(f"work-{folder.name}"), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        _claimed[folder] = lock
        return folder
    raise AssertionError  # count() never ends


def borrow(key: str) -> Path:
    """The same for what no restarted run needs: removed at the end of the process at the latest."""
    folder = claim(key)
    atexit.register(_give_back, folder)
    return folder


def release() -> None:
    """Remove the folders that this process holds: their results are stored."""
    for folder in list(_claimed):
        _give_back(folder)


def _give_back(folder: Path) -> None:
    lock = _claimed.pop(folder, None)
    if lock is None:
        return
    shutil.rmtree(folder, ignore_errors=True)
    Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: nobody else can hold the same file
    lock.release()


def sweep() -> None:
    """Remove every folder of half-finished work that no process holds: what killed runs left."""
    project = current_project()
    if not project.work.is_dir():
        return
    for folder in project.work.iterdir():
        if folder in _claimed:
            continue
        lock = FileLock(project.lock(f"work-{folder.name}"), timeout=0)
        try:
            with lock:
                shutil.rmtree(folder, ignore_errors=True)
        except Timeout:
            continue
