"""A model rewound under the purge policy until_due, and a look at what its certificates say of the prefix."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

# Received on 10 January: due on 10 February (GDPR), so that what is kept must be gone by the 9th.
RECEIVED, LAST, DUE = "2026-01-10", "2026-02-09", "2026-02-10"


def at(house: Any, day: str) -> None:
    """Set the house's clock."""
    house.environment["EXPUNGE_SIMULATED_NOW"] = f"{day}T02:00:00+00:00"


def ask(house: Any, request: str, records: list[str]) -> None:
    house.run("request", "add", *(part for r in records for part in ("-r", r)), "--id", request)


def rewound(new_house: Callable[..., Any], name: str) -> tuple[Any, Any]:
    """A house whose first request is answered by a rewind, and what was said; the gate asks for accuracy only."""
    house = new_house(
        name,
        training={"steps": 100},
        planning={"method": "rewind"},
        evaluation={"gating": ["utility"], "utility_margin": 0.5, "verdict_oracles": 19, "look_oracles": 5},
        calibration={"rewind_shares": [0.5], "fine_tune_shares": [0.25], "strengths": [0.5], "bins": [0, 20, 100]},
        deletion={"purge_prefix": "until_due"},
    )
    at(house, RECEIVED)
    house.run("train", "-c", house.scenario)
    ask(house, "first", house.trained_ids()[5:35])
    return house, house.run("run-due")


def certificate(house: Any, request: str, interim: bool) -> Any:
    return house.state / "certificates" / f"{request}.{'interim.' if interim else ''}certificate.json"


def predicate(house: Any, request: str, interim: bool) -> dict[str, Any]:
    """What a certificate states; fails where there is none."""
    envelope = json.loads(certificate(house, request, interim).read_text())
    found: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
    assert found["interim"] is interim
    return found


def own_parts(stated: dict[str, Any], action: str) -> list[dict[str, Any]]:
    """The prefix checkpoints of the request's own; a destroyed artifact of that kind has no share."""
    own = [p for p in stated["artifacts"] if p["kind"] == "rewind_prefix" and p["loss_share"] is not None]
    return [p for p in own if p["action"] == action]


def steps_of(parts: list[dict[str, Any]]) -> list[int]:
    return [int(part["name"].split()[1]) for part in parts]


def objects_of(house: Any, number: int = -1) -> dict[str, str]:
    """File name -> object of a stored prefix."""
    return dict(json.loads((house.artifacts("rewind_prefix")[number]["uri"] / "dvc.json").read_text())["files"])


def exist(house: Any, objects: Any) -> set[str]:
    """Those that the cache or the remote holds."""
    return {o for o in objects if house.cached(o).exists() or house.remote(o).exists()}


def plan_of(house: Any) -> dict[str, Any]:
    """The plan of the run that made the model that serves."""
    (serving,) = house.versions("production")
    found: dict[str, Any] = json.loads(house.ledger("select plan from deletion_run where id = ?", serving)[0][0])
    return found


def assert_ended(house: Any, requests: tuple[str, ...], objects: Any) -> None:
    """Closed with a final certificate that replaces the interim one, and no byte left."""
    for request in requests:
        assert house.status(request) == "closed"
        stated = predicate(house, request, interim=False)
        assert not own_parts(stated, "kept") and stated["rescan"]["found"] == []
        assert steps_of(own_parts(stated, "destroyed")) == steps_of(own_parts(predicate(house, request, True), "kept"))
        interim = house.ledger("select sha256 from certificate where request_id = ? and interim = 1", request)
        assert [(stated["details"]["replaces"]["sha256"],)] == interim
        assert house.ledger("select count(*) from certificate where request_id = ?", request) == [(2,)]
        answer = house.run("verify", certificate(house, request, interim=False))
        assert "VERIFIED" in answer.out and "this certificate is interim" not in answer.words
    assert not exist(house, objects)
    assert not house.ledger("select name from tombstone where status = 'kept' and kind = 'rewind_prefix'")
    assert all("destroyed_at" in a["facts"] for a in house.artifacts("rewind_prefix"))
    assert {s for (s,) in house.ledger("select status from deletion_run where status != 'interrupted'")} == {"closed"}
