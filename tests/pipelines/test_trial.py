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
    every = found["plan"]["forget_records"] + found["plan"]["retain_records"]
    assert abs(found["plan"]["forget_records"] - 0.05 * every) <= 1
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


def test_one_call_may_take_another_method_and_draw_its_plan(demo: Any, tmp_path: Path) -> None:
    page = tmp_path / "plan.html"
    planned = demo.house.run("plan", "hardest:0.05", "--method", "retrain", "--page", page, "--json").json()
    assert planned["method"] == "retrain" and "was asked for" in planned["reason"]
    assert "Unlearning plan" in page.read_text() and "<script" not in page.read_text()
    nowhere = demo.house.run("plan", "hardest:0.05", "--page", tmp_path / "none" / "plan.html", code=2)
    assert "There is no folder" in nowhere.err and "Create it" in nowhere.err
    refused = demo.house.run("plan", "hardest:0.05", "--method", "magic", code=2)
    assert "planning.method" in refused.err and "neggrad_plus" in refused.err


def test_a_trial_teaches_the_calibration_of_its_model(demo: Any) -> None:
    """The fit of the model version grows by the run, if the run measured something; its pilots stay the same."""
    from expunge.unlearning.predictor import BudgetPredictor

    def newest() -> BudgetPredictor:
        files = [
            json.loads(path.read_text()) for path in sorted(
                (demo.house.state / "stores").rglob("document.json"), key=lambda p: p.stat().st_mtime
            )
        ]  # fmt: skip
        return BudgetPredictor.model_validate([d for d in files if d.get("format") == "expunge.predictor/2"][-1])

    before = newest()
    # As large as the pilots: a set far larger than they are teaches nothing of them.
    demo.house.run("forget", f"hardest:{before.sizes[1]}", "--method", "rewind", "--json", code=None)
    after = newest()
    assert after.pilots == before.pilots and len(after.spent) == len(before.spent) + 1
    assert after.spent[-1].candidates[0].method == "rewind" and after.spent[-1].energy > 0
