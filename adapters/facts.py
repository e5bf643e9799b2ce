"""What must be on record to run something again: code revision, versions, device."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version

from adapters.project import CODE_ROOT

_PACKAGES = ("expunge", "torch", "numpy", "scikit-learn", "zenml", "dvc", "evidently")


def code_revision() -> str:
    """The commit of the clone, with "+" when files were changed since; "unknown" without git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def _git(*arguments: str) -> str:
    # Without the optional lock: a process that is killed here would leave it, and block the user's next commit.
    command = ["git", "--no-optional-locks", "-C", str(CODE_ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
