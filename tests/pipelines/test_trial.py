"""Does a trial say what a deletion would take, and change nothing?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("demo")


def test_forget_tries_and_promotes_nothing(demo: Any, tmp_path: Path) -> None:
    before = demo.house.counts()
    metrics = tmp_path / "metrics.json"
    answer = demo.house.run("forget", "hardest:0.05", "--json", "--metrics", metrics, code=None)
    assert answer.code in (0, 4), answer.err
    found = answer.json()
    assert found["decision"]["passed"] is (answer.code == 0)
    assert found["plan"]["forget_records"] == found["plan"]["set_size"] if "set_size" in found["plan"] else True
    assert found["run"]["steps_spent"] > 0
    if answer.code == 4:
        assert "The gate refused" in answer.err and "nothing was promoted" in answer.err
    assert json.loads(metrics.read_text())["passed"] == int(found["decision"]["passed"])
    assert demo.house.versions() == before["models"]
    assert demo.house.head() == before["head"]


def test_a_set_of_named_records_leaves_no_id_in_the_parameters(demo: Any) -> None:
    trained = [r for r in demo.house.trained_ids() if r not in demo.gone][:30]
    planned = demo.house.run("plan", "records:" + ",".join(trained), "--json").json()
    assert planned["forget_records"] == 30
    assert demo.house.holding(trained, demo.house.state / "stores" / "default_zen_store") == {}
