"""After a rewind has destroyed the checkpoints before its start: does every verb still have what it needs?"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("rewound")


@pytest.fixture(scope="module")
def rewound(new_house: Callable[..., Any]) -> Any:
    """A model rewound for 25 records; the gate asks for accuracy only, so that the rewind passes on any machine."""
    house = new_house(
        "rewound", planning={"method": "rewind"}, evaluation={"gating": ["utility"], "utility_margin": 0.5}
    )
    house.run("train", "-c", house.scenario)
    house.run("score")
    ask(house, "first", house.trained_ids()[5:30])
    return house


def ask(house: Any, request: str, records: list[str]) -> None:
    house.run("request", "add", *(part for r in records for part in ("-r", r)), "--id", request)
    house.run("run-due")
    assert house.status(request) == "closed"


def test_it_was_a_rewind_whose_prefix_is_gone(rewound: Any) -> None:
    (serving,) = rewound.versions("production")
    assert rewound.ledger("select method, attempt from deletion_run where id = ?", serving) == [("rewind", 1)]
    assert rewound.artifacts("trajectory")[-1]["facts"]["tombstones"] > 0
    assert not rewound.artifacts("rewind_prefix") and rewound.ledger("select sum(interim) from certificate") == [(0,)]


def test_four_scorings_at_once(rewound: Any) -> None:
    started = [rewound.start("score", "--top", "5", "--json") for _ in range(4)]
    found = [rewound.finish(process).json() for process in started]
    assert found[0]["records"] == len(rewound.trained_ids()) and len(found[0]["hardest"]) == 5
    timed = [answer.pop("scoring") for answer in found]
    assert all(other == found[0] for other in found)
    assert all(report["checkpoints"] == {"scored": 10, "of": 10} for report in timed)
    left = [path for path in (rewound.state / "work").iterdir() if path.name.startswith(("checkout", "shards"))]
    assert not left, "what was checked out or half finished is removed when a process ends"


def test_the_next_request_is_answered_too_once_a_person_says_so(rewound: Any) -> None:
    before = rewound.versions("production")
    records = rewound.trained_ids()[40:60]
    rewound.run("request", "add", *(part for r in records for part in ("-r", r)), "--id", "second")
    waits = rewound.run("run-due", "--set", "deletion.approval=required", code=6)
    assert "waits for approval" in waits.err and rewound.status("second") == "awaiting_approval"
    assert rewound.versions("production") == before
    ((run,),) = rewound.ledger("select id from deletion_run where status = 'awaiting_approval'")
    rewound.run("approve", run, "--by", "privacy-office")
    assert rewound.status("second") == "closed" and rewound.versions("production") != before
    envelope = json.loads((rewound.state / "certificates" / "second.certificate.json").read_text())
    approvals = json.loads(base64.b64decode(envelope["payload"]))["predicate"]["approvals"]
    assert [(a["by"], a["how"]) for a in approvals] == [("privacy-office", "person")]
    query = "select status from pipeline_run where name like 'approval-%'"
    assert rewound.zenml(query) == [("completed",)], "ZenML shows that it waited, and how that ended"
    assert all(check["ok"] for check in rewound.run("doctor", "--json").json())
