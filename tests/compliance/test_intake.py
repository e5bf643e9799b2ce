"""A request enters the ledger once, and never without an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from conftest import START, Clock

from expunge.compliance.ledger import Ledger, NewRequest
from expunge.compliance.pseudonym import Pseudonymizer, load_or_create_key, rotate_key
from expunge.errors import UsageError

NEW = NewRequest("q1", "ada@example.org", ["r1", "r2"], "gdpr", START, details={"kind": "person"})


def erase(ledger: Ledger, request_id: str) -> None:
    ledger.admit(request_id)
    for status in ("planned", "unlearning", "verified", "promoted", "purged"):
        ledger.move(request_id, status, f"run-{request_id}")
    ledger.mark_erased(request_id)
    ledger.move(request_id, "closed", f"run-{request_id}")


def test_the_same_request_again_changes_nothing(ledger: Ledger, clock: Clock) -> None:
    first = ledger.add_requests([NEW])[0]
    assert first.created and first.request.status == "received"
    head = ledger.head()
    clock.forward(days=3)
    for again in (
        NEW,
        replace(NEW, record_ids=["r2", "r1", "r1"]),
        replace(NEW, received_at=clock.now),  # it comes in again later; the first receipt counts
    ):
        assert ledger.add_requests([again])[0] == (first.request, False)
    assert ledger.head() == head
    ledger.admit("q1")
    assert not ledger.add_requests([NEW])[0].created and ledger.get_request("q1").status == "quarantined"


@pytest.mark.parametrize(
    "change",
    [{"record_ids": ["r1"]}, {"subject_identity": "eve@example.org"}, {"regulation": "ccpa"}],
)
def test_the_same_id_with_another_content_is_an_error(ledger: Ledger, change: dict[str, Any]) -> None:
    ledger.add_requests([NEW])
    head = ledger.head()
    with pytest.raises(UsageError, match="q1 is on the ledger with another content"):
        ledger.add_requests([replace(NEW, request_id="other", record_ids=["r9"]), replace(NEW, **change)])
    assert ledger.head() == head and len(ledger.list_requests()) == 1  # all or none


def test_a_retry_is_recognised_after_the_key_was_rotated(where: str | Path, tmp_path: Path) -> None:
    key = tmp_path / "keys" / "pseudonym.key"
    with Ledger.open(where, load_or_create_key(key)) as ledger:
        ledger.add_requests([NEW])
        ledger.admit("q1")
    with Ledger.open(where, rotate_key(key)) as ledger:
        assert not ledger.add_requests([NEW])[0].created
        assert ledger.is_quarantined("r1") and ledger.audit_record("r1")["known"]
        assert ledger.add_requests([replace(NEW, request_id="q2")])[0].request.duplicate_of == "q1"


def test_an_unknown_person_or_record_is_answered_on_record(ledger: Ledger, add: Callable[..., Any]) -> None:
    nobody = add("q1", subject_identity="nobody@example.org")
    assert (nobody.status, nobody.outcome, nobody.answered_at) == ("not_found", "not_found", START)
    assert add("q2", "r1", known_record_pseudonyms=[]).status == "not_found"
    known = [ledger.pseudonymizer.record("r3")]
    some = add("q3", "r3", "r4", known_record_pseudonyms=known)
    assert some.status == "received" and some.details["unknown_records"] == 1
    assert sorted(record.status for record in ledger.request_records("q3")) == ["not_found", "requested"]
    ledger.admit("q3")
    assert ledger.is_quarantined("r3") and not ledger.is_quarantined("r4")
    assert [event.kind for event in ledger.events("q1")] == ["request.received"]


def test_what_is_erased_already_is_answered_so(ledger: Ledger, add: Callable[..., Any]) -> None:
    add("q1", "r1", "r2")
    erase(ledger, "q1")
    again = add("q2", "r1")
    assert (again.status, again.outcome, again.duplicate_of) == ("duplicate", "already_erased", "q1")
    # known to the guard, although the data no longer know it
    assert add("q3", "r2", known_record_pseudonyms=[]).outcome == "already_erased"
    assert add("q4", "r1", "r5").status == "received"


def test_a_duplicate_is_open_again_when_the_original_falls_away(ledger: Ledger, add: Callable[..., Any]) -> None:
    add("q1", "r1", "r2")
    assert add("q2", "r1").duplicate_of == "q1"
    assert add("q3", "r2", identity_verified=False).outcome == "duplicate"
    ledger.cancel("q1")
    assert ledger.get_request("q2").status == "received" and ledger.get_request("q2").answered_at is None
    # whose identity was in doubt stays in doubt
    assert ledger.get_request("q3").status == "identity_unverified"
    assert ledger.events("q2")[-1].kind == "request.reopened" and ledger.verify_rows() == []


@pytest.mark.parametrize("doubt", [{"identity_verified": False}, {"ambiguous": True, "candidates": ("ada", "bob")}])
def test_a_request_in_doubt_answers_for_no_other_one(ledger: Ledger, doubt: dict[str, Any]) -> None:
    """Anybody can send one in somebody's name: the true one must not wait for it."""
    unproven = NewRequest("a", "ada", ["r1", "r2"], "gdpr", START, **doubt)
    true = NewRequest("b", "bob", ["r2"], "gdpr", START, known_record_pseudonyms=[])  # the source dropped r2 meanwhile
    answers = [added.request.status for added in ledger.add_requests([unproven, true])]
    assert answers == ["identity_unverified", "received"]
    assert ledger.add_requests([replace(true, request_id="c")])[0].request.duplicate_of == "b"
    if "ambiguous" in doubt:
        ledger.identify("a", "ada", ["r1"])
    erase(ledger, "b")
    assert ledger.erased_pseudonyms() == {ledger.pseudonymizer.record("r2")}
    ledger.confirm("a")
    erase(ledger, "a")
    assert ledger.erased_pseudonyms() == {ledger.pseudonymizer.record(one) for one in ("r1", "r2")}
    assert [ledger.get_request(one).status for one in "ab"] == ["closed", "closed"] and ledger.verify_rows() == []


def test_who_was_meant_leaves_no_duplicate_behind(ledger: Ledger, add: Callable[..., Any]) -> None:
    """A duplicate of an ambiguous request is open again: it may mean records that the other does not mean any more."""
    add("a", "r1", "r2", subject_identity="ada", ambiguous=True, candidates=("ada", "bob"))
    add("b", "r2", subject_identity="bob")
    ledger.move("b", "duplicate", duplicate_of="a")  # as an earlier version answered it
    ledger.identify("a", "ada", ["r1"])
    again = ledger.get_request("b")
    assert (again.status, again.duplicate_of, again.outcome, again.answered_at) == ("received", None, None, None)
    ledger.admit("b")
    assert ledger.is_quarantined("r2") and ledger.verify_rows() == []


def test_a_request_that_is_put_on_hold_opens_its_duplicates_again(
    ledger: Ledger, add: Callable[..., Any], clock: Clock
) -> None:
    add("a", "r1", "r2")
    assert {add("b", "r1").duplicate_of, add("c", "r2", identity_verified=False).duplicate_of} == {"a"}
    add("d", "r3", ambiguous=True, candidates=("ada", "bob"))
    ledger.move("d", "duplicate", duplicate_of="a")
    clock.forward(days=1)
    ledger.hold("a")
    assert {one: ledger.get_request(one).status for one in "bcd"} == {
        "b": "received", "c": "identity_unverified", "d": "identity_unverified",
    }  # fmt: skip
    assert ledger.get_request("c").identity_requested_at is None, "nobody asked that person"
    assert ledger.get_request("d").outcome == "ambiguous_identity"
    ledger.confirm("a")
    assert add("e", "r1").duplicate_of == "a" and ledger.get_request("b").status == "received"
    assert ledger.verify_rows() == []


def test_several_requests_for_the_same_records_go_on_together(ledger: Ledger, add: Callable[..., Any]) -> None:
    """One run answers both; one that is withdrawn hands its guard on; what one erased stays erased."""
    for name, more in (("a", {"identity_verified": False}), ("c", {"identity_verified": False}), ("b", {})):
        add(name, "r1", "r2", **more)
    for name in "ac":
        ledger.confirm(name)
    for name in "abc":
        ledger.admit(name)
    ledger.cancel("a")  # held the guard
    assert ledger.quarantined_among(["r1", "r2"]) == {"r1", "r2"}
    for status in ("planned", "unlearning", "failed"):
        ledger.move("b", status, "run-0")
        ledger.move("c", status, "run-0")
    for status in ("planned", "unlearning", "verified", "promoted", "purged"):
        for name in "bc":
            ledger.move(name, status, "run-1")
    for name in "bc":
        ledger.mark_erased(name, "run-1")
        assert ledger.move(name, "closed", "run-1").outcome == "erased"
    assert {one.status for name in "bc" for one in ledger.request_records(name)} == {"erased"}
    assert add("d", "r1").outcome == "already_erased" and ledger.verify_rows() == []
    guard = ledger.audit_record("r1")["guard"]
    assert len(guard) == 1 and guard[0]["erased_at"]


def test_an_ambiguous_identity_waits_for_a_person(ledger: Ledger, add: Callable[..., Any]) -> None:
    request = add("q1", subject_identity="a.smith", ambiguous=True)
    assert (request.status, request.outcome) == ("identity_unverified", "ambiguous_identity")


def test_a_request_is_known_again_by_what_was_asked(ledger: Ledger) -> None:
    """Not by what was found for it: the data change, and the source may drop what was erased."""
    person = replace(NEW, record_ids=["r1", "r2"], named_records=())
    ledger.add_requests([person])
    assert not ledger.add_requests([replace(person, record_ids=["r1", "r2", "r3"])])[0].created
    erase(ledger, "q1")
    assert not ledger.add_requests([replace(person, record_ids=[])])[0].created
    gone = ledger.add_requests([replace(person, request_id="q2", record_ids=[], known_record_pseudonyms=[])])[0].request
    assert (gone.status, gone.outcome, gone.duplicate_of) == ("duplicate", "already_erased", "q1")
    other = replace(person, request_id="q3", subject_identity="eve", record_ids=[], known_record_pseudonyms=[])
    assert ledger.add_requests([other])[0].request.status == "not_found"


def test_many_at_once_are_answered_as_one_after_another(tmp_path: Path, pseudonymizer: Pseudonymizer) -> None:
    news = [
        NewRequest(f"q{n}", f"p{n % 7}", [f"r{n % 5}", f"r{n % 3}"], "gdpr", START, known_record_pseudonyms=
                   [pseudonymizer.record(f"r{k}") for k in range(4)], identity_verified=n % 11 > 0)
        for n in range(40)
    ]  # fmt: skip
    answers = []
    for name, batches in (("one", [[new] for new in news]), ("all", [news])):
        with Ledger.open(tmp_path / f"{name}.db", pseudonymizer, clock=lambda: START) as ledger:
            for batch in batches:
                ledger.add_requests(batch)
            answers.append([request.to_dict() for request in ledger.list_requests()])
            assert ledger.verify_rows() == [] and ledger.verify_chain().ok
    assert answers[0] == answers[1] and {one["status"] for one in answers[0]} >= {"received", "duplicate"}


def test_every_conflict_of_a_batch_is_named_and_nothing_enters(ledger: Ledger) -> None:
    ledger.add_requests([NEW, replace(NEW, request_id="q2", record_ids=["r7"])])
    head = ledger.head()
    wrong = [replace(NEW, record_ids=["r8"]), replace(NEW, request_id="q2"), replace(NEW, request_id="q3")]
    with pytest.raises(UsageError, match="2 requests cannot be taken in") as refused:
        ledger.add_requests(wrong)
    assert "q1" in refused.value.message and "q2" in refused.value.message and "q3" not in refused.value.message
    assert ledger.head() == head


def test_a_short_name_may_occur_in_an_id_by_chance(ledger: Ledger) -> None:
    new = replace(NEW, request_id="a7551968-d5d6-44b2-9831-815ac9017798", subject_identity="5")
    assert ledger.add_requests([new, replace(NEW, request_id="case-15", subject_identity="9831")])[0].created
    with pytest.raises(UsageError, match="repeats the person"):
        ledger.add_requests([replace(NEW, request_id="case-9831", subject_identity="9831", record_ids=["r5"])])


@pytest.mark.parametrize(
    "change",
    [
        {"received_at": START.replace(tzinfo=None)},
        {"regulation": "hipaa"},
        {"request_id": "ada lovelace"},
        {"request_id": ""},
        {"record_ids": "r1"},
        {"record_ids": [], "subject_identity": None},
        {"record_ids": [""]},
        {"subject_request_type": "access"},
        {"status_callback_urls": ["ftp://example.org"]},
        {"details": {"note": "ask ada@example.org"}},
        {"details": {"records": ["r1"]}},
        {"details": {"share": float("nan")}},
    ],
)
def test_what_cannot_be_used_is_refused_and_leaves_nothing(ledger: Ledger, change: dict[str, Any]) -> None:
    head = ledger.head()
    with pytest.raises(UsageError):
        ledger.add_requests([replace(NEW, **change)])
    assert ledger.head() == head and ledger.list_requests() == []


def test_statistics_count_what_a_regulator_asks_for(ledger: Ledger, add: Callable[..., Any], clock: Clock) -> None:
    add("q1", "r1")
    clock.forward(days=4)
    erase(ledger, "q1")
    add("q2", "r2", regulation="ccpa")
    ledger.refuse("q2", "1798.105(d)(8)")
    add("q3", "r3")
    add("q4", "r1")
    clock.forward(days=60)
    counts = ledger.statistics()
    assert {name: counts[name] for name in ("received", "done", "refused", "duplicate", "open", "late")} == {
        "received": 4, "done": 1, "refused": 1, "duplicate": 1, "open": 1, "late": 1,
    }  # fmt: skip
    assert counts["median_days"] == 4 and counts["by_regulation"]["ccpa"]["refused"] == 1
    assert ledger.statistics(since=START + timedelta(days=1))["received"] == 0


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Australia/Eucla", "America/St_Johns", "Europe/Berlin"])
def test_days_to_the_answer_are_the_controllers_days(zone: str, tmp_path: Path, pseudonymizer: Pseudonymizer) -> None:
    """Every quarter of an hour of a day is the start of a request, in zones that are off by quarters too."""
    clock = Clock()
    with Ledger.open(tmp_path / "ledger.db", pseudonymizer, timezone=zone, clock=clock) as ledger:
        moments = [START + timedelta(minutes=15 * n - n % 2, seconds=59 * (n % 2)) for n in range(96)]
        clock.now = START + timedelta(days=3)
        ledger.add_requests(
            NewRequest(f"q{n}", None, [f"r{n}"], "gdpr", at, known_record_pseudonyms=[]) for n, at in enumerate(moments)
        )
        days = [
            (clock.now.astimezone(ZoneInfo(zone)).date() - at.astimezone(ZoneInfo(zone)).date()).days for at in moments
        ]
        assert ledger.statistics()["median_days"] == median(days) and ledger.statistics()["not_found"] == 96
        for since in moments[::7]:
            late = [n for n, at in zip(days, moments, strict=True) if at >= since]
            assert ledger.statistics(since=since)["median_days"] == median(late)


def test_pseudonyms_need_their_key() -> None:
    one, other = Pseudonymizer(bytes(32)), Pseudonymizer(bytes([1] * 32))
    assert one.record("r1") != other.record("r1") and one.record("r1") != one.identity("r1")
    assert one.record("r1") == one.record("r1") and len(one.record("r1")) == 64
    assert "00" * 32 not in repr(one)
    with pytest.raises(UsageError):
        Pseudonymizer(b"short")


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "pseudonym.key"
    load_or_create_key(key)
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        load_or_create_key(key)
