"""By which day must a request be answered? Cases of the law, and every day of eight years against another
implementation: dateutil's months and time zones, numpy's business days.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from dateutil import tz
from dateutil.easter import easter
from dateutil.relativedelta import relativedelta
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.compliance import deadlines
from expunge.compliance.deadlines import add_months, add_working_days, due, extend, is_working_day, paused_days
from expunge.errors import UsageError

MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        ("2026-03-02T09:30", "2026-04-02"),  # the same-numbered day
        ("2026-01-31T12:00", "2026-03-02"),  # 28 February is a Saturday
        ("2025-01-31T12:00", "2025-02-28"),  # the month's last day, a Friday
        ("2028-01-31T12:00", "2028-02-29"),  # leap year
        ("2028-01-30T12:00", "2028-02-29"),
        ("2028-02-29T12:00", "2028-03-29"),
        ("2026-03-31T12:00", "2026-04-30"),
        ("2026-12-31T12:00", "2027-02-01"),  # 31 January is a Sunday
        ("2026-04-01T12:00", "2026-05-01"),  # 30 days, not 31
        ("2026-07-31T12:00", "2026-08-31"),  # 31 days, not 30
        ("2100-01-29T12:00", "2100-03-01"),  # no leap year; 28 February 2100 is a Sunday
    ],
)
def test_a_month_is_a_calendar_month(received: str, expected: str) -> None:
    for regulation in ("gdpr", "GDPR", "uk-gdpr"):
        assert due(regulation, at(received)).due_at == date.fromisoformat(expected)


def test_holidays_move_the_end_and_the_rule_says_so() -> None:
    deadline = due("gdpr", at("2026-04-01T12:00"), holidays={date(2026, 5, 1)})
    assert deadline.due_at == date(2026, 5, 4)  # Friday is a holiday, then a weekend
    assert "moved from 2026-05-01" in deadline.rule and "Reg. 1182/71" in deadline.rule


def test_the_day_of_receipt_is_the_controllers() -> None:
    late_evening = at("2026-03-10T23:30")
    assert due("gdpr", late_evening).due_at == date(2026, 4, 10)
    assert due("gdpr", late_evening, timezone="Europe/Berlin").due_at == date(2026, 4, 13)  # 11 April is a Saturday
    assert due("ccpa", late_evening, timezone="America/Los_Angeles").due_at == date(2026, 4, 24)
    assert due("ccpa", at("2026-03-11T02:00"), timezone="America/Los_Angeles").due_at == date(2026, 4, 24)


def test_ccpa_counts_calendar_days_for_the_answer_and_business_days_for_the_receipt() -> None:
    deadline = due("ccpa", at("2026-03-02T09:30"), holidays={date(2026, 3, 9)})
    assert deadline.due_at == date(2026, 4, 16) and deadline.acknowledge_by == date(2026, 3, 17)
    assert due("ccpa", at("2026-03-04T09:30")).due_at == date(2026, 4, 18)  # a Saturday: it does not move
    assert extend("ccpa", at("2026-03-02T09:30")).due_at == date(2026, 5, 31)


def test_an_extension_counts_three_months_from_receipt() -> None:
    assert extend("gdpr", at("2025-11-30T12:00")).due_at == date(2026, 3, 2)  # 28 February is a Saturday
    assert extend("gdpr", at("2026-03-02T09:30")).due_at == date(2026, 6, 2)


def test_an_evening_in_london_is_the_next_morning_in_auckland() -> None:
    received = at("2026-01-30T23:30")
    assert due("gdpr", received).due_at == date(2026, 3, 2)  # Friday 30 January; 28 February is a Saturday
    auckland = due("gdpr", received, timezone="Pacific/Auckland")  # Saturday 31 January there
    assert auckland.due_at == date(2026, 3, 2) and "last day of the month 2026-02-28" in auckland.rule
    assert due("gdpr", at("2026-05-13T23:30")).due_at == date(2026, 6, 15)  # 13 June is a Saturday
    assert due("gdpr", at("2026-05-15T23:30"), timezone="Pacific/Auckland").due_at == date(2026, 6, 16)


@pytest.mark.parametrize(
    ("received", "zone", "day"),
    [
        ("2026-03-28T23:30", "Europe/Berlin", date(2026, 3, 29)),  # an hour before summer time, still +01:00
        ("2026-03-29T21:59", "Europe/Berlin", date(2026, 3, 29)),  # +02:00 by now: 23:59
        ("2026-03-29T22:00", "Europe/Berlin", date(2026, 3, 30)),
        ("2026-10-24T22:30", "Europe/Berlin", date(2026, 10, 25)),  # the night with 25 hours
        ("2026-10-25T22:59", "Europe/Berlin", date(2026, 10, 25)),  # +01:00 again
        ("2026-11-01T06:59", "America/Los_Angeles", date(2026, 10, 31)),  # before the clocks go back
        ("2026-11-02T07:59", "America/Los_Angeles", date(2026, 11, 1)),  # after: midnight is an hour later in UTC
    ],
)
def test_the_day_of_receipt_follows_summer_time(received: str, zone: str, day: date) -> None:
    assert due("ccpa", at(received), timezone=zone).due_at == day + timedelta(days=45)


def test_easter_monday_is_no_day_to_end_on() -> None:
    holidays = {easter(2026) - timedelta(days=2), easter(2026) + timedelta(days=1)}
    assert holidays == {date(2026, 4, 3), date(2026, 4, 6)}
    assert due("gdpr", at("2026-03-03T09:30"), holidays).due_at == date(2026, 4, 7)  # Good Friday to Tuesday
    assert due("gdpr", at("2026-03-06T09:30"), holidays).due_at == date(2026, 4, 7)
    assert due("gdpr", at("2026-03-06T09:30")).due_at == date(2026, 4, 6)


def test_waiting_for_proof_of_identity_stops_the_gdpr_clock_only() -> None:
    received = at("2026-03-02T09:30")
    assert due("gdpr", received, paused_days=5).due_at == date(2026, 4, 7)
    assert due("ccpa", received, paused_days=5).due_at == due("ccpa", received).due_at
    # added before the end is moved: 4 April is a Saturday, and two days later is Monday itself
    assert due("gdpr", at("2026-03-04T09:30"), paused_days=2).due_at == date(2026, 4, 6)


def test_a_pause_counts_days_between_asking_and_proof_and_revives_nothing() -> None:
    received, last = at("2026-03-02T09:30"), date(2026, 4, 2)
    asked, came = at("2026-03-10T23:30"), at("2026-03-14T00:10")
    assert paused_days("gdpr", received, asked, came, last) == 4
    assert paused_days("gdpr", received, asked, came, last, "Europe/Berlin") == 3  # asked on the 11th there
    assert paused_days("ccpa", received, asked, came, last) == 0
    assert paused_days("gdpr", received, asked, None, last) == paused_days("gdpr", received, None, came, last) == 0
    # asked on the last day, it still stops; on the day after there is nothing left to stop
    assert paused_days("gdpr", received, at("2026-04-02T12:00"), at("2026-04-09T12:00"), last) == 7
    assert paused_days("gdpr", received, at("2026-04-03T12:00"), at("2026-04-09T12:00"), last) == 0
    # days before receipt are not days of the month
    assert paused_days("gdpr", received, at("2026-02-20T12:00"), at("2026-03-04T12:00"), last) == 2
    with pytest.raises(UsageError, match="before it was asked"):
        paused_days("gdpr", received, came, asked, last)


def test_what_is_no_deadline_is_refused() -> None:
    for wrong in (
        lambda: due("gdpr", datetime(2026, 3, 2)),
        lambda: due("hipaa", at("2026-03-02T09:30")),
        lambda: due("gdpr", at("2026-03-02T09:30"), timezone="Mars/Olympus"),
        lambda: due("gdpr", at("2026-03-02T09:30"), paused_days=-1),
        lambda: due("gdpr", datetime.max.replace(tzinfo=UTC)),
    ):
        with pytest.raises(UsageError) as refused:
            wrong()
        assert refused.value.hint


# Every day of eight years, two of them leap years, against an implementation that shares no line with ours.
DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(2922)]
ZONES = ("UTC", "Europe/Berlin", "Europe/London", "America/Los_Angeles", "Pacific/Auckland", "Pacific/Kiritimati")
AROUND_MIDNIGHT = (timedelta(0), timedelta(microseconds=-1), timedelta(minutes=31), timedelta(hours=23, minutes=30))


def _yearly(*days: tuple[int, int], around_easter: tuple[int, ...] = ()) -> frozenset[date]:
    years = range(2024, 2033)
    fixed = {date(year, month, day) for year in years for month, day in days}
    return frozenset(fixed | {easter(year) + timedelta(days=n) for year in years for n in around_easter})


CALENDARS = (
    frozenset[date](),
    _yearly((1, 1), (5, 1), (10, 3), (12, 25), (12, 26), around_easter=(-2, 1, 39, 50)),  # Germany
    _yearly((1, 1), (7, 4), (11, 11), (12, 25)),  # fixed days of the United States
    _yearly(*((12, day) for day in range(20, 32)), (1, 1), (1, 2)),  # a house that closes over Christmas
)
PAUSES = (0, 1, 2, 9, 33)


@cache
def expected(regulation: str, extended: bool, pause: int, calendar: int) -> tuple[Any, Any]:
    """Deadline of every day, and the last day to acknowledge."""
    holidays = np.array(sorted(CALENDARS[calendar]), dtype="datetime64[D]")
    days = np.array(DAYS, dtype="datetime64[D]")
    if regulation == "ccpa":
        by = np.busday_offset(days, 10, roll="backward", holidays=holidays)
        return (days + np.timedelta64(90 if extended else 45, "D")).astype(object), by.astype(object)
    months = relativedelta(months=3 if extended else 1)
    ends = np.array([day + months for day in DAYS], dtype="datetime64[D]") + np.timedelta64(pause, "D")
    return np.busday_offset(ends, 0, roll="forward", holidays=holidays).astype(object), None


def disagreements_by_day() -> int:
    """Days x regulations x extended or not x pauses x calendars on which the two do not agree."""
    found = 0
    noons = [datetime(day.year, day.month, day.day, 12, tzinfo=UTC) for day in DAYS]
    for regulation, extended, pause, calendar in product(
        deadlines.REGULATIONS, (False, True), PAUSES, range(len(CALENDARS))
    ):
        last, acknowledge = expected(regulation, extended, pause, calendar)
        ours: Callable[..., Any] = deadlines.extend if extended else deadlines.due
        for index, noon in enumerate(noons):
            made = ours(regulation, noon, CALENDARS[calendar], "UTC", pause)
            wanted = None if acknowledge is None else acknowledge[index]
            found += made.due_at != last[index] or made.acknowledge_by != wanted
    return found


def disagreements_by_zone() -> int:
    """The same at moments around midnight, of the zone and of UTC, in several time zones."""
    found = 0
    position = {day: index for index, day in enumerate(DAYS)}
    for zone, shift in product(ZONES, AROUND_MIDNIGHT):
        there = tz.gettz(zone)
        for index, day in enumerate(DAYS[1:-1], 1):
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC if index % 2 else there)
            moment = (midnight.astimezone(UTC) + shift).astimezone(UTC)
            regulation = deadlines.REGULATIONS[index % 3]
            wanted = expected(regulation, False, 0, 1)[0][position[moment.astimezone(there).date()]]
            found += deadlines.due(regulation, moment, CALENDARS[1], zone).due_at != wanted
    return found


def test_every_day_of_eight_years_agrees_with_another_implementation() -> None:
    assert len(DAYS) == 8 * 365 + 2 and DAYS[-1] == date(2031, 12, 31)
    assert disagreements_by_day() == 0


def test_every_midnight_of_eight_years_agrees_in_every_time_zone() -> None:
    assert disagreements_by_zone() == 0


def _overflowing(day: date, months: int) -> date:
    """31 January + 1 month = 3 March, as some libraries have it."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, 1) + timedelta(days=day.day - 1)


WRONG = {
    "30 days": ("add_months", lambda day, months: day + timedelta(days=30 * months)),
    "31 days": ("add_months", lambda day, months: day + timedelta(days=31 * months)),
    "a month's end overflows": ("add_months", _overflowing),
    "the day of receipt counts": ("add_months", lambda day, months: add_months(day, months) - timedelta(days=1)),
    "an extension is two months in all": ("add_months", lambda day, months: add_months(day, min(months, 2))),
    "weekends do not matter": ("is_working_day", lambda day, holidays: day not in holidays),
    "holidays do not matter": ("is_working_day", lambda day, holidays: day.weekday() < 5),
    "the day before the weekend": ("add_working_days", lambda day, count, holidays: day - timedelta(days=1)),
    "60 days of the CCPA": ("CCPA_EXTENDED_DAYS", 60),
    "9 business days": ("CCPA_ACKNOWLEDGE_BUSINESS_DAYS", 9),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_reading_of_the_law_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, *WRONG[name])
    days = [day for day in DAYS if day.year == 2024]
    monkeypatch.setitem(globals(), "DAYS", days)
    monkeypatch.setitem(globals(), "PAUSES", (0,))
    expected.cache_clear()
    assert disagreements_by_day() > 0
    expected.cache_clear()


def test_a_day_of_receipt_in_utc_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "local_date", lambda moment, *_: moment.date())
    assert disagreements_by_zone() > 0


@given(MOMENTS, st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Kiritimati", "America/Los_Angeles"]))
@settings(max_examples=200, deadline=None)
def test_every_gdpr_deadline_is_a_working_day_of_the_next_month_or_just_after(received: datetime, zone: str) -> None:
    day = received.astimezone(ZoneInfo(zone)).date()
    deadline = due("gdpr", received, timezone=zone).due_at
    assert is_working_day(deadline)
    assert 28 <= (deadline - day).days <= 33
    assert deadline <= extend("gdpr", received, timezone=zone).due_at
    assert (due("ccpa", received, timezone=zone).due_at - day).days == 45


@given(st.dates(date(1950, 1, 1), date(2150, 1, 1)), st.integers(0, 60))
@settings(max_examples=200, deadline=None)
def test_months_and_working_days_only_go_forward(day: date, count: int) -> None:
    later = add_months(day, count)
    assert (later.year * 12 + later.month) - (day.year * 12 + day.month) == count
    assert later.day == day.day or (later + timedelta(days=1)).day == 1
    working = add_working_days(day, count)
    between = [day + timedelta(days=n) for n in range(1, (working - day).days + 1)]
    assert sum(is_working_day(one) for one in between) == count
