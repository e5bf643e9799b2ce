"""Is any byte of an erased record left, also after a backup was put back? And which models may serve or be destroyed?

All from one run of `benchmarks/canary_scan.py`: the real verbs on a project of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("canary")
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "canary_scan.py"


@pytest.fixture(scope="module")
def facts(new_house: Callable[..., Any]) -> Any:
    """What came out of it."""
    house = new_house("canary")
    out = house.elsewhere.parent / "canary-facts.json"
    command = [sys.executable, str(SCRIPT), "--folder", str(house.root), "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=house.environment, check=False, timeout=550)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(out.read_text())


def test_before_the_deletion_the_scan_finds_every_canary(facts: Any) -> None:
    found, everyone = facts["before"]["found"], facts["canaries"]
    for form in ("float32", "float64", "float16", "bfloat16", "text"):
        assert found["work folder"][form] == everyone
    assert found["DVC cache"]["float32"] == found["DVC remote"]["float32"] == everyone
    assert found["artifact store"]["record id"] == found["step logs"]["person id"] == everyone
    assert found["artifact store"]["drawing"] > everyone / 2, "the most memorised ones are drawn"
    assert facts["planted"] > 10 and facts["planted_and_not_found"] == []


def test_after_the_deletion_it_finds_none(facts: Any) -> None:
    assert facts["after"]["found"] == {} and facts["after"]["bytes"] > 10**6


def test_what_a_backup_brings_back_is_named_and_destroyed_again(facts: Any) -> None:
    assert {"DVC cache", "DVC remote", "artifact store", "step logs"} <= set(facts["restored"]["found"])
    (named,) = [check for check in json.loads(facts["doctor_restored"]) if not check["ok"]]
    assert named["name"] == "nothing erased is back" and "expunge purge" in named["words"]
    again = facts["purged_again"]
    assert {"trajectory", "model", "training_records", "step_logs"} <= {part["kind"] for part in again["destroyed"]}
    assert again["rescan"]["found"] == [] and again["run"].startswith("purge-")
    assert facts["again"]["found"] == {} and facts["objects_left_over"] == []
    assert all(check["ok"] for check in json.loads(facts["doctor"]))
    assert facts["purge_of_nothing"] == {"run": None, "destroyed": [], "rescan": None}


def test_no_decoy_is_ever_found(facts: Any) -> None:
    assert [facts[look]["decoys"] for look in ("before", "after", "restored", "again")] == [[], [], [], []]


def test_an_older_ledger_is_recognised_before_anything_is_trained_or_destroyed(facts: Any) -> None:
    words = facts["ledger_is_older"]
    assert set(words) == {"doctor", "purge", "run-due", "train"}
    assert all("older" in said and "ledger.head" in said for said in words.values())


def test_a_dry_run_lists_what_goes_and_what_stays_and_changes_nothing(facts: Any) -> None:
    dry = facts["dry_run"]
    assert dry["requests"] == ["canary-request"] and facts["dry_run_changed"] is False
    going = {item["kind"] for item in dry["items"] if item["action"] == "destroy"}
    assert {"trajectory", "checkpoint", "model", "training_records", "gradient_norms", "privacy_losses"} <= going
    assert {"planted_outputs", "step_log", "work", "stray"} <= going
    assert all(item["why"] for item in dry["items"] if item["action"] == "keep")
    sizes = [item["size"] for item in dry["items"] if item["kind"] == "checkpoint" and item["id"] != "directory"]
    assert sizes and all(size > 1000 for size in sizes)


def test_what_it_listed_is_what_was_destroyed(facts: Any) -> None:
    listed = {i["id"] for i in facts["dry_run"]["items"] if i["where"] == "artifact store" and i["action"] == "destroy"}
    again = {part["name"] for part in facts["purged_again"]["destroyed"]}
    assert {name for name in again if len(name) == 36} <= listed, "what came back was on the list"


def test_a_rollback_reaches_only_clean_models(facts: Any) -> None:
    models = facts["models"]
    assert "destroyed" in models["to_a_destroyed_one"]
    assert "No other model version may serve" in models["to_no_other"]
    assert "'nine'" in models["to_an_unknown_one"]
    assert models["serves_after_rollback"] == [models["rolled_back"]["after"]] != models["trained"]
    assert "serves already" in models["again"]


def test_a_rollback_that_was_killed_is_completed(facts: Any) -> None:
    assert facts["models"]["finished_after_a_kill"] == ["model.rollback.started", "model.rollback.done"] * 2


def test_a_model_is_destroyed_only_when_confirmed_and_not_while_it_serves(facts: Any) -> None:
    models = facts["models"]
    assert "Nothing was destroyed" in models["not_confirmed"] and "serves" in models["what_serves"]
    assert models["refusals_changed"] is False
    assert models["destroyed"]["run"].startswith("destroy-")
    assert set(models["destroyed"]["artifacts"]) == {a["id"] for a in models["to_destroy"]["artifacts"]}
    after = {m["version"]: m for m in models["listed_after"]}
    gone, stays = models["rolled_back"]["before"], models["rolled_back"]["after"]
    assert not after[gone]["may_serve"] and after[stays]["stage"] == "production"
    assert "destroyed already" in models["destroyed_twice"]
