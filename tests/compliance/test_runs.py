"""A deletion run, from the due requests to the certificates: killed anywhere, started again, everything done once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ON_POSTGRESQL, START, Clock, predicate_for, sha256

from expunge.compliance.certificate import build_statement, load_or_create_signing_key, sign, write_certificate
from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import Pseudonymizer
from expunge.compliance.verify import verify_certificate
from expunge.errors import NotFoundError, UsageError

MODEL, REPORT = b"model 2", b"<html>"
PARTS = [
    {"kind": "model", "name": "model 1", "status": "destroyed", "method": "unlink", "content_hash": "a" * 64},
    {"kind": "checkpoint", "name": "step 3", "status": "destroyed", "method": "unlink",
     "details": {"model_version": "model 1"}},
    {"kind": "gradient norms", "name": "3 artifacts", "status": "kept", "reason": "numbers of other records"},
]  # fmt: skip


class Killed(BaseException):
    """What no code catches."""


class FatalClock(Clock):
    """A clock that kills whoever reads it for the n-th time; every write of the ledger reads it."""

    def __init__(self, lives: int) -> None:
        super().__init__()
        self.lives = lives

    def __call__(self) -> Any:
        self.lives -= 1
        if self.lives < 0:
            raise Killed
        return super().__call__()


def take_in(ledger: Ledger) -> None:
    for request_id, *records in (("q1", "r1", "r2"), ("q2", "r2", "r3")):
        ledger.add_request(request_id, f"{request_id}@example.org", records, "gdpr", START)


def delete(ledger: Ledger, state: Path, run_id: str = "run-1") -> None:
    """One deletion run over everything that is due; calling it again goes on where it was."""
    waiting = [d.request.id for d in ledger.due_requests(statuses=("received", "accepted", "quarantined", "failed"))]
    for request_id in waiting:
        ledger.admit(request_id)
    run = ledger.add_run(run_id, model_version_before="model 1", details={"requests": waiting})
    if run.status == "closed":
        return
    requests = run.details["requests"]

    def all_to(status: str) -> None:
        for request_id in requests:
            ledger.move(request_id, status, run_id)

    all_to("planned")
    ledger.update_run(run_id, method="rewind", plan={"steps": 7})
    all_to("unlearning")
    all_to("verified")
    ledger.update_run(run_id, model_version_after="model 2", status="promoted", details={"evidence": "e" * 64})
    all_to("promoted")
    ledger.add_tombstones({**part, "run_id": run_id} for part in PARTS)
    all_to("purged")
    for request_id in requests:
        ledger.mark_erased(request_id, run_id)
        certify(ledger, state, request_id, run_id)
    all_to("closed")
    ledger.update_run(run_id, status="closed", finished_at=START)


def certify(ledger: Ledger, state: Path, request_id: str, run_id: str) -> None:
    if any(one.run_id == run_id for one in ledger.certificates(request_id)):
        return
    artifacts = [
        {"action": part["status"], **{name: part.get(name) for name in ("kind", "name", "method", "reason")}}
        for part in PARTS
    ]
    predicate = predicate_for(ledger, request_id, MODEL, REPORT, artifacts=artifacts)
    statement = build_statement([{"name": "model", "digest": {"sha256": sha256(MODEL)}}], predicate)
    path = state / "certificates" / f"{request_id}.json"
    digest = write_certificate(path, sign(statement, load_or_create_signing_key(state / "keys" / "certificate.pem")))
    ledger.add_certificate(request_id, f"certificates/{request_id}.json", digest, run_id)


def story(ledger: Ledger) -> list[tuple[str, str | None, Any]]:
    """Everything that happened, without hashes."""
    return [(event.kind, event.request_id, event.payload.get("to")) for event in ledger.events()]


def test_a_run_killed_at_any_write_goes_on_and_does_nothing_twice(tmp_path: Path, pseudonymizer: Pseudonymizer) -> None:
    with Ledger.open(tmp_path / "whole" / "ledger.db", pseudonymizer, clock=Clock()) as ledger:
        take_in(ledger)
        delete(ledger, tmp_path / "whole")
        expected = story(ledger)
    state, kills = tmp_path / "killed", 0
    with Ledger.open(state / "ledger.db", pseudonymizer, clock=Clock()) as ledger:
        take_in(ledger)
    for lives in range(3, 60):  # every attempt lives one write longer, and dies in the middle of a transaction
        try:
            with Ledger.open(state / "ledger.db", pseudonymizer, clock=FatalClock(lives)) as ledger:
                delete(ledger, state)
                break
        except Killed:
            kills += 1
    assert 5 < kills < 57
    with Ledger.open(state / "ledger.db", pseudonymizer, clock=Clock()) as ledger:
        assert story(ledger) == expected
        assert ledger.verify_chain().ok and ledger.verify_rows() == []
        assert {request.status for request in ledger.list_requests(run_id="run-1")} == {"closed"}
        delete(ledger, state)
        assert story(ledger) == expected
    for request_id in ("q1", "q2"):
        assert verify_certificate(state / "certificates" / f"{request_id}.json").ok


@pytest.mark.parametrize(
    ("where", "lives"),
    [
        *(("sqlite", lives) for lives in range(1, 40, 3)),
        *(pytest.param("postgresql", lives, marks=ON_POSTGRESQL) for lives in range(1, 40, 12)),
    ],
    indirect=["where"],
)
def test_one_kill_anywhere_leaves_one_story(
    where: str | Path, tmp_path: Path, pseudonymizer: Pseudonymizer, lives: int
) -> None:
    with Ledger.open(where, pseudonymizer, clock=Clock()) as ledger:
        take_in(ledger)
    try:
        with Ledger.open(where, pseudonymizer, clock=FatalClock(lives)) as ledger:
            delete(ledger, tmp_path)
    except Killed:
        pass
    with Ledger.open(where, pseudonymizer, clock=Clock()) as ledger:
        delete(ledger, tmp_path)
        kinds = [kind for kind, _, _ in story(ledger)]
        once = {"run.started": 1, "tombstones.added": 1, "request.erased": 2, "certificate.issued": 2}
        assert {kind: kinds.count(kind) for kind in once} == once
        assert len(ledger.tombstones(run_id="run-1")) == 3 and ledger.verify_rows() == []


def test_everything_is_found_again_after_the_purge(ledger: Ledger, tmp_path: Path) -> None:
    take_in(ledger)
    delete(ledger, tmp_path)
    record = ledger.audit_record("r2")
    assert record["known"] and record["record_status"] == {"q1": "erased", "q2": "erased"}
    assert record["record_pseudonyms"] == [ledger.pseudonymizer.record("r2")]
    assert [one["id"] for one in record["requests"]] == ["q1", "q2"]
    subject = ledger.audit_subject("q1@example.org")
    assert [one["id"] for one in subject["requests"]] == ["q1"] and len(subject["certificates"]) == 1
    request = ledger.audit_request("q1")
    assert len(request["records"]) == 2 and request["requests"][0]["status"] == "closed"
    for model in (ledger.audit_model("model 1"), ledger.audit_model("no label", "model 2")):
        assert model["known"] and [one["id"] for one in model["requests"]] == ["q1", "q2"]
    for found in (record, subject, request, ledger.audit_model("model 1")):
        assert [one["id"] for one in found["runs"]] == ["run-1"]
        assert {(one["name"], one["status"]) for one in found["tombstones"]} == {
            (part["name"], part["status"]) for part in PARTS
        }
        assert found["certificates"] and any(one["kind"] == "certificate.issued" for one in found["events"])
    assert not ledger.audit_record("r9")["known"] and not ledger.audit_subject("nobody")["known"]
    assert not ledger.audit_model("model 9")["known"]
    with pytest.raises(NotFoundError, match="q9"):
        ledger.audit_request("q9")


def test_a_failed_run_hands_its_requests_to_the_next(ledger: Ledger, add: Callable[..., Any]) -> None:
    add("q1", "r1")
    ledger.admit("q1")
    for run_id in ("run-1", "run-2"):
        ledger.add_run(run_id, attempt=int(run_id[-1]), details={"requests": ["q1"]})
        ledger.move("q1", "planned", run_id)
        ledger.move("q1", "unlearning", run_id)
        ledger.move("q1", "failed", run_id)
    ledger.update_run("run-2", fallback_reason="the gate refused run-1")
    assert [run.id for run in ledger.list_runs()] == ["run-1", "run-2"]
    assert [run["id"] for run in ledger.audit_request("q1")["runs"]] == ["run-1", "run-2"]
    assert ledger.is_quarantined("r1")
    with pytest.raises(NotFoundError, match="run-3"):
        ledger.update_run("run-3", status="closed")
    with pytest.raises(UsageError, match="stop_reason"):
        ledger.update_run("run-1", stop_reasons="x")


def test_runs_and_events_are_found_by_what_they_hold(ledger: Ledger, add: Callable[..., Any], clock: Clock) -> None:
    assert ledger.last_run() == (0, None) and ledger.runs_holding(("planned",)) == []
    for number, status in enumerate(("planned", "failed", "planned")):
        add(f"q{number}", f"r{number}")
        ledger.admit(f"q{number}")
        clock.forward(hours=1)
        ledger.add_run(f"run-{number}", details={"requests": [f"q{number}"]})
        ledger.move(f"q{number}", "planned", f"run-{number}")
        if status == "failed":
            ledger.move(f"q{number}", "unlearning", f"run-{number}")
            ledger.move(f"q{number}", "failed", f"run-{number}")
    assert [run.id for run in ledger.runs_holding(("planned", "unlearning"))] == ["run-0", "run-2"]
    assert [run.id for run in ledger.runs_holding(("failed",))] == ["run-1"]
    assert ledger.last_run() == (3, "run-2 started")
    assert [event.run_id for event in ledger.events(kinds=("run.started",))] == ["run-0", "run-1", "run-2"]
    both = ledger.events("q1", kinds=("request.received", "run.started"))
    assert [event.kind for event in both] == ["request.received"] and ledger.events(kinds=("nothing",)) == []


def test_what_is_kept_can_be_destroyed_later_and_never_the_other_way_round(ledger: Ledger, clock: Clock) -> None:
    prefix = {"kind": "checkpoint", "name": "step 1", "run_id": "run-1", "content_hash": "b" * 64}
    kept = ledger.add_tombstones([{**prefix, "status": "kept", "reason": "until_due", "created_at": START}])[0]
    assert kept.status == "kept" and kept.destroyed_at is None
    clock.forward(days=9)
    gone = ledger.add_tombstones([{**prefix, "status": "destroyed", "method": "unlink"}])[0]
    assert (gone.id, gone.status, gone.destroyed_at, gone.reason) == (kept.id, "destroyed", clock.now, "until_due")
    head = ledger.head()
    assert ledger.add_tombstones([{**prefix, "status": "destroyed", "method": "unlink"}]) == [gone]
    assert ledger.head() == head and ledger.tombstones(status="kept") == []
    with pytest.raises(UsageError, match="destroyed already"):
        ledger.add_tombstones([{**prefix, "status": "kept", "reason": "changed my mind"}])


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "destroyed"},
        {"status": "kept"},
        {"status": "gone", "method": "unlink"},
        {"status": "kept", "reason": "x", "kind": ""},
        {"status": "kept", "reason": "x", "why": "y"},
        {"status": "destroyed", "method": "unlink", "destroyed_at": START.replace(tzinfo=None)},
    ],
)
def test_a_finding_says_how_or_why(ledger: Ledger, wrong: dict[str, Any]) -> None:
    good = {"kind": "model", "name": "m", "status": "destroyed", "method": "unlink"}
    with pytest.raises(UsageError):
        ledger.add_tombstones([good, {"kind": "model", "name": "n", **wrong}])
    assert ledger.tombstones() == []


def test_a_certificate_is_recorded_once_by_its_digest(ledger: Ledger, add: Callable[..., Any]) -> None:
    add("q1", "r1")
    entry = ledger.add_certificate("q1", "certificates/q1.json", "c" * 64, "run-1", interim=True)
    assert ledger.add_certificate("q1", "certificates/q1.json", "c" * 64, "run-1", interim=True) == entry
    assert ledger.certificates("q1") == [entry] and entry.interim
    for path, digest in (("/abs", "c" * 64), ("../up", "c" * 64), ("certificates/q1.json", "short")):
        with pytest.raises(UsageError):
            ledger.add_certificate("q1", path, digest)
    with pytest.raises(NotFoundError):
        ledger.add_certificate("q9", "certificates/q9.json", "c" * 64)
