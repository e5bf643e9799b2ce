"""Until when may a rewind's prefix be kept, and why must it go now? Pure functions of dates and states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta


def destroy_by(deadlines: Iterable[date], margin_days: int, promised: Iterable[date] = ()) -> date:
    """The day by which a prefix is destroyed: `margin_days` before the earliest deadline of the requests it concerns.

    promised: days that an earlier certificate named, which stand. Raises ValueError where there is no request.
    """
    return min([*(day - timedelta(days=margin_days) for day in deadlines), *promised])


def end_reason(
    promised: date,
    deadlines: Mapping[str, date | None],
    margin_days: int,
    today: date,
    policy: str,
) -> str | None:
    """Why a prefix must be destroyed today; None while it may stay.

    Args:
        promised: the day named when it was kept. A deadline that was extended since does not move it.
        deadlines: of the requests it concerns; None for one that is answered, which ends the prefix at once.
    """
    if policy != "until_due":
        return f"the policy is {policy} now"
    answered = sorted(name for name, day in deadlines.items() if day is None)
    if answered:
        return f"request {answered[0]} is answered"
    if not deadlines:
        return "it concerns no request"
    last = destroy_by([day for day in deadlines.values() if day is not None], margin_days, [promised])
    return f"its day, {last}, has come" if today >= last else None


def days_late(promised: date, today: date) -> int:
    """By how many days the promise is broken on `today`; 0 where it is kept."""
    return max(0, (today - promised).days)
