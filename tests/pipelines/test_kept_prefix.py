"""Under the purge policy until_due: what a rewind leaves is a start for the next one, and gone before it is due."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("kept_prefix")

# Received on 10 January: due on 10 February (GDPR), so that what is kept must be gone by the 9th.
RECEIVED, SECOND, EVE, DAY = ("2026-01-10", "2026-01-20", "2026-02-08", "2026-02-09")


def at(house: Any, day: str) -> None:
    house.environment["EXPUNGE_SIMULATED_NOW"] = f"{day}T02:00:00+00:00"


def ask(house: Any, request: str, records: list[str]) -> None:
    house.run("request", "add", *(part for r in records for part in ("-r", r)), "--id", request)


def predicate(house: Any, request: str, interim: bool) -> dict[str, Any]:
    name = f"{request}.{'interim.' if interim else ''}certificate.json"
    envelope = json.loads((house.state / "certificates" / name).read_text())
    found: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
    return found


def prefix_parts(stated: dict[str, Any], action: str) -> list[dict[str, Any]]:
    """Those of the request's own checkpoints: a destroyed artifact of that kind has no share."""
    own = [p for p in stated["artifacts"] if p["kind"] == "rewind_prefix" and p["loss_share"] is not None]
    return [p for p in own if p["action"] == action]


def objects_of(house: Any, number: int) -> dict[str, str]:
    """File name -> object of a stored prefix."""
    return dict(json.loads((house.artifacts("rewind_prefix")[number]["uri"] / "dvc.json").read_text())["files"])


@pytest.fixture(scope="module")
def kept(new_house: Callable[..., Any]) -> Any:
    """A model rewound for 30 records under until_due; the gate asks for accuracy only."""
    house = new_house(
        "kept",
        planning={"method": "rewind"},
        evaluation={"gating": ["utility"], "utility_margin": 0.5, "verdict_oracles": 19},
        calibration={"rewind_shares": [0.5], "fine_tune_shares": [0.25], "strengths": [0.5]},
        deletion={"purge_prefix": "until_due"},
    )
    at(house, RECEIVED)
    house.run("train", "-c", house.scenario)
    ask(house, "first", house.trained_ids()[5:35])
    house.run("run-due")
    return house


def test_the_request_waits_with_an_interim_certificate(kept: Any) -> None:
    assert kept.status("first") == "purged"
    (prefix,) = kept.artifacts("rewind_prefix")
    assert prefix["facts"]["restricted"] is True and prefix["facts"]["destroy_by"] == DAY
    stated = predicate(kept, "first", interim=True)
    assert stated["interim"] is True
    parts = prefix_parts(stated, "kept")
    shares = [p["loss_share"] for p in parts]
    assert shares[0] == 0 and shares == sorted(shares) and 0 < shares[-1] < 1
    assert {p["destroy_by"] for p in parts} == {DAY} and parts[-1]["name"] == "step 100"
    answer = kept.run("verify", kept.state / "certificates" / "first.interim.certificate.json")
    assert "VERIFIED" in answer.out and "interim" in answer.words
    # Its bytes exist, and those after it are gone.
    old, new = kept.artifacts("trajectory")
    assert "destroyed_at" in old["facts"] and "destroyed_at" not in new["facts"]
    assert all(kept.cached(o).exists() and kept.remote(o).exists() for o in objects_of(kept, 0).values())
    assert len(prefix_parts(stated, "kept")) == new["facts"]["tombstones"]
    assert kept.holding(kept.asked("first", [f"digits-{n}" for n in range(1797)])) == {}
    assert "kept" in kept.run("audit", "request", "first").words and DAY in kept.run("audit", "request", "first").words
    assert DAY.replace("2026-02-09", "9 February 2026") in kept.run("explain", "first").words


def test_calling_again_changes_nothing(kept: Any) -> None:
    head, runs = kept.head(), kept.runs()
    assert "Nothing is due" in kept.run("run-due").out
    assert (kept.head(), kept.runs(), kept.status("first")) == (head, runs, "purged")
    assert all(check["ok"] for check in kept.run("doctor", "--json").json())


def test_the_next_request_starts_in_it_and_both_wait(kept: Any) -> None:
    at(kept, SECOND)
    ask(kept, "second", kept.trained_ids()[40:60])
    earlier = ("--set", "calibration.rewind_shares=[0.2]")
    plan = kept.run("plan", *earlier).words
    assert "restricted prefix" in plan and DAY in plan and "from step 40" in plan
    before = objects_of(kept, 0)
    kept.run("run-due", *earlier)
    (serving,) = kept.versions("production")
    (made,) = kept.ledger("select plan from deletion_run where id = ?", serving)
    assert json.loads(made[0])["rewind_step"] == 40
    assert [kept.status(r) for r in ("first", "second")] == ["purged", "purged"]
    first, second = kept.artifacts("rewind_prefix")
    assert "destroyed_at" in first["facts"] and second["facts"]["requests"] == ["second", "first"]
    assert second["facts"]["destroy_by"] == DAY
    after = objects_of(kept, 1)
    cut = [o for name, o in before.items() if name not in after]
    assert cut and not any(kept.cached(o).exists() or kept.remote(o).exists() for o in cut)
    assert all(kept.cached(o).exists() for o in after.values())
    stated = predicate(kept, "second", interim=True)
    assert {p["name"] for p in prefix_parts(stated, "kept")} == {"step 0", "step 20", "step 40"}


def test_before_its_day_comes_it_is_destroyed_and_both_are_answered(kept: Any) -> None:
    objects = objects_of(kept, 1)
    at(kept, EVE)
    kept.run("run-due")
    assert kept.status("first") == "purged" and all(kept.cached(o).exists() for o in objects.values())
    at(kept, DAY)
    # Killed between the destruction and the certificates.
    kept.kill_when(kept.start("run-due"), lambda: not any(kept.cached(o).exists() for o in objects.values()))
    assert kept.status("first") == "purged"
    kept.run("run-due")
    for request in ("first", "second"):
        assert kept.status(request) == "closed"
        stated = predicate(kept, request, interim=False)
        assert stated["interim"] is False and not prefix_parts(stated, "kept") and prefix_parts(stated, "destroyed")
        assert stated["rescan"]["found"] == []
        interim = kept.ledger("select sha256 from certificate where request_id = ? and interim = 1", request)
        assert stated["details"]["replaces"]["sha256"] == interim[0][0]
        assert "VERIFIED" in kept.run("verify", kept.state / "certificates" / f"{request}.certificate.json").out
    assert not any(kept.cached(o).exists() or kept.remote(o).exists() for o in objects.values())
    assert not kept.ledger("select name from tombstone where status = 'kept' and kind = 'rewind_prefix'")
    assert {s for (s,) in kept.ledger("select status from deletion_run where status != 'interrupted'")} == {"closed"}
    head = kept.head()
    assert "Nothing is due" in kept.run("run-due").out and kept.head() == head
