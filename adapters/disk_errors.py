"""Which disk refused? Said in a line instead of a traceback through DVC."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from expunge.errors import ExpungeError

REFUSALS = {
    errno.ENOSPC: "is full",
    errno.EDQUOT: "is over its quota",
    errno.EROFS: "is read-only",
    errno.EACCES: "cannot be written",
    errno.EPERM: "cannot be written",
}


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raises ExpungeError where the disk of this folder refused; other errors pass."""
    try:
        yield
    except ExpungeError:
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError) and cause.errno in REFUSALS:
                raise _refused(folder, cause) from error
            cause = cause.__cause__ or cause.__context__
        raise


def _refused(folder: Path, error: OSError) -> ExpungeError:
    return ExpungeError(
        f"The disk of the DVC store {folder} {REFUSALS[error.errno or 0]}: nothing was recorded.",
        "Make room or make it writable, then run the command again; finished steps are not repeated.",
    )
