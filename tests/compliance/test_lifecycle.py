"""Which moves may a request make? Every pair of states, and what a move brings with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from itertools import product
from typing import Any

import pytest
from conftest import START, Clock

from expunge.compliance.ledger import Ledger
from expunge.compliance.lifecycle import MOVES, OPEN, IllegalMove, Status, check_move, refusal_ground
from expunge.errors import NotFoundError, UsageError

ALLOWED = {
    "received": "identity_unverified accepted refused not_found duplicate cancelled",
    "identity_unverified": "accepted refused not_found duplicate cancelled",
    "accepted": "quarantined refused not_found cancelled",
    "quarantined": "planned refused cancelled",
    "planned": "awaiting_approval unlearning quarantined cancelled",
    "awaiting_approval": "unlearning quarantined cancelled",
    "unlearning": "verified failed",
    "verified": "promoted failed",
    "failed": "planned quarantined refused cancelled",
    "promoted": "purged",
    "purged": "closed",
    "duplicate": "received identity_unverified",
    **dict.fromkeys(("refused", "not_found", "closed", "cancelled"), ""),
}
PATH = ("planned", "unlearning", "verified", "promoted", "purged")


@pytest.mark.parametrize(("current", "target"), list(product(Status, Status)))
def test_a_move_is_legal_exactly_when_the_table_says_so(current: Status, target: Status) -> None:
    assert set(ALLOWED) == set(MOVES) == set(Status)
    if target in ALLOWED[current].split():
        check_move(current, target)
        return
    with pytest.raises(IllegalMove) as refused:
        check_move(current, target, "q1")
    assert "q1" in str(refused.value) and refused.value.exit_code == 2


def test_every_open_state_leads_to_an_answer() -> None:
    for start in OPEN:
        reached, before = {start}, set[Status]()
        while reached != before:
            before = set(reached)
            reached |= {target for one in before for target in MOVES[one]}
        assert reached - OPEN, start


def test_the_ledger_refuses_what_the_table_refuses(ledger: Ledger, add: Callable[..., Any]) -> None:
    add("q1", "r1")
    with pytest.raises(IllegalMove, match=r"received and cannot become unlearning.*accepted"):
        ledger.move("q1", "unlearning")
    assert ledger.get_request("q1").status == "received"
    with pytest.raises(UsageError, match="quarantined"):
        ledger.move("q1", "quarantine")
    with pytest.raises(UsageError, match="outcome"):
        ledger.move("q1", "accepted", outcom="x")
    with pytest.raises(NotFoundError, match="nobody"):
        ledger.move("nobody", "accepted")
    with pytest.raises(NotFoundError, match="q9"):
        ledger.move("q1", "duplicate", duplicate_of="q9")


def test_cancelling_is_possible_until_unlearning_starts(ledger: Ledger, add: Callable[..., Any]) -> None:
    for request_id, record in (("q1", "r1"), ("q2", "r2")):
        add(request_id, record)
        ledger.admit(request_id)
        ledger.move(request_id, "planned", "run-1")
    assert ledger.cancel("q1").outcome == "cancelled" and not ledger.is_quarantined("r1")
    ledger.move("q2", "unlearning", "run-1")
    with pytest.raises(IllegalMove, match="until unlearning starts"):
        ledger.cancel("q2")


def test_a_failed_request_can_be_withdrawn_or_refused_and_lets_its_records_go(
    ledger: Ledger, add: Callable[..., Any]
) -> None:
    for request_id, record in (("q1", "r1"), ("q2", "r2"), ("q3", "r3")):
        add(request_id, record)
        ledger.admit(request_id)
        for status in ("planned", "unlearning", "failed"):
            ledger.move(request_id, status, "run-1")
    assert ledger.cancel("q1").outcome == "cancelled" and ledger.refuse("q2", "e").outcome == "refused"
    assert ledger.quarantined_among(["r1", "r2", "r3"]) == {"r3"}
    assert ledger.move("q3", "planned", "run-2").status == "planned" and ledger.verify_rows() == []


def test_closing_needs_erased_data_and_a_promoted_model(ledger: Ledger, add: Callable[..., Any], clock: Clock) -> None:
    add("q1", "r1")
    ledger.admit("q1")
    for status in PATH:
        clock.forward(days=1)
        ledger.move("q1", status, "run-1")
    with pytest.raises(IllegalMove, match="data_erased_at"):
        ledger.move("q1", "closed", "run-1")
    ledger.mark_erased("q1", "run-1")
    done = ledger.move("q1", "closed", "run-1")
    assert done.model_unlearned_at == START + timedelta(days=4) and done.data_erased_at == START + timedelta(days=5)
    assert done.outcome == "erased" and done.answered_at == clock.now and not done.is_open


def test_a_request_belongs_to_one_run_until_it_fails(ledger: Ledger, add: Callable[..., Any]) -> None:
    add("q1", "r1")
    ledger.admit("q1")
    ledger.move("q1", "planned", "run-1")
    with pytest.raises(IllegalMove, match="held by run run-1"):
        ledger.move("q1", "unlearning", "run-2")
    ledger.move("q1", "unlearning", "run-1")
    ledger.move("q1", "failed", "run-1")
    assert ledger.move("q1", "planned", "run-2").run_id == "run-2"
    assert ledger.move("q1", "quarantined").run_id is None


def test_refusing_needs_a_ground_of_the_regulation(ledger: Ledger, add: Callable[..., Any]) -> None:
    assert refusal_ground("gdpr", "b") == refusal_ground("gdpr", "17(3)(B)") == "17(3)(b)"
    assert refusal_ground("ccpa", "1798.105(d)(1)") == "1798.105(d)(1)"
    for wrong in (None, "", "z", "17(3)(f)"):
        with pytest.raises(UsageError):
            refusal_ground("gdpr", wrong)
    add("q1", "r1")
    ledger.admit("q1")
    refused = ledger.refuse("q1", "e")
    assert (refused.outcome, refused.refusal_ground) == ("refused", "17(3)(e)")
    assert not ledger.is_quarantined("r1")


def test_the_clock_stands_still_while_proof_of_identity_is_awaited(
    ledger: Ledger, add: Callable[..., Any], clock: Clock
) -> None:
    assert add("q1", "r1", identity_verified=False).status == "identity_unverified"
    ledger.hold("q1")
    assert [one.paused for one in ledger.due_requests()] == [True]
    clock.forward(days=6)
    ledger.confirm("q1")
    request = ledger.admit("q1")
    assert request.status == "quarantined" and request.identity_confirmed_at == clock.now
    assert request.due_at == date(2026, 4, 8) and "paused 6 days" in request.due_rule


def test_only_what_waits_for_nobody_is_admitted(ledger: Ledger, add: Callable[..., Any]) -> None:
    """A hold that comes in while the queue is worked off must not count as the proof it asks for."""
    add("q1", "r1")
    ledger.hold("q1")
    for _ in range(2):
        with pytest.raises(IllegalMove, match=r"waits for proof of identity.*request confirm q1"):
            ledger.admit("q1")
    assert ledger.get_request("q1").identity_confirmed_at is None and not ledger.is_quarantined("r1")
    ledger.confirm("q1")
    assert ledger.admit("q1").status == "quarantined" == ledger.admit("q1").status
    add("q2", "r2")
    ledger.cancel("q2")
    with pytest.raises(IllegalMove, match="is cancelled and cannot become accepted"):
        ledger.admit("q2")


def test_a_request_that_waits_for_proof_of_identity_does_not_become_late_under_gdpr(
    ledger: Ledger, add: Callable[..., Any], clock: Clock
) -> None:
    add("europe", "r1", identity_verified=False)
    add("california", "r2", identity_verified=False, regulation="ccpa")
    for asked in ("europe", "california"):
        ledger.hold(asked)
    add("sure", "r3")
    clock.forward(days=50)
    queue = {one.request.id: one for one in ledger.due_requests()}
    assert (queue["europe"].deadline, queue["europe"].late) == (date(2026, 5, 22), False)  # 2 April and 50 days
    assert queue["california"].late and queue["sure"].late
    assert [one.request.id for one in ledger.due_requests(within=timedelta(0))] == ["sure", "california"]
    assert ledger.statistics()["late"] == 2
    # told while the clock stands still, the extension is in time; told for the other one, it is not
    assert ledger.extend("europe", "complex", clock.now).extended_to == date(2026, 6, 2)
    with pytest.raises(UsageError, match="before the first deadline"):
        ledger.extend("sure", "complex", clock.now)
    refused = ledger.refuse("europe", "12(6)")
    assert refused.answered_at == clock.now and ledger.statistics()["answered_late"] == 0


def test_a_pause_moves_both_deadlines_and_one_that_comes_too_late_moves_none(
    ledger: Ledger, add: Callable[..., Any], clock: Clock
) -> None:
    add("q1", "r1", identity_verified=False)
    ledger.hold("q1")
    ledger.extend("q1", "complex", clock.forward(days=1))
    clock.forward(days=9)
    request = ledger.confirm("q1")
    assert (request.due_at, request.extended_to) == (date(2026, 4, 13), date(2026, 6, 12))  # 12 April is a Sunday
    add("q2", "r2")
    clock.forward(days=40)
    ledger.move("q2", "identity_unverified")  # asked on 21 April, after the month was over
    clock.forward(days=5)
    assert ledger.confirm("q2").due_at == date(2026, 4, 2) and ledger.statistics()["late"] == 1
    add("q3", "r3", identity_verified=False, regulation="ccpa", received_at=clock.now)
    before = ledger.hold("q3")
    clock.forward(days=20)
    after = ledger.confirm("q3")
    assert (after.due_at, after.acknowledge_by) == (before.due_at, before.acknowledge_by)


def test_an_extension_counts_once_and_in_time(ledger: Ledger, add: Callable[..., Any], clock: Clock) -> None:
    add("q1", "r1")
    with pytest.raises(UsageError, match="before the first deadline"):
        ledger.extend("q1", "complex", START + timedelta(days=40))
    with pytest.raises(UsageError, match="reason"):
        ledger.extend("q1", " ", START)
    longer = ledger.extend("q1", "complex", clock.forward(days=3))
    assert longer.deadline == date(2026, 6, 2) and longer.due_at == date(2026, 4, 2)
    events = ledger.head()
    assert ledger.extend("q1", "complex", clock.now) == longer and ledger.head() == events
    with pytest.raises(UsageError, match="already extended"):
        ledger.extend("q1", "another", clock.now)


def test_the_queue_is_ordered_by_deadline_and_late_ones_lead(
    ledger: Ledger, add: Callable[..., Any], clock: Clock
) -> None:
    add("california", "r1", regulation="ccpa")
    add("europe", "r2")
    add("early", "r3", received_at=START - timedelta(days=20))
    queue = ledger.due_requests(clock.forward(days=20))
    assert [(one.request.id, one.late) for one in queue] == [("early", True), ("europe", False), ("california", False)]
    soon = ledger.due_requests(within=timedelta(days=11))
    assert [one.request.id for one in soon] == ["early", "europe"]
    assert ledger.due_requests(statuses=["failed"]) == []


def test_a_page_of_requests_is_a_piece_of_the_whole_list(ledger: Ledger, add: Callable[..., Any], clock: Clock) -> None:
    for number in range(12):
        add(f"q{number}", f"r{number}", received_at=START - timedelta(days=number))
        clock.forward(hours=1)
        if number % 3:
            ledger.refuse(f"q{number}", "a")
    every = [request.id for request in ledger.page_of_requests()]
    assert every == ["q9", "q6", "q3", "q0", "q11", "q10", "q8", "q7", "q5", "q4", "q2", "q1"]
    assert {request.id for request in ledger.list_requests()} == set(every)
    for status, whole in ((None, every), ("refused", every[4:]), ("received", every[:4]), ("closed", [])):
        for size in (1, 3, 5, 50):
            pages = [ledger.page_of_requests(status, limit=size, skip=skip) for skip in range(0, 13, size)]
            assert [request.id for page in pages for request in page] == whole
    counts = ledger.counts_by_status()
    assert (counts["received"], counts["refused"], counts["closed"], sum(counts.values())) == (4, 8, 0, 12)
