"""Under the purge policy until_due, does a request wait with an interim certificate until what was kept is gone?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kept_prefixes import (
    LAST,
    assert_ended,
    at,
    certificate,
    exist,
    objects_of,
    own_parts,
    plan_of,
    predicate,
    rewound,
    steps_of,
)  # fmt: skip

pytestmark = pytest.mark.xdist_group("kept_prefix")


@pytest.fixture(scope="module")
def kept(new_house: Callable[..., Any]) -> Any:
    house, answer = rewound(new_house, "kept")
    assert "interim, the request stays open" in answer.words and "Nothing is due" not in answer.out
    return house


def test_the_request_waits_with_an_interim_certificate(kept: Any, digits_ids: dict[str, str]) -> None:
    assert kept.status("first") == "purged"
    (prefix,) = kept.artifacts("rewind_prefix")
    assert prefix["facts"]["restricted"] is True and prefix["facts"]["destroy_by"] == LAST
    parts = own_parts(predicate(kept, "first", interim=True), "kept")
    said = f"; but for {len(parts)} prefix checkpoints kept until {LAST}"
    assert predicate(kept, "first", interim=True)["rescan"]["words"].endswith(said)
    (report,) = (kept.state / "reports").glob("run-*.html")
    assert said in report.read_text(), "the report does not contradict what it lists"
    shares = [p["loss_share"] for p in parts]
    assert shares[0] == 0 and shares == sorted(shares) and 0 < shares[-1] < 1
    assert {p["destroy_by"] for p in parts} == {LAST} and steps_of(parts)[-1] == plan_of(kept)["rewind_step"]
    answer = kept.run("verify", certificate(kept, "first", interim=True))
    assert "VERIFIED" in answer.out and "this certificate is interim" in answer.words
    # Its bytes exist, those after it are gone, and no model version owns any of it.
    old, new = kept.artifacts("trajectory")
    assert "destroyed_at" in old["facts"] and new["facts"]["tombstones"] == len(parts)
    objects = objects_of(kept)
    assert exist(kept, objects.values()) == set(objects.values())
    stored = {path.parent.name + path.name for path in kept.objects()}
    assert len(stored) == len(objects) + new["facts"]["checkpoints"] + 1 + 2  # each file once, and two directories
    assert not kept.zenml("select 1 from model_versions_artifacts where artifact_version_id = ?", prefix["id"])
    assert kept.holding(kept.asked("first", digits_ids)) == {}


@pytest.mark.slow
def test_killed_in_its_end_it_is_finished_by_the_next_run(kept: Any) -> None:
    objects = objects_of(kept)
    at(kept, LAST)
    # Between the destruction and the final certificate.
    kept.kill_when(kept.start("run-due"), lambda: not exist(kept, objects.values()))
    assert kept.status("first") == "purged" and not certificate(kept, "first", interim=False).exists()
    said = kept.run("run-due").err
    assert "final certificate" in said and "late" not in said
    assert_ended(kept, ("first",), objects.values())
