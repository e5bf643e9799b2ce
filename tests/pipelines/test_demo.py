"""Does `expunge demo` go from nothing to two answered requests, once?"""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("demo")
HARD, EASY = "demo-hard-contributor", "demo-easy-person"


def test_it_ends_with_a_table_of_both_requests(demo: Any) -> None:
    out = demo.answer.out
    assert "Most memorised records" in out and "Deletion requests" in out
    for request in (HARD, EASY):
        assert f"{request}: certificate {demo.certificate(request)}" in out
        assert demo.certificate(request).is_file()
    assert "The original model" in out and "A held-back oracle" in out, "the controls are on the same screen"
    for stage in ("training", "scoring", "calibration", "deletion", "in all"):
        assert f"{stage} " in out.rsplit("Time: ", 1)[1]


def test_the_requests_are_one_easy_record_and_many_hard_ones(demo: Any) -> None:
    assert len(demo.erased[EASY]) == 1 and len(demo.erased[HARD]) >= 60
    plan = demo.house.artifacts("unlearning_plan")[0]["uri"] / "document.json"
    difficulty = {row["request_id"]: row["percentile"] for row in json.loads(plan.read_text())["requests"]}
    assert difficulty[HARD] > 95 and difficulty[EASY] < 50


def test_what_is_recorded_hangs_together(demo: Any) -> None:
    """Whichever way the gate went: a refusal is followed by retraining, with its reason; the second run passed."""
    runs = demo.house.ledger(
        "select id, status, method, attempt, fallback_reason from deletion_run order by started_at"
    )
    of_demo = [run for run in runs if run[1] != "closed" or run[0] == demo.version][:2]
    last = next(run for run in runs if run[0] == demo.version)
    assert last[1] == "closed"
    if last[3] == 2:
        first = of_demo[0]
        assert first[1] == "failed" and last[2] == "retrain"
        assert first[0] in last[4] and "the gate refused" in last[4]
        assert "Falling back to retraining" in demo.answer.err
    else:
        assert last[4] is None
    for request in (HARD, EASY):
        kinds = [k for (k,) in demo.house.ledger("select kind from event where request_id = ? order by seq", request)]
        assert sum("closed" in kind or "certificate" in kind for kind in kinds) >= 1
        payloads = demo.house.ledger("select payload from event where request_id = ? order by seq", request)
        assert sum('"closed"' in payload for (payload,) in payloads) == 1
        assert demo.house.ledger("select count(*) from certificate where request_id = ?", request) == [(1,)]


def test_a_second_demo_does_nothing_twice(demo: Any) -> None:
    def all_there_is() -> dict[str, Any]:
        certificates = {path.name: path.read_bytes() for path in demo.certificate(HARD).parent.iterdir()}
        return {**demo.house.counts(), "runs": demo.house.runs(), "certificates": certificates}

    before = all_there_is()
    again = demo.house.run("demo", "-c", demo.house.scenario)
    assert "nothing was done twice" in again.out
    assert str(demo.certificate(HARD)) in again.out and str(demo.certificate(EASY)) in again.out
    assert all_there_is() == before
    found = demo.house.run("demo", "-c", demo.house.scenario, "--json").json()
    assert found["done_before"] is True and {row["request"] for row in found["requests"]} == {HARD, EASY}
    assert all_there_is() == before
