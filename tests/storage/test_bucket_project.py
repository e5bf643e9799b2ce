"""Does a deletion empty a bucket of what remembered, and wait as long as the bucket cannot be reached?"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from places import SECRET, Bucket


def test_doctor_says_that_the_remote_does_not_answer(server: Any, new_house: Callable[..., Any]) -> None:
    bucket = Bucket(server, versioned=True)
    house = new_house("asked", storage=bucket.config.model_dump())
    (house.root / "expunge.yaml").write_bytes(house.scenario.read_bytes())
    with server.down():
        found = house.run("doctor", "--json", code=1).json()
    (check,) = (check for check in found if check["name"] == "checkpoint store")
    assert not check["ok"] and bucket.where in check["words"] and "does not answer" in check["words"]


@pytest.mark.slow
def test_a_deletion_waits_for_its_bucket_and_empties_it_of_what_remembered(
    server: Any, new_house: Callable[..., Any]
) -> None:
    bucket = Bucket(server, versioned=True)
    house = new_house("bucket", storage=bucket.config.model_dump(), planning={"method": "retrain"})
    with server.down():
        refused = house.run("train", "-c", house.scenario, code=1)
    assert bucket.where in refused.err and "does not answer" in refused.err
    assert house.versions() == {} and house.artifacts("trajectory") == []

    house.run("train", "-c", house.scenario)
    (old,) = house.artifacts("trajectory")
    before = set(json.loads((old["uri"] / "dvc.json").read_text())["files"].values()) | {old["facts"]["dvc_hash"]}
    assert bucket.held() == before
    record = house.trained_ids()[0]
    house.run("request", "add", "--record", record, "--id", "one")

    with server.down():
        refused = house.run("run-due", "--within", "60d", code=1)
        assert "does not answer" in refused.err
        assert house.status("one") == "quarantined" and house.ledger("select count(*) from deletion_run") == [(0,)]

    running = house.start("run-due", "--within", "60d")
    deadline = time.monotonic() + 280
    while house.status("one") != "promoted":
        assert running.poll() is None and time.monotonic() < deadline, running.communicate()
        time.sleep(0.02)
    with server.down():
        refused = house.finish(running, code=1)
        assert "does not answer" in refused.err
    assert house.status("one") == "promoted", "not purged, not closed"
    assert bucket.held() >= before and "destroyed_at" not in house.artifacts("trajectory")[0]["facts"]

    house.run("run-due", "--within", "60d")
    assert house.status("one") == "closed"
    old, new = house.artifacts("trajectory")
    described = json.loads((new["uri"] / "dvc.json").read_text())
    assert bucket.held() == {described["dvc_hash"], *described["files"].values()}
    assert old["facts"]["destroyed_at"] and not bucket.held() & (before - set(described["files"].values()))
    assert len(bucket.entries("DeleteMarkers")) == 0
    house.run("verify", house.state / "certificates" / "one.certificate.json")
    found = house.run("doctor", "--json").json()
    (words,) = (check["words"] for check in found if check["name"] == "checkpoint store")
    assert bucket.where in words and "keeps old versions" in words
    assert house.holding([SECRET]) == {}


@pytest.mark.slow
def test_a_model_that_is_destroyed_leaves_its_twin_whole(new_house: Callable[..., Any]) -> None:
    house = new_house("twins")
    first = house.run("train", "-c", house.scenario, "--json").json()
    second = house.run("train", "-c", house.scenario, "--json").json()
    assert first["dvc_hash"] == second["dvc_hash"] and first["version"] != second["version"]
    house.run("model", "destroy", first["version"], "--yes")
    (gone, kept) = house.artifacts("trajectory")
    assert "destroyed_at" in gone["facts"] and "destroyed_at" not in kept["facts"]
    assert house.remote(second["dvc_hash"]).is_file() and house.cached(second["dvc_hash"]).is_file()
    found = house.run("doctor", "--json").json()
    assert all(check["ok"] for check in found), found
