"""By which day must a request be answered? Pure date functions; facts, not legal advice.

GDPR (Art. 12(3) with Regulation (EEC, Euratom) 1182/71, Art. 3): one month from receipt; the day of receipt is not
counted, the period ends with the same-numbered day of the next month, or with that month's last day where it has no
such day, and on the next working day where that is a Saturday, a Sunday or a holiday. An extension makes it three
months from receipt. UK GDPR (ICO, "Right of access"): the corresponding calendar date in the next month, with the
same two rules. CCPA (California Code of Regulations, title 11, section 7021): confirm receipt within 10 business
days, answer within 45 calendar days of receipt however long verification takes; one extension, to 90 days in all.
Holidays are the caller's: they differ by country and by state.

Waiting for proof of identity (GDPR Art. 12(6)) stops the month, not the CCPA's days: every day from asking to
confirming is added before the end is moved off a weekend. What has run out cannot be stopped any more: a pause that
begins after the last day adds nothing, and neither do days before receipt.
"""

from __future__ import annotations

import calendar
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from expunge.compliance.moments import require_aware
from expunge.errors import UsageError, nearest

GDPR = "gdpr"
UK_GDPR = "uk_gdpr"
CCPA = "ccpa"
REGULATIONS = (GDPR, UK_GDPR, CCPA)

CCPA_ACKNOWLEDGE_BUSINESS_DAYS = 10
CCPA_ANSWER_DAYS = 45
CCPA_EXTENDED_DAYS = 90

_NO_HOLIDAYS: frozenset[date] = frozenset()
_LAW = {GDPR: "GDPR Art. 12(3), Reg. 1182/71", UK_GDPR: "UK GDPR Art. 12(3), ICO", CCPA: "CCPA, 11 CCR 7021"}


@dataclass(frozen=True)
class Deadline:
    """The last day on which an answer is in time, the rule that gave it, and the last day to acknowledge receipt
    (CCPA).
    """

    due_at: date
    rule: str
    acknowledge_by: date | None


def due(
    regulation: str,
    received_at: datetime,
    holidays: AbstractSet[date] = _NO_HOLIDAYS,
    timezone: str = "UTC",
    paused_days: int = 0,
) -> Deadline:
    """Deadline of a request received at an aware moment.

    `timezone` (IANA name) is the controller's: the day of receipt is the date there. `paused_days` are whole days spent
    waiting for proof of identity (Art. 12(6)); they move the end of a GDPR period and leave a CCPA one alone.
    Raises UsageError for a naive moment, an unknown regulation or an unknown time zone.
    """
    return _deadline(regulation, received_at, holidays, timezone, paused_days, extended=False)


def extend(
    regulation: str,
    received_at: datetime,
    holidays: AbstractSet[date] = _NO_HOLIDAYS,
    timezone: str = "UTC",
    paused_days: int = 0,
) -> Deadline:
    """Deadline after the one extension that the regulation allows: three months (GDPR) or 90 days (CCPA) from receipt.

    Only valid if the subject is told, with the reason, before the first deadline; the ledger checks that. Raises as
    `due`.
    """
    return _deadline(regulation, received_at, holidays, timezone, paused_days, extended=True)


def paused_days(
    regulation: str,
    received_at: datetime,
    asked_at: datetime | None,
    until: datetime | None,
    last_day: date,
    timezone: str = "UTC",
) -> int:
    """Whole days for which the clock of a request stood still: from asking for proof of identity until `until`, when
    it came (or now, while it is awaited).

    0 under CCPA, without the two moments, and if `last_day`, the deadline that counted when it was asked for, was over
    by then. Raises UsageError if the proof came before it was asked for, and as `due`.
    """
    if asked_at is None or until is None:
        return 0
    asked = local_date(asked_at, timezone, "The time of asking for proof of identity")
    came = local_date(until, timezone, "The time of the proof of identity")
    if came < asked:
        raise UsageError("The identity was confirmed before it was asked for.", "Check the two times.")
    received = local_date(received_at, timezone, "The time of receipt")
    if regulation_name(regulation) == CCPA or asked > last_day:
        return 0
    return max(0, (came - max(asked, received)).days)


def regulation_name(name: str) -> str:
    """The canonical name of a regulation ("GDPR", "uk-gdpr", ...). Raises UsageError if there is none."""
    known = str(name).strip().lower().replace("-", "_").replace(" ", "_")
    if known not in REGULATIONS:
        raise UsageError(f"The regulation {name!r} is not known.", nearest(known, list(REGULATIONS)))
    return known


def local_date(moment: datetime, timezone: str = "UTC", what: str = "The time") -> date:
    """The calendar date of an aware moment in an IANA time zone.

    Raises UsageError for a naive moment or an unknown zone.
    """
    aware = require_aware(moment, what)
    try:
        return aware.astimezone(ZoneInfo(timezone)).date()
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(
            f"The time zone {timezone!r} is not known.", "Use an IANA name such as Europe/Berlin or UTC."
        ) from error
    except OverflowError as error:
        raise UsageError(f"{what} is outside the calendar.", "Check the year.") from error


def is_working_day(day: date, holidays: AbstractSet[date] = _NO_HOLIDAYS) -> bool:
    """Monday to Friday and not a holiday."""
    return day.weekday() < 5 and day not in holidays


def add_months(day: date, months: int) -> date:
    """The same-numbered day `months` later, or that month's last day where it has no such day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def add_working_days(day: date, count: int, holidays: AbstractSet[date] = _NO_HOLIDAYS) -> date:
    """The `count`-th working day after `day`, which itself is not counted."""
    while count > 0:
        day += timedelta(days=1)
        count -= is_working_day(day, holidays)
    return day


def _deadline(
    regulation: str,
    received_at: datetime,
    holidays: AbstractSet[date],
    timezone: str,
    paused_days: int,
    *,
    extended: bool,
) -> Deadline:
    name = regulation_name(regulation)
    if paused_days < 0:
        raise UsageError(f"A pause of {paused_days} days is not one.", "Confirm the identity after asking for it.")
    received = local_date(received_at, timezone, "The time of receipt")
    try:
        if name == CCPA:
            return _ccpa(received, holidays, timezone, extended)
        return _months(name, received, holidays, timezone, paused_days, 3 if extended else 1)
    except (OverflowError, ValueError) as error:
        raise UsageError(f"The time of receipt ({received}) is outside the calendar.", "Check the year.") from error


def _ccpa(received: date, holidays: AbstractSet[date], timezone: str, extended: bool) -> Deadline:
    days = CCPA_EXTENDED_DAYS if extended else CCPA_ANSWER_DAYS
    return Deadline(
        due_at=received + timedelta(days=days),
        rule=f"{_LAW[CCPA]}: {days} calendar days from {received} ({timezone}){', extended' if extended else ''}",
        acknowledge_by=add_working_days(received, CCPA_ACKNOWLEDGE_BUSINESS_DAYS, holidays),
    )


def _months(
    name: str, received: date, holidays: AbstractSet[date], timezone: str, paused_days: int, months: int
) -> Deadline:
    last = add_months(received, months)
    rule = f"{_LAW[name]}: {months} month{'s' if months > 1 else ''} from {received} ({timezone})"
    if months > 1:
        rule += ", extended"
    if last.day != received.day:
        rule += f", last day of the month {last}"
    if paused_days:
        last += timedelta(days=paused_days)
        rule += f", paused {paused_days} days (Art. 12(6))"
    due_at = last if is_working_day(last, holidays) else add_working_days(last, 1, holidays)
    if due_at != last:
        rule += f", moved from {last} to the next working day"
    return Deadline(due_at=due_at, rule=rule, acknowledge_by=None)
