"""How are moments and dates written in the ledger?

UTC, ISO 8601, always with six decimals, so that the order of the texts is the order of the moments.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

from expunge.errors import UsageError


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def require_aware(moment: datetime, what: str) -> datetime:
    """`moment` in UTC. Raises UsageError if it carries no time zone: a guess could be a day off."""
    if not isinstance(moment, datetime):
        raise UsageError(f"{what} is {moment!r}, not a date with a time.", "Pass an aware datetime.")
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise UsageError(
            f"{what} ({moment.isoformat()}) has no time zone.", "Add one, for example +00:00 or Europe/Berlin."
        )
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise UsageError(f"{what} ({moment.isoformat()}) is outside the calendar.", "Check the year.") from error


def to_text(moment: datetime | None, what: str = "The time") -> str | None:
    """Ledger text of an aware moment, None for None."""
    return None if moment is None else require_aware(moment, what).isoformat(timespec="microseconds")


def from_text(text: str | None) -> datetime | None:
    """The aware moment of a ledger text, None for None."""
    return None if text is None else datetime.fromisoformat(text)


def date_to_text(day: date | None) -> str | None:
    """ISO date text, None for None."""
    return None if day is None else day.isoformat()


def date_from_text(text: str | None) -> date | None:
    """The date of a ledger text, None for None."""
    return None if text is None else date.fromisoformat(text)
