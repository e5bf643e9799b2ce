"""Is what a killed process or a backup left found, destroyed and said, and is nothing else taken?

All from one process, `killed_purges.py`: the real stores and a real ledger, without a training pipeline.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("killed_purges")
SCRIPT = Path(__file__).with_name("killed_purges.py")


@pytest.fixture(scope="module")
def facts(new_house: Callable[..., Any]) -> Callable[[str], Any]:
    """What came of a scene."""
    house = new_house("killed-purges")
    command = [sys.executable, str(SCRIPT), str(house.root)]
    done = subprocess.run(command, capture_output=True, text=True, env=house.environment, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])

    def of(scene: str) -> Any:
        assert not isinstance(found[scene], str), found[scene]
        return found[scene]

    return of


def test_a_description_cut_in_half_names_nothing_and_stops_nobody(facts: Any) -> None:
    assert facts("cut_in_half") == {"folder": False, "objects": 0}


def test_what_a_killed_save_stored_is_gone_before_a_scan_says_so(facts: Any) -> None:
    seen = facts("killed_before_it_had_a_name")
    assert seen["before"] > 0, "it stays while another process runs a pipeline, and the scan says what it did not see"
    assert seen["elsewhere"]["words"].endswith("; not looked for what has no name: another process runs a pipeline")
    assert (seen["folder"], seen["objects"]) == (False, 0)
    assert seen["scan"]["found"] == [] and "not looked" not in seen["scan"]["words"]


def test_what_gets_its_name_while_somebody_looks_is_not_taken(facts: Any) -> None:
    seen = facts("named_while_it_looks")
    assert seen["folder"] and seen["objects"] > 0


def test_the_logs_of_what_a_killed_purge_destroyed_go_and_its_rows_are_on_record(facts: Any) -> None:
    seen = facts("killed_in_its_purge")
    assert seen["logs"] > 0 and seen["left"] == []
    assert seen["kinds"] == ["rows of held_out_records", "step_logs", "training_records"] and seen["rows"] == [3]


def test_a_run_that_waits_is_closed_with_its_last_request(facts: Any) -> None:
    assert facts("nobody_closes_it") == ["interim", "closed"]


def test_a_request_planned_anew_is_asked_whether_its_records_were_trained_on(facts: Any) -> None:
    seen = facts("planned_anew_for_nothing")
    assert (seen["answered"], seen["status"], seen["outcome"]) == (["overtaken"], "closed", "not_in_training")
    assert any("does not hold any more" in line for line in seen["said"])


def test_a_killed_model_destruction_is_finished_by_calling_it_again(facts: Any) -> None:
    seen = facts("killed_model_destruction")
    assert (seen["artifacts"], seen["folder"], seen["objects"]) == (1, False, 0)
    assert seen["events"] == ["model.destroyed"]


def test_what_a_backup_brought_back_is_destroyed_on_record_and_not_by_the_way(facts: Any) -> None:
    seen = facts("restored")
    assert seen["gone"] == seen["left"] == {"trajectory": 0, "rewind_prefix": 0}, "the bytes of a prefix alone, too"
    assert {"trajectory", "rewind_prefix", "checkpoint"} <= set(seen["listed"]), "and looked at before, for no request"
    assert seen["sweep"] is True and seen["rows"] == ["rewind_prefix", "trajectory"]
    assert seen["back"] > 1 and seen["found"] == seen["again"] == []


def test_a_prefix_that_is_back_whole_and_what_has_no_name_are_listed(facts: Any) -> None:
    seen = facts("listed_whole")
    assert {"rewind_prefix", "checkpoint", "stray"} <= set(seen["kinds"])
    assert seen["sizes"] and all(size > 1000 for size in seen["sizes"])
    assert seen["named"] == 1 and seen["objects"] == 0 and seen["again"] == []
