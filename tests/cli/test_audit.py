"""Does an audit show where a record went, after it was destroyed too?"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("demo")
HARD, EASY = "demo-hard-contributor", "demo-easy-person"


def _hashes(demo: Any) -> tuple[str, str]:
    """DVC hash of the first training's trajectory, and of the promoted one."""
    old, *_ = demo.house.artifacts("trajectory")
    new = next(a for a in demo.house.artifacts("trajectory") if demo.version in str(a["facts"].get("model_version")))
    return old["facts"]["dvc_hash"], new["facts"]["dvc_hash"]


def _check_words(demo: Any, words: str) -> None:
    old, new = _hashes(demo)
    assert HARD in words and "closed" in words
    for expected in (old, new, "digits-mlp 1", f"digits-mlp {demo.version}", "archived", "destroyed 20", "present"):
        assert expected in words.replace("- ", "-"), expected


def test_a_destroyed_record(demo: Any) -> None:
    record = min(demo.erased[HARD])
    shown = demo.house.run("audit", "record", record)
    _check_words(demo, shown.words)
    assert "no model version any more" in shown.out
    assert f"held by digits-mlp 1 until {demo.version} destroyed it" in shown.out
    assert "1 trajectory" in shown.out and "kept: " in shown.out


def test_a_destroyed_record_as_json_and_as_a_page(demo: Any, tmp_path: Path) -> None:
    record, page = min(demo.erased[HARD]), tmp_path / "record.html"
    found = demo.house.run("audit", "record", record, "--json", "--page", page).json()
    assert found["held_by"] == []
    assert [(held["version"], held["run_id"]) for held in found["held_until_purged"]] == [
        ("digits-mlp 1", demo.version)
    ]
    drawn = page.read_text()
    assert all(hash_ in drawn for hash_ in _hashes(demo)) and "kept: " in drawn and record not in drawn
    assert "evaluation outputs" in drawn and "held until a purge by" in drawn
    assert [request["id"] for request in found["requests"]] == [HARD]
    states = {
        (version["version"], part["name"]): part["state"]
        for version in found["model_versions"]
        for part in version["artifacts"]
    }
    for part in ("training_records", "trajectory", "model", "gradient_norms", "privacy_losses"):
        assert states["digits-mlp 1", part] == "destroyed"
        assert states[f"digits-mlp {demo.version}", part] == "present"


def test_a_record_that_is_still_held(demo: Any) -> None:
    record = next(r for r in demo.house.trained_ids() if r not in demo.gone)
    found = demo.house.run("audit", "record", record, "--json").json()
    assert found["requests"] == [] and f"digits-mlp {demo.version}" in found["held_by"]


def test_a_request(demo: Any) -> None:
    shown = demo.house.run("audit", "request", HARD)
    _check_words(demo, shown.words)
    assert "certificates/demo-hard-contributor.certificate.json" in shown.out
    assert demo.house.run("audit", "request", EASY, "--json").json()["requests"][0]["status"] == "closed"


def test_a_person(demo: Any) -> None:
    _check_words(demo, demo.house.run("audit", "subject", "volunteer-0001").words)


def test_the_model_in_production(demo: Any) -> None:
    (serving,) = demo.house.versions("production")
    shown = demo.house.run("audit", "model", "production")
    assert f"digits-mlp {serving}" in shown.words.replace("- ", "-") and "production" in shown.out


def test_the_model_of_the_deletion(demo: Any) -> None:
    shown = demo.house.run("audit", "model", demo.version)
    _check_words(demo, shown.words)
    assert EASY in shown.out and f"{HARD} ({len(demo.erased[HARD])} records)" in shown.out
    assert demo.house.run("audit", "model", "1", "--json").json()["model_versions"]


@pytest.mark.parametrize("noun", ["record", "subject", "request", "model"])
def test_what_nobody_knows(demo: Any, noun: str) -> None:
    refused = demo.house.run("audit", noun, "nobody-knows-this", code=3)
    assert "nobody-knows-this" in refused.err and not refused.out


def test_publishing_puts_the_lineage_into_the_dashboard(demo: Any) -> None:
    record = min(demo.erased[HARD])
    before = demo.house.counts()
    said = demo.house.run("audit", "record", record, "--publish", "--json").json()["published"]
    page = demo.house.artifacts("lineage")[-1]
    inputs = {
        name
        for (name,) in demo.house.zenml(
            "select i.name from step_run_input_artifact i join step_run s on s.id = i.step_id"
            " join pipeline_run r on r.id = s.pipeline_run_id where r.name = ?",
            said,
        )
    }
    for part in ("training_records", "trajectory", "model"):
        assert {f"{part}_before", f"{part}_after"} <= inputs
    assert {"unlearning_plan", "evidence", "gate_decision"} <= inputs
    files = [path for path in page["uri"].rglob("*") if path.is_file()]
    pages = [path.read_text() for path in files if path.suffix == ".html"]
    assert pages and all(not re.search(r"<script|javascript:|\son\w+=|src=.http", html) for html in pages)
    assert all(hash_ in pages[0] for hash_ in _hashes(demo)) and "destroyed" in pages[0]
    assert all(record not in path.read_text() for path in files)
    (parameters,) = demo.house.zenml("select pipeline_configuration from pipeline_run where name = ?", said)[0]
    assert record not in json.dumps(parameters)
    assert demo.house.head() == before["head"], "an audit is no event of the ledger"
    assert demo.house.versions() == before["models"]
