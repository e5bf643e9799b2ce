"""Does a deletion that is killed at any point end with one answer, one certificate, and nothing left?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

# `make test` kills the same loop nine times in tests/faults; this is the same as a user sees it.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("killed")]


def test_killed_again_and_again(new_house: Callable[..., Any], digits_ids: dict[str, str]) -> None:
    house = new_house("killed")
    house.run("train", "-c", house.scenario)
    records = house.trained_ids()[:40]
    house.run("request", "add", *(part for r in records for part in ("-r", r)), "--id", "wanted")
    certificate = house.state / "certificates" / "wanted.certificate.json"

    # What a scoring left that was killed for good, of the model that is to be destroyed.
    trajectory = house.artifacts("trajectory")[0]["facts"]["trajectory"]
    left = house.state / "work" / f"shards-{trajectory[:12]}-1"
    left.mkdir()
    (left / "step-0000000.shard").write_bytes(b"norms")

    # Killed in the middle of the work: nothing was promoted, and the request stays open.
    house.kill_when(house.start("run-due"), lambda: house.status("wanted") == "unlearning")
    assert house.status("wanted") == "unlearning" and list(house.versions()) == ["1"] and not certificate.exists()

    # The next start plans again; killed once the new model serves, before the old one is destroyed.
    again = house.start("run-due", "--set", "planning.method=retrain")
    house.kill_when(again, lambda: house.status("wanted") == "promoted")
    (promoted,) = house.versions("production")
    assert promoted.startswith("run-") and not certificate.exists()

    # Killed when the old one is destroyed, before there is a certificate.
    house.kill_when(house.start("run-due"), lambda: house.status("wanted") == "purged")
    assert not certificate.exists()

    # Killed when the certificate is there, most likely before the request is closed.
    house.kill_when(house.start("run-due"), certificate.exists)

    last = house.run("run-due")
    assert house.status("wanted") == "closed" and "Nothing is due" not in last.err
    assert house.versions() == {"1": "archived", promoted: "production"}
    assert house.ledger("select count(*) from certificate where request_id = 'wanted'") == [(1,)]
    payloads = house.ledger("select payload from event where request_id = 'wanted'")
    assert sum('"closed"' in payload for (payload,) in payloads) == 1
    assert "VERIFIED" in house.run("verify", certificate).out
    assert house.holding(records) == {}
    assert not left.exists() and not list(house.state.rglob("*.shard"))
    assert not set(records) & set(house.trained_ids())
    statuses = dict(house.ledger("select id, status from deletion_run"))
    assert statuses.pop(promoted) == "closed" and set(statuses.values()) == {"interrupted"}

    runs, head, content = house.runs(), house.head(), certificate.read_bytes()
    assert "Nothing is due" in house.run("run-due").out
    assert (house.runs(), house.head(), certificate.read_bytes()) == (runs, head, content)
    assert all(check["ok"] for check in house.run("doctor", "--json").json())
