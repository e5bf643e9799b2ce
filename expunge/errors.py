"""Every error a user can meet: what is wrong, where, what to do, and the exit code that goes with it."""

from __future__ import annotations


class ExpungeError(Exception):
    """An error with a remedy. `hint` says what to do; `exit_code` is the process exit code of the CLI."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(ExpungeError):
    """Wrong usage, wrong configuration or unusable input data."""

    exit_code = 2


class NotFoundError(ExpungeError):
    """A record, request, run, model or file that does not exist."""

    exit_code = 3


class GateFailed(ExpungeError):
    """The unlearned model did not pass the gate; nothing was promoted."""

    exit_code = 4


class IntegrityError(ExpungeError):
    """Bytes are missing or are not those that were recorded."""

    exit_code = 5


class NeedsApproval(ExpungeError):
    """A person must decide before the run goes on."""

    exit_code = 6


def nearest(name: str, valid: list[str]) -> str:
    """Hint naming the closest valid name, for messages about unknown keys and names."""
    from difflib import get_close_matches

    close = get_close_matches(name, valid, n=1, cutoff=0.4)
    known = ", ".join(sorted(valid))
    return f"Did you mean {close[0]!r}? Known: {known}." if close else f"Known: {known}."
