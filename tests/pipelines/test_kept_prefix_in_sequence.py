"""Request after request under until_due: who may start in the prefix, who waits for it, and what ends it early."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kept_prefixes import (
    LAST,
    ask,
    assert_ended,
    at,
    exist,
    objects_of,
    own_parts,
    plan_of,
    predicate,
    rewound,
    steps_of,
)  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kept_prefix_in_sequence")]

SECOND, LATE = "2026-01-20", "2026-02-12"
EARLIER = ("--set", "calibration.rewind_shares=[0.2]")


@dataclass(frozen=True)
class Sequence:
    """Two requests, the second rewound into the prefix of the first; `saved`: the state after both."""

    house: Any
    before: dict[str, str]
    start: int
    priced: dict[str, Any]
    saved: Path

    def again(self) -> Any:
        """The house as it was after both."""
        at(self.house, SECOND)
        shutil.rmtree(self.house.state)
        shutil.copytree(self.saved, self.house.state)
        return self.house


@pytest.fixture(scope="module")
def sequence(new_house: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Sequence:
    house, _ = rewound(new_house, "sequence")
    before, start = objects_of(house), plan_of(house)["rewind_step"]
    at(house, SECOND)
    ask(house, "second", house.trained_ids()[40:60])
    priced = house.run("plan", *EARLIER, "--json").json()
    house.run("run-due", *EARLIER)
    saved = tmp_path_factory.mktemp("saved") / "state"
    shutil.copytree(house.state, saved)
    return Sequence(house, before, start, priced, saved)


def test_the_next_request_starts_in_it_and_both_wait_until_the_earlier_date(sequence: Sequence) -> None:
    house, before = sequence.house, sequence.before
    made = plan_of(house)
    assert made["method"] == "rewind" and made["rewind_step"] < sequence.start
    assert all(made[name] == sequence.priced[name] for name in ("rewind_step", "predicted_cost", "warnings"))
    assert any(f"lies in a restricted prefix, which is destroyed by {LAST}" in w for w in made["warnings"])
    assert [house.status(r) for r in ("first", "second")] == ["purged", "purged"]
    first, second = house.artifacts("rewind_prefix")
    assert "destroyed_at" in first["facts"] and second["facts"]["requests"] == ["second", "first"]
    assert second["facts"]["destroy_by"] == LAST
    after = objects_of(house)
    cut = {o for name, o in before.items() if name not in after}
    shared = set(after.values()) & set(before.values())
    assert cut and not exist(house, cut) and len(shared) == len(after) - 1 and exist(house, shared) == shared
    stated = predicate(house, "second", interim=True)
    parts = own_parts(stated, "kept")
    assert steps_of(parts)[-1] == made["rewind_step"]
    kept_hashes = {p["content_hash"] for p in parts}
    assert not any(p["action"] == "destroyed" and p["content_hash"] in kept_hashes for p in stated["artifacts"])
    assert any("but for its checkpoints" in (p["method"] or "") for p in stated["artifacts"])


def test_the_day_before_nothing_happens_and_everybody_can_see_it_is_kept(sequence: Sequence) -> None:
    house, objects = sequence.again(), set(objects_of(sequence.house).values())
    at(house, "2026-02-08")
    head, runs = house.head(), house.runs()
    assert "Nothing is due" in house.run("run-due").out
    assert (house.head(), house.runs()) == (head, runs) and exist(house, objects) == objects
    assert f"kept, restricted to rewinding, until {LAST}" in house.run("audit", "request", "second").words
    assert "kept until 9 February 2026 at the latest" in house.run("explain", "first").words
    assert all(check["ok"] for check in house.run("doctor", "--json").json())
    published = house.run("audit", "request", "first", "--publish", "--json").json()["published"]
    assert published


def test_a_night_missed_it_goes_first_thing_and_is_said_to_be_late(sequence: Sequence) -> None:
    house, objects = sequence.again(), objects_of(sequence.house).values()
    at(house, LATE)
    checks = house.run("doctor", "--json", code=None).json()
    assert [check["name"] for check in checks if not check["ok"]] == ["rewind prefixes"]
    assert "3 day(s) late" in house.run("run-due").err
    assert_ended(house, ("first", "second"), objects)
    assert predicate(house, "first", interim=False)["details"]["prefix"]["days_late"] == 3
    head = house.head()
    assert "Nothing is due" in house.run("run-due").out and house.head() == head


def test_another_policy_ends_it_at_the_next_run(sequence: Sequence) -> None:
    house, objects = sequence.again(), objects_of(sequence.house).values()
    assert "the policy is destroy now" in house.run("run-due", "--set", "deletion.purge_prefix=destroy").err
    assert_ended(house, ("first", "second"), objects)


def test_a_retraining_keeps_none_and_ends_the_earlier_one(sequence: Sequence) -> None:
    house, objects = sequence.again(), objects_of(sequence.house).values()
    ask(house, "third", house.trained_ids()[70:90])
    house.run("run-due", "--set", "planning.method=retrain")
    assert len(house.artifacts("rewind_prefix")) == 2 and house.status("third") == "closed"
    predicate(house, "third", interim=False)
    assert_ended(house, ("first", "second"), objects)


def test_an_unrolled_rewind_reads_it_and_bars_what_it_corrected(sequence: Sequence) -> None:
    house = sequence.again()
    ask(house, "third", house.trained_ids()[70:90])
    house.run("run-due", "--set", "planning.method=unrolled_rewind")
    assert plan_of(house)["method"] == "unrolled_rewind" and house.status("third") == "purged"
    manifest = json.loads((house.artifacts("rewind_prefix")[-1]["uri"] / "manifest.json").read_text())
    assert manifest["corrected_at"] == plan_of(house)["rewind_step"] and manifest["destroy_by"] == LAST
    assert [r["request_id"] for r in manifest["requests"]] == ["third", "second", "first"]
    warned = house.run("plan", "records:" + ",".join(house.trained_ids()[:15]), "--json").json()["warnings"]
    assert any("no unrolled rewind is offered" in words for words in warned)


def test_a_plan_that_waited_for_a_yes_too_long_is_made_anew(sequence: Sequence) -> None:
    house = sequence.again()
    ask(house, "third", house.trained_ids()[70:90])
    asking = ("--set", "deletion.approval=required", "--set", "calibration.rewind_shares=[0.1]")
    house.run("run-due", *asking, code=6)
    lent = house.artifacts("rewind_prefix")[-1]["uri"] / "manifest.json"
    plans = house.ledger("select plan from deletion_run where status = 'awaiting_approval'")
    assert json.loads(plans[0][0])["rewind_step"] in {c["step"] for c in json.loads(lent.read_text())["checkpoints"]}
    at(house, LAST)
    assert "a checkpoint that it starts from is destroyed" in house.run("run-due", *asking, code=6).err
    assert [house.status(r) for r in ("first", "second")] == ["closed", "closed"]


def test_changed_bytes_or_a_changed_interim_certificate_are_found(sequence: Sequence, changed: Any) -> None:
    house = sequence.again()
    objects = objects_of(house)
    name = next(file for file in objects if file.startswith("step_"))
    with changed(house.cached(objects[name])):
        checks = house.run("doctor", "--json", code=None).json()
        assert [check["name"] for check in checks if not check["ok"]] == ["rewind prefixes"]
    at(house, LAST)
    with changed(house.state / "certificates" / "first.interim.certificate.json"):
        house.run("run-due", code=5)
        assert house.status("first") == "purged"  # what it said cannot be repeated, so nobody is told that it is over
    house.run("run-due")
    assert_ended(house, ("first", "second"), objects.values())
