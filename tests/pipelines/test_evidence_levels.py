"""Evidence without true oracles: what it says, what it costs, whether it stands before true ones, and what is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.xdist_group("levels"), pytest.mark.slow]
POOL = ("--set", "evaluation.evidence_level=pool")
FREE = ("--set", "evaluation.evidence_level=oracle-free")
REWIND = ("--set", "planning.method=rewind")


@pytest.fixture(scope="module")
def tried(new_house: Callable[..., Any]) -> Any:
    """A trained model with a pool of 24, and a trial judged by it."""
    house = new_house(
        "levels",
        training={"steps": 80},
        calibration={"oracles": 4, "bins": [0, 50, 100], "rewind_shares": [0.5], "fine_tune_shares": [0.5]},
        evaluation={
            "look_oracles": 5, "verdict_oracles": 20, "held_back": 3, "half_kept": 5, "pool_models": 24,
            "gating": ["influence"],
        },
    )  # fmt: skip
    house.run("train", "-c", house.scenario)
    answer = house.run("forget", "random:40", *POOL, *REWIND, "--json", code=None)
    assert answer.code in (0, 4), answer.err
    return house


def newest(house: Any, name: str) -> Any:
    return json.loads((house.artifacts(name)[-1]["uri"] / "document.json").read_text())


def test_the_pool_judges_and_no_oracle_is_trained(tried: Any) -> None:
    evidence, run, plan = (newest(tried, name) for name in ("evidence", "unlearning_run", "unlearning_plan"))
    assert evidence["level"] == "pool" and evidence["oracles"]["count"] == 24 and not evidence["oracles"]["verdict"]
    assert {check["name"] for check in evidence["checks"] if check["gating"]} == {"pool_influence"}
    assert run["cost"]["judging models"] == 5 == run["cost"]["look oracles"], "half-kept models alone, for the power"
    assert any(
        "pool: 5 models are retrained to look" in words and "and 5 with half" in words for words in plan["warnings"]
    )
    assert tried.artifacts("evaluation_outputs")[-1]["facts"]["pool"] == 24


def test_the_calibration_counts_the_pool(tried: Any) -> None:
    (pool,) = tried.artifacts("reference_pool")
    assert pool["facts"]["models"] == 24 and pool["facts"]["retrainings"] == pytest.approx(12, abs=1)
    predictor = newest(tried, "budget_predictor")
    assert pool["facts"]["model_version"] == "digits-mlp 1"
    without = sum(c["steps"] / 80 for pilot in predictor["pilots"] for c in pilot["candidates"])
    oracles = 20 + 3 + 2 * 4
    assert predictor["cost"] == pytest.approx(without + oracles + 12)


def test_true_oracles_audit_it(tried: Any) -> None:
    few = ("--set", "evaluation.checks=[influence, utility]")
    answer = tried.run("evaluate", "--audit", *few, "--json", code=None)
    found = answer.json()
    before, after = found["audited"], found["audit"]
    assert (before["level"], after["level"], after["oracles"]["count"]) == ("pool", "oracle", 20)
    assert found["stands"] is (before["verdict"] == after["verdict"])
    assert answer.code == (4 if before["verdict"] == "pass" and not found["stands"] else 0)
    said = "stands" if found["stands"] else "does not stand"
    assert ("no verdict" if before["verdict"] == after["verdict"] == "no power" else said) in found["words"]
    judges = set(after["oracles"]["verdict"]) | set(after["oracles"]["held_back"]) | set(after["oracles"]["half_kept"])
    assert len(judges) == 20 + 3 + 5 and not judges & set(after["oracles"]["look"])
    assert newest(tried, "audit_evidence")["level"] == "oracle"


def test_shadows_of_the_trials_method(tried: Any) -> None:
    found = tried.run("evaluate", "--shadows", "8", "--json").json()
    assert found["claim"] == "METHOD" and [c["name"] for c in found["checks"]] == [
        "u_lira", "klom", "forgetting_quality"
    ]  # fmt: skip
    run = newest(tried, "unlearning_run")
    assert f"8 shadow models, trained and then unlearned by rewind {run['rewind_step']}" in found["words"]
    assert "40 records to forget and 40 to keep" in found["words"]
    assert not any(check["gating"] for check in found["checks"]) and not found["requests"]


def test_a_deletion_destroys_the_pool_and_what_could_be_audited(tried: Any) -> None:
    (pool,) = tried.artifacts("reference_pool")
    record = tried.trained_ids()[0]
    tried.run("request", "add", "-r", record, "--id", "gone")
    tried.run("run-due", *FREE)
    assert tried.status("gone") == "closed"
    (pool,) = tried.artifacts("reference_pool")
    assert pool["facts"]["destroyed_at"] and not pool["uri"].exists()
    assert newest(tried, "evidence")["level"] == "oracle-free"
    destroyed = tried.ledger("select kind from tombstone where status = 'destroyed'")
    assert ("reference_pool",) in destroyed and ("evaluation_outputs",) in destroyed
    assert tried.holding([record]) == {}
    refused = tried.run("evaluate", "--audit", code=3)
    assert "destroyed with the records" in refused.err and "expunge forget" in refused.err
