"""Is a plan carried out only with a yes of its own, and who gave it?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from expunge.compliance.approval_words import in_words
from expunge.compliance.approvals import approvals_of, plan_digest
from expunge.compliance.ledger import Ledger
from expunge.compliance.lifecycle import IllegalMove
from expunge.errors import NotFoundError, UsageError

PLAN = {
    "model_version": "digits 1", "forget_records": 3, "method": "rewind", "predicted_steps": 40,
    "predicted_cost": 0.2, "reason": "rewind: cheapest that is predicted to be enough", "predicted_left": 0.05,
}  # fmt: skip


@pytest.fixture
def asked(ledger: Ledger, add: Callable[..., Any]) -> Callable[..., str]:
    """A run of these requests that waits for approval."""

    def _asked(run_id: str, *requests: str, **plan: Any) -> str:
        ledger.add_run(run_id, model_version_before="v1", details={"requests": list(requests)})
        ledger.update_run(run_id, plan={**PLAN, **plan}, status="planned", method="rewind")
        for request in requests:
            if request not in {r.id for r in ledger.list_requests()}:
                add(request, f"record-{request}")
            ledger.admit(request)
            ledger.move(request, "planned", run_id)
        ledger.ask_approval(run_id)
        return run_id

    return _asked


def kinds(ledger: Ledger) -> list[str]:
    return [e.kind for e in ledger.events() if e.kind.startswith("approval.")]


def test_a_yes_names_who_when_how_and_which_plan(ledger: Ledger, asked: Callable[..., str], clock: Any) -> None:
    run = asked("run-1", "q1", "q2")
    assert {ledger.get_request(r).status for r in ("q1", "q2")} == {"awaiting_approval"}
    assert [r.id for r in ledger.runs_for_approval()] == [run]
    assert approvals_of(ledger.get_run(run)) == [], "asked is not approved"
    clock.forward(hours=3)
    digest = plan_digest(ledger.get_run(run))
    given = ledger.decide(run, True, by="privacy-office", plan_sha256=digest)
    assert given.status == "approved"
    (approval,) = approvals_of(given)
    assert approval == {
        "by": "privacy-office", "how": "person", "at": "2026-03-02T12:30:00.000000+00:00",
        "asked_at": "2026-03-02T09:30:00.000000+00:00", "plan_sha256": digest,
    }  # fmt: skip
    event = ledger.events()[-1]
    assert event.kind == "approval.given" and event.payload["by"] == "privacy-office"
    assert event.payload["plan_sha256"] == digest and event.run_id == run

    head = ledger.head()
    assert ledger.decide(run, True, by="somebody-else") == given and ledger.head() == head, "twice is once"
    for request in ("q1", "q2"):
        ledger.move(request, "unlearning", run)
    with pytest.raises(UsageError, match="being carried out"):
        ledger.decide(run, False, by="late", reason="other")
    assert ledger.verify_rows() == [] and ledger.verify_chain().ok


def test_a_no_puts_the_requests_back_and_no_policy_may_overrule_it(ledger: Ledger, asked: Callable[..., str]) -> None:
    run = asked("run-1", "q1")
    for wrong in (None, "because of Ada"):
        with pytest.raises(UsageError, match="reason"):
            ledger.decide(run, False, by="boss", reason=wrong)
    assert not ledger.refused_before(["q1"])
    assert ledger.decide(run, False, by="boss", reason="too_expensive").status == "refused"
    assert ledger.get_request("q1").status == "quarantined" and ledger.get_request("q1").run_id is None
    assert ledger.refused_before(["q1", "q9"]) and not ledger.refused_before(["q9"])
    assert ledger.events()[-1].payload["reason"] == "too_expensive"
    with pytest.raises(UsageError, match="refused by boss"):
        ledger.decide(run, True, by="boss")
    again = asked("run-2", "q1")
    assert [r.id for r in ledger.runs_for_approval()] == [again]
    assert ledger.decide(again, True, by="boss").status == "approved"


def test_a_yes_can_be_taken_back_before_it_starts(ledger: Ledger, asked: Callable[..., str]) -> None:
    run = asked("run-1", "q1")
    ledger.decide(run, True, by="boss")
    assert ledger.decide(run, False, by="boss", reason="not_now").status == "refused"
    assert approvals_of(ledger.get_run(run)) == []
    assert kinds(ledger) == ["approval.asked", "approval.given", "approval.refused"]
    with pytest.raises(IllegalMove):
        ledger.move("q1", "unlearning", run)


def test_only_the_plan_that_was_asked_about_counts(ledger: Ledger, asked: Callable[..., str]) -> None:
    run = asked("run-1", "q1")
    with pytest.raises(UsageError, match="not the one"):
        ledger.decide(run, True, by="boss", plan_sha256="0" * 64)
    ledger.update_run(run, plan={**PLAN, "method": "keep"})
    with pytest.raises(UsageError, match="not the one"):
        ledger.decide(run, True, by="boss")
    assert ledger.change_of(run, "v1") == "plan_lost"


def test_what_makes_a_plan_void(ledger: Ledger, asked: Callable[..., str]) -> None:
    run = asked("run-1", "q1", "q2")
    ledger.decide(run, True, by="boss")
    assert ledger.change_of(run, "v1") is None
    assert ledger.change_of(run, "v2") == "model_changed"
    ledger.cancel("q1")
    assert ledger.change_of(run, "v1") == "requests_left"
    assert ledger.withdraw_approval(run, "requests_left").status == "withdrawn"
    assert (ledger.get_request("q1").status, ledger.get_request("q2").status) == ("cancelled", "quarantined")
    head = ledger.head()
    ledger.withdraw_approval(run, "requests_left")
    assert ledger.head() == head and ledger.runs_for_approval() == []
    with pytest.raises(UsageError, match="withdrawn"):
        ledger.decide(run, True, by="boss")


def test_an_interrupted_run_hands_its_yes_to_the_very_same_plan_only(ledger: Ledger, asked: Callable[..., str]) -> None:
    first = asked("run-1", "q1")
    ledger.decide(first, True, by="boss")
    ledger.move("q1", "unlearning", first)
    ledger.move("q1", "failed", first)
    ledger.update_run(first, status="interrupted")
    other = asked("run-2", "q1", method="retrain")
    assert not ledger.carry_over(other)
    ledger.withdraw_approval(other, "model_changed")
    same = asked("run-3", "q1")
    assert ledger.carry_over(same)
    assert ledger.get_run(same).details["approval"]["by"] == "boss"


def test_a_yes_is_not_carried_over_to_other_settings_or_by_a_policy_that_was_not_called(
    ledger: Ledger, asked: Callable[..., str]
) -> None:
    margin = {"evaluation": {"utility_margin": 0.02}}

    def interrupted(run_id: str, how: Any) -> None:
        ledger.update_run(asked(run_id, "q1"), details={"settings": margin})
        ledger.decide(run_id, True, by="boss", how=how)
        ledger.move("q1", "unlearning", run_id)
        ledger.move("q1", "failed", run_id)
        ledger.update_run(run_id, status="interrupted")

    interrupted("run-1", "policy")
    same = asked("run-2", "q1")
    ledger.update_run(same, details={"settings": margin})
    assert not ledger.carry_over(same), "nobody said --approve"
    assert ledger.carry_over(same, policies=True)
    ledger.withdraw_approval(same, "model_changed")

    interrupted("run-3", "person")
    looser = asked("run-4", "q1")
    ledger.update_run(looser, details={"settings": {"evaluation": {"utility_margin": 0.5}}})
    assert not ledger.carry_over(looser, policies=True), "the plan is the same, what judges it is not"
    ledger.withdraw_approval(looser, "model_changed")
    same = asked("run-5", "q1")
    ledger.update_run(same, details={"settings": margin})
    assert ledger.carry_over(same)


def test_runs_that_wait_for_nothing(ledger: Ledger, asked: Callable[..., str]) -> None:
    with pytest.raises(NotFoundError, match="run-9"):
        ledger.decide("run-9", True, by="boss")
    ledger.add_run("run-0")
    with pytest.raises(UsageError, match="no plan"):
        ledger.ask_approval("run-0")
    with pytest.raises(UsageError, match="waits for no answer"):
        ledger.decide("run-0", True, by="boss")
    with pytest.raises(UsageError, match="name"):
        ledger.decide(asked("run-1", "q1"), True, by=" ")


def test_the_question_is_one_paragraph(ledger: Ledger, asked: Callable[..., str]) -> None:
    run = asked("run-1", "q1")
    words = in_words(ledger.get_run(run), [ledger.get_request("q1")])
    assert words.startswith("1 request with 3 records, the first due 2026-04-02, from model digits 1: go back")
    assert "0.20 of a retraining" in words and "cannot be undone" in words


def test_heartbeats_are_kept_by_schedule(ledger: Ledger) -> None:
    assert ledger.last_scheduled_run("nightly") is None
    ledger.record_scheduled_run("nightly", answered=2)
    ledger.record_scheduled_run("hourly", answered=0)
    last = ledger.last_scheduled_run("nightly")
    assert last is not None and last.payload["answered"] == 2
