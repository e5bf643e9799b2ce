"""What time is it for this project? The machine's clock, unless a rehearsal sets one.

A rehearsal (`expunge demo --week`, a test) sets EXPUNGE_SIMULATED_NOW to an ISO moment with a time zone. Every event
written under it says so, and so does every certificate: nobody can pass a rehearsal off as the real thing.
"""

from __future__ import annotations

import os
from datetime import datetime

from expunge.compliance.limits import LIMITS, REHEARSAL
from expunge.compliance.moments import require_aware, utc_now
from expunge.errors import UsageError

VARIABLE = "EXPUNGE_SIMULATED_NOW"


def now() -> datetime:
    """The present moment, aware, in UTC. Raises UsageError for a simulated one that is no aware ISO moment."""
    given = os.environ.get(VARIABLE)
    if not given:
        return utc_now()
    try:
        moment = datetime.fromisoformat(given)
    except ValueError as error:
        raise UsageError(
            f"{VARIABLE} is {given!r}, not a moment.", "Write 2026-03-31T22:00:00+00:00, or unset it."
        ) from error
    return require_aware(moment, VARIABLE)


def is_simulated() -> bool:
    """Whether the clock is set by a rehearsal."""
    return bool(os.environ.get(VARIABLE))


def limits() -> tuple[str, ...]:
    """What no certificate of now proves; under a simulated clock that it is a rehearsal."""
    return (REHEARSAL, *LIMITS) if is_simulated() else LIMITS
