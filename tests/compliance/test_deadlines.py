"""By which day must a request be answered? Month ends, leap years, weekends, time zones, pauses."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.compliance.deadlines import add_months, add_working_days, due, extend, is_working_day
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


def test_waiting_for_proof_of_identity_stops_the_gdpr_clock_only() -> None:
    received = at("2026-03-02T09:30")
    assert due("gdpr", received, paused_days=5).due_at == date(2026, 4, 7)
    assert due("ccpa", received, paused_days=5).due_at == due("ccpa", received).due_at


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
