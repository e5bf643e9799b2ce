"""Do the verbs that show something show it, and print pure JSON where they have --json?"""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("demo")
HARD, EASY = "demo-hard-contributor", "demo-easy-person"


def test_status(demo: Any) -> None:
    facts = demo.house.run("status", "--json").json()
    assert facts["project"] == str(demo.house.root)
    assert facts["open"] == facts["late"] == 0 and facts["done"] >= 2 and facts["chain"] == "intact"
    assert "intact" in demo.house.run("status").out


def test_doctor_finds_everything_well(demo: Any) -> None:
    checks = demo.house.run("doctor", "--json").json()
    assert {check["name"] for check in checks} >= {"versions", "checkpoint store", "ledger", "production model"}
    assert all(check["ok"] for check in checks), checks


def test_requests_listed(demo: Any) -> None:
    listed = {request["id"]: request for request in demo.house.run("request", "list", "--json").json()}
    assert listed[HARD]["status"] == listed[EASY]["status"] == "closed"
    assert {r["id"] for r in demo.house.run("request", "list", "--status", "closed", "--json").json()} >= {HARD, EASY}
    assert HARD in demo.house.run("request", "list").out


def test_one_request_shown(demo: Any) -> None:
    shown = demo.house.run("request", "show", HARD, "--json").json()
    assert len(shown["records"]) == len(demo.erased[HARD])
    assert [c["request_id"] for c in shown["certificates"]] == [HARD]
    kinds = [event["kind"] for event in shown["events"]]
    assert kinds[0] == "request.received"
    words = demo.house.run("request", "show", EASY).words
    assert "closed" in words and str(demo.certificate(EASY)) in words


def test_evidence_shown(demo: Any) -> None:
    found = demo.house.run("evaluate", "--json").json()
    assert {check["name"] for check in found["evidence"]["checks"]} >= {"influence", "influence_share", "utility"}
    assert isinstance(found["decision"]["passed"], bool)
    words = demo.house.run("evaluate").words
    assert "Gate " in words and "Guarantee: " in words


def test_memorised_records_listed(demo: Any) -> None:
    scored = demo.house.run("score", "--top", "3", "--json").json()
    assert [row["rank"] for row in scored["hardest"]] == [1, 2, 3]
    assert scored["hardest"][0]["loss"] >= scored["hardest"][2]["loss"] > 0
    assert not demo.gone & {row["record_id"] for row in scored["hardest"]}


def test_plan_without_an_open_request(demo: Any) -> None:
    refused = demo.house.run("plan", code=3)
    assert "no open request" in refused.err and "expunge plan hardest:0.05" in refused.err


def test_nothing_is_due(demo: Any) -> None:
    before = demo.house.counts()
    assert demo.house.run("run-due", "--json").json() == {"requests": [], "answered": []}
    assert demo.house.counts() == before


def test_run_by_name_is_the_verb(demo: Any) -> None:
    planned = demo.house.run("run", "planning", "--forget", "random:30", "--json").json()
    assert planned["forget_records"] == 30
    refused = demo.house.run("run", "plannning", code=2)
    assert "Did you mean 'planning'?" in refused.err
