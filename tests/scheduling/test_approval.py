"""Does a deletion wait for a person, through a kill and days without anybody, and is only what was approved done?"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("approval")
ROOT = Path(__file__).resolve().parents[2]
DESTROY = """
import sys
from pathlib import Path
from adapters import bootstrap
from adapters.project import Project
bootstrap.start(Project(Path(sys.argv[1])))
from adapters import artifacts
for version in artifacts.versions(sys.argv[2]):
    artifacts.destroy(version, "run-of-another")
"""


def at(house: Any, moment: str | None) -> None:
    house.environment.pop("EXPUNGE_SIMULATED_NOW", None)
    if moment:
        house.environment["EXPUNGE_SIMULATED_NOW"] = moment


def ask(house: Any, request: str, *records: str) -> None:
    house.run("request", "add", *(part for r in records for part in ("-r", r)), "--id", request)


def waiting(house: Any) -> list[str]:
    return [row[0] for row in house.ledger("select id from deletion_run where status = 'awaiting_approval'")]


def approvals(house: Any) -> list[str]:
    """Status of each approval run in ZenML, oldest first."""
    return [s for (s,) in house.zenml("select status from pipeline_run where name like 'approval-%' order by created")]


def polled(house: Any) -> bool:
    """Whether a process waits at ZenML's condition."""
    found = house.zenml("select 1 from run_wait_condition where status = 'pending' and last_polled_at is not null")
    return bool(waiting(house) and found)


def heartbeats(house: Any) -> list[dict[str, Any]]:
    rows = house.ledger("select payload from event where kind = 'schedule.ran' order by seq")
    return [json.loads(payload) for (payload,) in rows]


def predicate(house: Any, request: str) -> dict[str, Any]:
    envelope = json.loads((house.state / "certificates" / f"{request}.certificate.json").read_text())
    return dict(json.loads(base64.b64decode(envelope["payload"]))["predicate"])


@pytest.mark.slow
def test_killed_while_it_waits_and_approved_when_nobody_runs(
    new_house: Callable[..., Any], small: dict[str, Any], declare: Callable[..., None]
) -> None:
    house = new_house("approval", **small, deletion={"approval": "required", "approval_wait": 600})
    at(house, "2026-03-27T12:00:00+00:00")
    house.run("train", "-c", house.scenario)
    ask(house, "wanted", *house.trained_ids()[:10])
    declare(house, since="2026-03-27T12:00:00+00:00")
    assert house.run("run-due", "--schedule", "nightly").out == "", "its time has not come"

    # two nights were missed; the process that caught up is killed while it waits for a person
    at(house, "2026-03-29T07:00:00+00:00")
    house.kill_when(house.start("run-due", "--schedule", "nightly"), lambda: polled(house))
    (run,) = waiting(house)
    assert house.status("wanted") == "awaiting_approval" and approvals(house) == ["running"]
    assert heartbeats(house) == [] and list(house.versions()) == ["1"]

    # approved by name when nobody runs; saying so again changes nothing
    (shown,) = house.run("approve", "--json").json()
    assert shown["run"] == run and shown["requests"] == ["wanted"] and "rewind" in shown["words"]
    said = house.run("approve", run, "--by", "privacy-office", "--plan", shown["plan_sha256"][:12], "--later")
    assert "approved by privacy-office" in said.out
    head = house.head()
    assert "answered before, by privacy-office" in house.run("approve", run, "--later").err and house.head() == head

    # meanwhile what the run needs beside its plan was destroyed, as the purge of another request may do
    command = [sys.executable, "-c", DESTROY, str(house.root), "privacy_losses"]
    subprocess.run(command, cwd=ROOT, env=house.environment, check=True)

    # the next call takes the turn that the killed process left, and does what was approved
    at(house, "2026-03-29T08:00:00+00:00")
    done = house.run("run-due", "--schedule", "nightly")
    assert "The model was not scored yet: scoring." in done.err
    assert "2 runs were missed (the last was due Sun 2026-03-29 03:00 CEST); caught up now, once" in done.err
    assert house.status("wanted") == "closed" and approvals(house) == ["completed"]
    assert house.ledger("select id, status, method from deletion_run") == [(run, "closed", "rewind")]
    (beat,) = heartbeats(house)
    assert (beat["answered"], beat["missed"], beat["outcome"], beat["clock"]) == (1, 2, "done", "simulated")
    (approval,) = predicate(house, "wanted")["approvals"]
    assert (approval["by"], approval["how"]) == ("privacy-office", "person")
    assert approval["plan_sha256"] == shown["plan_sha256"]
    assert "VERIFIED" in house.run("verify", house.state / "certificates" / "wanted.certificate.json").out

    head = house.head()
    assert house.run("run-due", "--schedule", "nightly").out == "" and house.head() == head, "a turn is taken once"
    assert "it is closed" in house.run("approve", run, code=2).err


@pytest.mark.slow
def test_a_plan_that_changed_needs_another_answer_and_a_no_is_final_for_a_policy(
    new_house: Callable[..., Any],
    small: dict[str, Any],
) -> None:
    house = new_house("changing", **small, deletion={"approval": "required", "approve_up_to": 0.9})
    house.run("train", "-c", house.scenario)
    records = house.trained_ids()
    ask(house, "first", *records[:10])
    paused = house.run("run-due", code=6)
    assert "waits for approval" in paused.err and approvals(house) == ["paused"]
    (one,) = waiting(house)
    assert house.run("run-due", "--json", code=6).json()["awaiting"] == [one], "asked once"

    # another request joins: another plan
    ask(house, "second", *records[10:20])
    assert "other requests came in" in house.run("run-due", code=6).err
    (two,) = waiting(house)
    assert two != one and "withdrawn" in house.run("approve", one, code=2).err
    assert approvals(house) == ["stopped", "paused"]

    # approved, but one is cancelled before it starts: another plan
    house.run("approve", two, "--later")
    house.run("request", "cancel", "second")
    assert "was cancelled" in house.run("run-due", code=6).err
    (three,) = waiting(house)
    assert house.status("second") == "cancelled" and list(house.versions()) == ["1"]

    # a no; a policy may not overrule it
    house.run("approve", three, "--no", "--reason", "too_expensive")
    assert house.status("first") == "quarantined" and approvals(house) == ["stopped", "stopped", "stopped"]
    assert "A person said no" in house.run("run-due", "--approve", code=6).err
    (four,) = waiting(house)
    approved = house.run("approve", four, "--by", "privacy-office")
    assert "closed" in house.status("first") and "first" in approved.words
    assert approvals(house)[-1] == "completed"
    kinds = [k for (k,) in house.ledger("select kind from event where kind like 'approval.%' order by seq")]
    assert kinds == [
        "approval.asked", "approval.withdrawn", "approval.asked", "approval.given", "approval.withdrawn",
        "approval.asked", "approval.refused", "approval.asked", "approval.given",
    ]  # fmt: skip

    # by policy, within what it may spend
    ask(house, "third", *records[30:40])
    house.run("run-due", "--approve", "--set", "deletion.approve_up_to=0.0001", code=6)
    house.run("run-due", "--approve", "--set", "deletion.approve_up_to=0.0001", code=6)
    house.run("request", "cancel", "third")
    ask(house, "fourth", *records[40:50])
    house.run("run-due", "--approve", "--set", "deletion.approve_up_to=2")
    (approval,) = predicate(house, "fourth")["approvals"]
    assert approval["how"] == "policy" and house.status("fourth") == "closed"
    assert house.run("status", "--json").json()["chain"].startswith("intact")
