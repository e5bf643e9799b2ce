"""How does a secret get onto disk exactly once, complete, and readable by its owner alone?"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from expunge.compliance.whole_file import sync_folder
from expunge.errors import UsageError

MAX_SECRET_BYTES = 64 * 1024


def load_or_create(path: Path, make: Callable[[], bytes]) -> bytes:
    """The content of `path`; if there is none, `make()` is written there with mode 0600.

    The content is written to a private file and then linked under its name, so that a reader never sees half a
    secret and processes that start at once all return the one that won.
    Raises UsageError if others may read the file, or if it cannot be read or written.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _create(path, make())
        return read_secret(path)
    except OSError as error:
        raise UsageError(
            f"The key file {path} cannot be used: {error.strerror or error}.", "Check the path and its permissions."
        ) from error


def read_secret(path: Path) -> bytes:
    """Content of a secret file. Raises UsageError if group or others may read or write it."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        if os.name == "posix" and mode & 0o077:
            raise UsageError(f"The key file {path} can be used by others (mode {mode:04o}).", f"Run: chmod 600 {path}")
        return file.read(MAX_SECRET_BYTES)


def replace_secret(path: Path, content: bytes) -> None:
    """Put `content` in the place of `path` at once, with mode 0600 (key rotation)."""
    temporary = _write_private(path, content)
    temporary.replace(path)
    sync_folder(path.parent)


def _create(path: Path, content: bytes) -> None:
    temporary = _write_private(path, content)
    try:
        path.hardlink_to(temporary)
        sync_folder(path.parent)
    except FileExistsError:
        pass  # another process was first: its secret is the one to use
    finally:
        temporary.unlink(missing_ok=True)


def _write_private(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary
