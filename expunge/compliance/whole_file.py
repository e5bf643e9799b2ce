"""How does a file appear whole or not at all, and survive a power cut?"""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_whole(target: Path, content: bytes) -> None:
    """Write `content` under `target`, replacing what was there at once; on the disk when this returns.

    Raises OSError if the disk refuses; then nothing of the name has changed.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename or a link inside `folder` survive a power cut."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
