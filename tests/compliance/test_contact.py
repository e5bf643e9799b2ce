"""Are receipt, proof of identity and the choice among several people noted, with the right deadline?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import START, Clock

from expunge.compliance.ledger import Ledger, NewRequest
from expunge.compliance.lifecycle import IllegalMove
from expunge.compliance.pack import notices, request_part, scope_part
from expunge.compliance.pseudonym import load_or_create_key, rotate_key
from expunge.errors import UsageError


def test_a_hold_stops_a_gdpr_clock_and_not_a_ccpa_one(ledger: Ledger, add: Callable[..., Any], clock: Clock) -> None:
    add("q1", "r1")
    add("q2", "r2", regulation="ccpa")
    before = {name: ledger.get_request(name).due_at for name in ("q1", "q2")}
    for name in before:
        held = ledger.hold(name)
        assert held.status == "identity_unverified" and held.identity_requested_at == START
        assert ledger.hold(name) == held
    clock.forward(days=7)
    assert ledger.confirm("q1").due_at == before["q1"] + timedelta(days=7)
    assert "paused 7 days" in ledger.get_request("q1").due_rule
    assert ledger.confirm("q2").due_at == before["q2"]
    head = ledger.head()
    assert ledger.confirm("q1").status == "accepted" and ledger.head() == head
    assert ledger.admit("q1").status == "quarantined" and ledger.verify_rows() == []


def test_the_pause_counts_from_when_proof_was_asked_for(ledger: Ledger, add: Callable[..., Any], clock: Clock) -> None:
    add("q1", "r1")
    clock.forward(days=5)
    ledger.hold("q1", START + timedelta(days=1))
    clock.forward(days=5)
    assert ledger.confirm("q1", START + timedelta(days=9)).due_at == date(2026, 4, 10)  # 2 April and 8 days
    for wrong in (START - timedelta(days=1), clock.now + timedelta(days=1)):
        add(f"q-{wrong:%d}", f"r-{wrong:%d}", received_at=START)
        with pytest.raises(UsageError, match="cannot have been asked for proof"):
            ledger.hold(f"q-{wrong:%d}", wrong)


def test_a_hold_comes_too_late_once_the_records_are_out_of_training(ledger: Ledger, add: Callable[..., Any]) -> None:
    add("q1", "r1")
    ledger.admit("q1")
    with pytest.raises(IllegalMove, match="is quarantined and cannot become identity_unverified") as refused:
        ledger.hold("q1")
    assert "planned" in refused.value.hint
    add("q2", "r2")
    with pytest.raises(IllegalMove, match="does not wait for proof"):
        ledger.confirm("q2")


def test_an_extension_and_a_pause_add_up_and_the_rule_says_so(
    ledger: Ledger, add: Callable[..., Any], clock: Clock
) -> None:
    add("q1", "r1")
    ledger.hold("q1")
    clock.forward(days=3)
    ledger.extend("q1", "many requests", clock.now)
    clock.forward(days=4)
    request = ledger.confirm("q1")
    assert request.deadline == date(2026, 6, 9)  # 2 June and 7 days
    assert "3 months" in ledger.rule_of(request) and "paused 7 days" in ledger.rule_of(request)
    assert ledger.rule_of(replace(request, extended_to=None)) == request.due_rule


def test_an_acknowledgement_is_owed_under_ccpa_until_it_is_given(
    ledger: Ledger, add: Callable[..., Any], clock: Clock
) -> None:
    owing = add("q1", "r1", regulation="ccpa")
    assert owing.owes_acknowledgement and owing.acknowledge_by == date(2026, 3, 16)
    assert not add("q2", "r2").owes_acknowledgement
    clock.forward(days=2)
    with pytest.raises(UsageError, match="cannot have been acknowledged"):
        ledger.acknowledge("q1", START - timedelta(days=1))
    done = ledger.acknowledge("q1")
    assert not done.owes_acknowledgement and done.acknowledged_at == clock.now
    clock.forward(days=2)
    assert ledger.acknowledge("q1") == done  # the first time counts
    assert [event.kind for event in ledger.events("q1")] == ["request.received", "request.acknowledged"]
    assert ledger.verify_rows() == []


AMBIGUOUS = NewRequest(
    "q1", "ada", [], "gdpr", START, ambiguous=True, candidates=("ada", "bob"), named_identities=("ada", "bob"),
    details={"kind": "person"},
)  # fmt: skip


def test_an_ambiguous_request_goes_nowhere_until_it_is_said_who_was_meant(ledger: Ledger, clock: Clock) -> None:
    assert ledger.add_requests([AMBIGUOUS])[0].request.outcome == "ambiguous_identity"
    for attempt, why in ((ledger.confirm, "fits more than one person"), (ledger.admit, "waits for proof")):
        with pytest.raises(IllegalMove, match=why):
            attempt("q1")
    assert not ledger.is_quarantined("r1")
    with pytest.raises(UsageError, match="does not fit"):
        ledger.identify("q1", "eve", ["r9"])
    with pytest.raises(UsageError, match="means no record of that person"):
        ledger.identify("q1", "bob", [])
    clock.forward(days=3)
    ledger.identify("q1", "bob", ["r3", "r4"])
    ledger.confirm("q1")
    ledger.admit("q1")
    assert ledger.is_quarantined("r3") and not ledger.is_quarantined("r1")
    assert ledger.audit_subject("bob")["known"] and not ledger.audit_subject("ada")["known"]
    assert not ledger.add_requests([AMBIGUOUS])[0].created  # known again by what was asked
    assert ledger.verify_rows() == [] and ledger.verify_chain().ok
    with pytest.raises(IllegalMove, match="does not fit more than one person"):
        ledger.identify("q1", "ada", ["r1"])


def test_who_was_meant_can_be_said_after_the_key_was_rotated(tmp_path: Path, clock: Clock) -> None:
    key = tmp_path / "keys" / "pseudonym.key"
    with Ledger.open(tmp_path / "ledger.db", load_or_create_key(key), clock=clock) as ledger:
        ledger.add_requests([AMBIGUOUS])
    with Ledger.open(tmp_path / "ledger.db", rotate_key(key), clock=clock) as ledger:
        identified = ledger.identify("q1", "ada", ["r1"])
        assert identified.outcome is None and not ledger.add_requests([AMBIGUOUS])[0].created
        new = ledger.pseudonymizer.key_id
        assert new == identified.key_id == request_part(identified)["key_id"]
        assert scope_part(ledger.request_records("q1"))["key_id"] == new
        assert identified.subject_pseudonym == ledger.pseudonymizer.identity("ada") and ledger.verify_rows() == []


def test_a_certificate_names_the_key_that_its_records_are_under(tmp_path: Path, clock: Clock) -> None:
    key = tmp_path / "keys" / "pseudonym.key"
    with Ledger.open(tmp_path / "ledger.db", load_or_create_key(key), clock=clock) as ledger:
        request = ledger.add_request("q1", "ada", ["r1", "r2"], "gdpr", START).request
        old = ledger.pseudonymizer.key_id
    with Ledger.open(tmp_path / "ledger.db", rotate_key(key), clock=clock) as ledger:
        scope = scope_part(ledger.request_records("q1"))
        assert (scope["key_id"], scope["count"]) == (old, 2) and request_part(request)["key_id"] == old
        assert ledger.pseudonymizer.key_id != old
        mixed = [*ledger.request_records("q1")]
        mixed[1] = replace(mixed[1], key_id="other")
        assert scope_part(mixed)["key_id"] == ",".join(sorted([old, "other"]))
        assert scope_part([])["key_id"] is None


def test_nobody_was_asked_so_the_clock_of_a_request_in_doubt_runs_until_somebody_is(
    ledger: Ledger, add: Callable[..., Any], clock: Clock
) -> None:
    doubts = add("q1", "r1", identity_verified=False), ledger.add_requests([replace(AMBIGUOUS, request_id="q2")])[0][0]
    assert [one.identity_requested_at for one in doubts] == [None, None]
    clock.forward(days=40)
    assert [(one.deadline, one.late) for one in ledger.due_requests()] == [(date(2026, 4, 2), True)] * 2
    assert ledger.statistics()["late"] == 2 and notices(ledger, ledger.get_request("q1")) == []
    held = ledger.hold("q1", START + timedelta(days=30))
    assert held.identity_requested_at == START + timedelta(days=30)
    assert ledger.hold("q1") == held and ledger.hold("q2").outcome == "ambiguous_identity"
    assert [(one.request.id, one.late) for one in ledger.due_requests()] == [("q2", True), ("q1", False)]
    assert ledger.confirm("q1").due_at == date(2026, 4, 13)  # 12 April is a Sunday
    assert [one["kind"] for one in notices(ledger, ledger.get_request("q1"))] == [
        "identity.requested", "identity.confirmed",
    ]  # fmt: skip
    add("q3", "r3", identity_verified=False, received_at=clock.now)
    assert ledger.confirm("q3").due_at == ledger.get_request("q3").due_at  # shown without having been asked for
    assert [one["kind"] for one in notices(ledger, ledger.get_request("q3"))] == ["identity.confirmed"]
    assert ledger.verify_rows() == []
