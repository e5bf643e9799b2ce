"""In whose name is an approval given? The account that calls, unless EXPUNGE_APPROVER names another."""

from __future__ import annotations

import os

VARIABLE = "EXPUNGE_APPROVER"


def approver() -> str:
    """The name for the ledger. Names a role or an account: it stays there for ever."""
    if given := os.environ.get(VARIABLE, "").strip():
        return given
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name  # not LOGNAME, which anybody can set
    except KeyError:
        return f"user {os.getuid()}"
