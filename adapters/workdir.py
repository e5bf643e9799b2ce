"""Where does half-finished work lie? In a folder that a restarted run finds again and no other process touches."""

from __future__ import annotations

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


def release() -> None:
    """Remove the folders that this process holds: their results are stored."""
    for folder, lock in list(_claimed.items()):
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
        del _claimed[folder]


def sweep() -> None:
    """Remove every folder of half-finished work that no process holds: what killed runs left, and checkouts."""
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
