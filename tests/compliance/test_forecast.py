"""Who will be late, and on which night would one retraining prevent it? Against brute force on small queues."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date, timedelta
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.compliance.forecast import Forecast, Prices, Waiting, forecast, run_cost, sentence

TODAY = date(2026, 3, 2)
NIGHTS = [TODAY + timedelta(days=n) for n in range(40)]


def night(days: int) -> date:
    return TODAY + timedelta(days=days)


COSTS = st.none() | st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.8, 1.0])


@st.composite
def queues(draw: st.DrawFn, size: int = 7) -> list[Waiting]:
    found = [
        Waiting(f"q{n}", night(draw(st.integers(-3, 12))), draw(COSTS), draw(st.integers(0, 9)) == 0,
                draw(st.integers(0, 9)) == 0)
        for n in range(draw(st.integers(0, size)))
    ]  # fmt: skip
    return sorted(found, key=lambda one: one.deadline)


@st.composite
def priced(draw: st.DrawFn, queue: list[Waiting]) -> Prices:
    names = [one.request_id for one in queue]
    planned = frozenset(draw(st.sets(st.sampled_from(names)))) if names else frozenset()
    return Prices(planned, draw(COSTS) if planned else None, draw(st.integers(0, 4)) > 0)


SCHEDULES = st.sets(st.integers(0, 14), min_size=1, max_size=6).map(lambda days: [night(n) for n in sorted(days)])
CAPACITIES = st.none() | st.sampled_from([0.05, 0.2, 0.4, 0.6, 0.9, 1.0])


def check_sums(found: Forecast, queue: list[Waiting]) -> None:
    names = [one.request_id for one in queue]
    assert list(found.nights) == names
    assert set(found.late) <= set(names) - set(found.paused) and len(set(found.late)) == len(found.late)
    answered = {name: at for name, at in found.nights.items() if at is not None}
    in_time = {
        one.request_id for one in queue if one.request_id in answered and answered[one.request_id] <= one.deadline
    }
    assert len(in_time) + len(found.late) + len(found.paused) == len(names)
    assert set(found.late_then) <= set(names)
    ready = {one.request_id for one in queue if not one.under_way}
    assert set(found.runs) == {at for name, at in answered.items() if name in ready}


@given(st.data(), SCHEDULES, CAPACITIES)
@settings(max_examples=200, deadline=None)
def test_everybody_is_counted_once_and_nobody_is_late_without_a_limit(
    data: st.DataObject, nights: list[date], capacity: float | None
) -> None:
    queue = data.draw(queues())
    prices = data.draw(priced(queue))
    check_sums(forecast(queue, nights, capacity, prices), queue)
    free = forecast(queue, nights, None, prices)
    check_sums(free, queue)
    assert free.late == tuple(one.request_id for one in queue if one.deadline < nights[0] and not one.paused)
    assert free.retrain_on is None  # which would answer nobody sooner
    for at, cost in forecast(queue, nights, capacity, prices).runs.items():
        assert capacity is None or cost <= capacity, at


@given(st.data(), SCHEDULES)
@settings(max_examples=200, deadline=None)
def test_more_capacity_makes_nobody_later(data: st.DataObject, nights: list[date]) -> None:
    queue = data.draw(queues())
    prices = data.draw(priced(queue))
    before = None
    for capacity in (0.05, 0.1, 0.2, 0.4, 0.6, 0.9, 1.0, None):
        found = forecast(queue, nights, capacity, prices)
        if before is not None:
            assert set(found.late) <= set(before.late)
            for name, at in before.nights.items():
                assert at is None or (found.nights[name] or date.max) <= at
        before = found


@given(st.data(), SCHEDULES, CAPACITIES, st.none() | st.integers(0, 8))
@settings(max_examples=300, deadline=None)
def test_the_night_to_retrain_on_is_the_best_of_all_of_them(
    data: st.DataObject, nights: list[date], capacity: float | None, within: int | None
) -> None:
    queue = data.draw(queues(6))
    prices = data.draw(priced(queue))
    found = forecast(queue, nights, capacity, prices, within)
    late = brute_force(queue, nights, capacity, prices, within, None)
    assert set(found.late) == late
    by_night = {at: brute_force(queue, nights, capacity, prices, within, at) for at in nights}
    fewest = min(len(names) for names in by_night.values())
    assert len(found.late_then) == min(fewest, len(late))
    if found.retrain_on is not None:
        assert set(found.late_then) == by_night[found.retrain_on]
        later = [names for at, names in by_night.items() if at > found.retrain_on]
        # a later night would leave as few late only if those few had to wait longer
        assert all(len(names) > fewest or names for names in later)
    elif late:
        assert fewest == len(late)


def brute_force(
    queue: list[Waiting],
    nights: list[date],
    capacity: float | None,
    prices: Prices,
    within: int | None,
    retrain_on: date | None,
) -> set[str]:
    """Who is late, told again: of all subsets that a night can carry, the largest that the model knows."""
    left = {one.request_id: one for one in queue if not one.paused}
    late = set()
    counted = prices.planned & {n for n, one in left.items() if not one.under_way}
    if counted != prices.planned:  # the plan priced others too; one alone has its own price
        prices = replace(prices, planned=counted if len(counted) > 1 else frozenset())
    for at in nights:
        running = {n for n, one in left.items() if one.under_way and at == nights[0]}
        due = {n: one for n, one in left.items() if not one.under_way}
        if within is not None and not any(one.deadline - at <= timedelta(days=within) for one in due.values()):
            due = {}  # nobody needs a run tonight
        if at == retrain_on:
            done = set(left)
        else:
            done = set()
            subsets = [set(c) for size in range(len(due), 0, -1) for c in combinations(due, size)]
            alone = {n for n, one in due.items() if capacity is None or run_cost([one], prices) <= capacity}
            known = [set(due), alone | (set(due) & prices.planned), alone]
            for names in subsets:
                if names in known and (capacity is None or run_cost([due[n] for n in names], prices) <= capacity):
                    done = names
                    break
        for name in done | running:
            if at > left[name].deadline:
                late.add(name)
        left = {n: one for n, one in left.items() if n not in done | running}
    return late | set(left)


def test_the_forecast_of_the_issue() -> None:
    """At tonight's capacity 3 of 40 will be late; retrain on the 14th."""
    queue = [Waiting(f"q{n}", night(20 + n % 9), 0.2 + 0.005 * n) for n in range(37)]
    queue += [Waiting(f"dear{n}", date(2026, 3, 14) + timedelta(days=n), 0.9) for n in range(3)]
    queue.sort(key=lambda one: one.deadline)
    found = forecast(queue, NIGHTS, 0.5)
    assert found.late == ("dear0", "dear1", "dear2") and found.runs == {TODAY: pytest.approx(0.38)}
    assert found.retrain_on == date(2026, 3, 14) and found.late_then == ()
    assert sentence(found, 40, 0.5, TODAY) == (
        "At tonight's capacity of 0.5 retrainings 3 of 40 will be late. Retrain once for all of them on"
        " Saturday 14 March 2026: nobody is late then."
    )
    assert forecast(queue, NIGHTS, 0.9).late == () and forecast(queue, NIGHTS).late == ()
    assert (
        sentence(forecast(queue, NIGHTS, 0.9), 40, 0.9, TODAY) == "All 40 requests will be answered in time, tonight."
    )


def test_a_run_that_one_request_needs_answers_the_others_too() -> None:
    queue = [Waiting("soon", night(9), 0.2), Waiting("far", night(30), 0.2), Waiting("dear", night(31), 0.9)]
    found = forecast(queue, NIGHTS, 0.5, within=7)
    assert found.nights == {"soon": night(2), "far": night(2), "dear": None}
    assert found.late == ("dear",) and found.retrain_on == night(31)
    assert forecast(queue, NIGHTS, within=7).runs == {night(2): 0.9}


def test_a_plan_that_priced_more_than_can_be_answered_still_counts() -> None:
    queue = [Waiting("a", night(5), 0.9), Waiting("b", night(5), 0.8), Waiting("held", night(5), 0.3, paused=True)]
    together = Prices(frozenset({"a", "b", "held"}), 0.4)
    assert forecast(queue, NIGHTS, 0.5, together).runs == {TODAY: 0.4}
    alone = forecast([queue[0], queue[2]], NIGHTS, 0.5, together)
    assert alone.runs == {} and alone.late == ("a",), "one by itself costs what it costs by itself"


@pytest.mark.parametrize(("size", "seconds"), [(300, 0.05), (100_000, 2)])
def test_a_long_queue_is_told_at_once(size: int, seconds: float) -> None:
    nights = [TODAY + timedelta(days=n) for n in range(120)]
    queue = [Waiting(f"q{n}", night(n % 90 - 3), None if n % 7 == 0 else 0.2 + n % 9 / 10) for n in range(size)]
    began = time.process_time()
    found = forecast(queue, nights, 0.5, within=7)
    assert found.late and found.retrain_on is not None
    assert time.process_time() - began < seconds  # on a machine that has other work; alone it takes half


def test_what_is_late_already_is_done_first_and_the_words_say_what_is_left() -> None:
    queue = [Waiting("gone", night(-2), 0.9), Waiting("soon", night(3), 0.9)]
    found = forecast(queue, NIGHTS, 0.5)
    assert (found.late, found.retrain_on, found.late_then) == (("gone", "soon"), TODAY, ("gone",))
    assert sentence(found, 2, 0.5, TODAY).endswith("Retrain once for all of them tonight: 1 is late even so.")
    weekly = forecast([Waiting("soon", night(3), 0.2)], [night(6), night(13)], 0.5)
    assert weekly.late == ("soon",) and weekly.retrain_on is None
    assert "run it by hand, now" in sentence(weekly, 1, 0.5, TODAY)
    assert sentence(forecast([], NIGHTS), 0, None, TODAY) == "No open request waits for a run."


def test_a_run_costs_what_its_dearest_costs_or_what_was_planned_for_all_of_it() -> None:
    a, b, c = Waiting("a", night(5), 0.3), Waiting("b", night(5), 1.0), Waiting("c", night(5))
    assert run_cost([], Prices()) == 0 and run_cost([a], Prices()) == 0.3
    assert run_cost([a, b], Prices()) == run_cost([a, c], Prices()) == 1.0
    together = Prices(frozenset("ab"), 0.4)
    assert run_cost([a, b], together) == 0.4 and run_cost([a], together) == 0.3 and run_cost([b], together) == 1.0
    assert run_cost([a, b, c], together) == 1.0
    assert run_cost([a], replace(together, rewinding=False)) == 1.0  # nothing left to rewind to
    # those planned together go together; the one without a price waits for the retraining
    found = forecast([a, b, c], NIGHTS, 0.5, together)
    assert found.nights == {"a": TODAY, "b": TODAY, "c": None} and found.unpriced == ("c",)
    assert "1 of 3 have no planned cost" in sentence(found, 3, 0.5, TODAY)


def test_who_waits_for_proof_or_is_in_a_run_already_is_told_apart() -> None:
    queue = [Waiting("running", night(1), under_way=True), Waiting("paused", night(1), 0.1, paused=True)]
    found = forecast(queue, NIGHTS, 0.05)
    assert found.nights == {"running": TODAY, "paused": None} and found.late == () and found.paused == ("paused",)
    assert found.unpriced == () and "1 more wait for proof of identity" in sentence(found, 1, 0.05, TODAY)
