"""Until when a rewind's prefix may stay, and what ends it."""

from __future__ import annotations

from datetime import date

import pytest

from expunge.compliance.prefix_dates import days_late, destroy_by, end_reason

DUE, LATER = date(2026, 2, 10), date(2026, 3, 2)


def test_the_earliest_deadline_less_the_margin_and_never_later_than_promised() -> None:
    assert destroy_by([LATER, DUE], 1) == date(2026, 2, 9)
    assert destroy_by([LATER, DUE], 7) == date(2026, 2, 3)
    assert destroy_by([LATER], 1, [date(2026, 2, 9)]) == date(2026, 2, 9)
    assert destroy_by([date(2026, 3, 1)], 1) == date(2026, 2, 28)


@pytest.mark.parametrize(
    ("today", "ends"), [("2026-02-08", False), ("2026-02-09", True), ("2026-02-10", True), ("2026-02-14", True)]
)
def test_it_ends_on_its_day_and_after_it(today: str, ends: bool) -> None:
    reason = end_reason(date(2026, 2, 9), {"a": DUE, "b": LATER}, 1, date.fromisoformat(today), "until_due")
    assert (reason is not None) == ends


def test_an_extension_does_not_move_what_was_promised_and_a_nearer_deadline_does() -> None:
    assert end_reason(date(2026, 2, 9), {"a": LATER}, 1, date(2026, 2, 9), "until_due")
    assert end_reason(date(2026, 2, 9), {"a": date(2026, 2, 5)}, 1, date(2026, 2, 4), "until_due")


def test_an_answer_another_policy_or_nobody_ends_it_at_once() -> None:
    today = date(2026, 1, 11)
    assert end_reason(date(2026, 2, 9), {"a": DUE}, 1, today, "until_due") is None
    assert end_reason(date(2026, 2, 9), {"a": DUE}, 1, today, "destroy") == "the policy is destroy now"
    assert end_reason(date(2026, 2, 9), {"a": DUE, "b": None}, 1, today, "until_due") == "request b is answered"
    assert end_reason(date(2026, 2, 9), {}, 1, today, "until_due")


def test_how_late() -> None:
    assert [days_late(date(2026, 2, 9), date(2026, 2, d)) for d in (8, 9, 12)] == [0, 0, 3]
