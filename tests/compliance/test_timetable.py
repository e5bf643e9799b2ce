"""Does a timetable name every moment that a clock on the wall there would, and no other?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from expunge.compliance.timetable import MOST, Timetable
from expunge.errors import UsageError

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 7
CASES = {
    "0 2 * * *": lambda t: (t.hour, t.minute) == (2, 0),
    "30 2 * * mon-fri": lambda t: (t.hour, t.minute) == (2, 30) and t.weekday() < 5,
    "15 */6 * * *": lambda t: t.minute == 15 and t.hour % 6 == 0,
    "*/20 * * * *": lambda t: t.minute % 20 == 0,
    "5 1,22 1,15 * 0": lambda t: t.minute == 5 and t.hour in (1, 22) and (t.day in (1, 15) or t.weekday() == 6),
    "45 2 * mar,apr *": lambda t: (t.hour, t.minute) == (2, 45) and t.month in (3, 4),
}


def around_changes(zone: ZoneInfo) -> list[datetime]:
    """Starts of windows of DAYS days: one round each change of the clocks in 2026, and one like any other."""
    days = [START + timedelta(days=n) for n in range(366)]
    changes = [b for a, b in pairwise(days) if a.astimezone(zone).utcoffset() != b.astimezone(zone).utcoffset()]
    return [START, *(day - timedelta(days=3) for day in changes)]


def by_the_wall(expression: str, zone: ZoneInfo, start: datetime) -> list[datetime]:
    """Every minute of UTC in turn: what does the clock there show, and was it to be taken?"""
    wanted, every_hour = CASES[expression], expression.split()[1] == "*"
    found, shown = [], set()
    for n in range(-120, DAYS * 1440):
        moment = start + timedelta(minutes=n)
        local = moment.astimezone(zone)
        naive = local.replace(tzinfo=None)
        if wanted(naive) and (every_hour or naive not in shown):
            found.append(moment)
        before = (moment - timedelta(minutes=1)).astimezone(zone).replace(tzinfo=None)
        if not every_hour and naive - before > timedelta(minutes=1):  # skipped: taken when the clocks have moved on
            gap = naive - before - timedelta(minutes=1)
            for k in range(int(gap.total_seconds() // 60)):
                if wanted(before + timedelta(minutes=1 + k)):
                    found.append(moment + timedelta(minutes=k))
        shown.add(naive)
    return sorted(set(found))


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
def test_every_minute_round_a_change_of_the_clocks(zone: str) -> None:
    starts = around_changes(ZoneInfo(zone))
    assert len(starts) == (1 if zone == "Asia/Kolkata" else 3)
    for start in starts:
        for expression in CASES:
            table = Timetable(expression, zone)
            end = start + timedelta(days=DAYS, minutes=-1)
            expected = [m for m in by_the_wall(expression, ZoneInfo(zone), start) if start < m <= end]
            assert table.following(start, len(expected)) == expected
            assert table.between(start, end) == expected[-MOST:]


def test_a_time_that_the_clocks_skip_or_show_twice_is_named() -> None:
    table = Timetable("0 2 * * *", "Europe/Berlin")
    skipped, twice = table.oddities(START)
    assert skipped == "2026-03-29 02:00 does not exist in Europe/Berlin: that run starts at Sun 2026-03-29 03:00 CEST."
    assert twice == "2026-10-25 02:00 comes twice in Europe/Berlin: it runs once, at Sun 2026-10-25 02:00 CEST."
    assert (
        Timetable("0 2 * * *", "UTC").oddities(START) == Timetable("30 3 * * *", "Europe/Berlin").oddities(START) == []
    )


@pytest.mark.parametrize(
    ("cron", "zone", "names"),
    [
        ("0 2 * *", "UTC", "4 fields"),
        ("0 25 * * *", "UTC", "out of range"),
        ("0 2 31 2 *", "UTC", "never comes"),
        ("R 2 * * *", "UTC", "'R'"),
        ("@reboot", "UTC", "1 fields"),
        ("0 2 * * 5#2", "UTC", "'5#2'"),
        ("0 2 L * *", "UTC", "'L'"),
        ("0 2 * * *\n* * * * * rm", "UTC", "fields"),
        ("0 2 * * *", "Mars/Base", "Mars/Base"),
        ("0 2 * * *", "CEST", "CEST"),
    ],
)
def test_what_is_no_timetable_is_refused_by_name(cron: str, zone: str, names: str) -> None:
    with pytest.raises(UsageError) as refused:
        Timetable(cron, zone)
    assert names in refused.value.message and refused.value.hint


def test_missed_turns_are_counted_and_taken_once() -> None:
    table = Timetable("0 2 * * *", "Europe/Berlin")
    since = datetime(2026, 3, 27, 1, 5, tzinfo=UTC)  # ran on the 27th
    assert table.turn(since, datetime(2026, 3, 28, 0, 59, tzinfo=UTC)) is None
    due = datetime(2026, 3, 28, 1, 0, tzinfo=UTC)
    on_time = table.turn(since, due)
    assert on_time is not None and (on_time.expected, on_time.missed) == (due, 0)
    late = table.turn(since, datetime(2026, 3, 28, 9, 0, tzinfo=UTC))
    assert late is not None and (late.expected, late.missed) == (due, 1)
    # the 28th was missed, the 29th (at 3, for 2 does not exist) is on time
    both = table.turn(since, datetime(2026, 3, 29, 1, 0, tzinfo=UTC))
    assert both is not None and (both.expected, both.missed) == (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), 1)
    assert table.turn(datetime(2026, 3, 29, 1, 0, 1, tzinfo=UTC), datetime(2026, 3, 29, 23, 0, tzinfo=UTC)) is None
    year = Timetable("* * * * *").turn(START, START + timedelta(days=365))
    assert year is not None and year.more and year.missed == MOST - 1
