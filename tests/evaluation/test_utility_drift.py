"""The utility guard and Evidently's distances, each with its negative control."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from laws import World

from expunge.evaluation import EvaluationSettings
from expunge.evaluation.drift import COLUMNS, Distances, drift_check, drift_page, signals
from expunge.evaluation.utility import gap, utility_check, utility_table

SETTINGS = EvaluationSettings()
WORLD = World(run_share=0.0, held_out=600)


def test_the_guard_passes_an_oracle_and_fails_a_damaged_and_a_constant_model() -> None:
    inputs = WORLD.build()
    good = utility_check(inputs, SETTINGS)
    assert good.verdict == "pass" and good.sound
    assert good.controls["constant"].verdict == "fail"
    assert utility_check(WORLD.build("constant"), SETTINGS).verdict == "fail"
    damaged = inputs.unlearned.copy()
    rows = inputs.held_out[::8]
    damaged[rows, inputs.targets[rows]] = -20
    result = utility_check(replace(inputs, unlearned=damaged), SETTINGS)
    assert result.verdict == "fail" and "2 allowed" in result.words
    better = inputs.unlearned.copy()
    better[rows, inputs.targets[rows]] = 20
    assert utility_check(replace(inputs, unlearned=better), SETTINGS).verdict == "pass"  # one-sided: better is no harm


def test_gaps_are_differences_to_the_oracles_mean() -> None:
    inputs = WORLD.build()
    table = utility_table(inputs)
    for group in ("forget", "retain", "held_out"):
        difference = table[f"{group}_accuracy_unlearned"].value - table[f"{group}_accuracy_oracle"].value
        assert table[f"{group}_gap_unlearned"].value == pytest.approx(difference)
        low, high = table[f"{group}_gap_unlearned"].interval
        assert low < difference < high
    assert table["forget_gap_original"].value > 0.2
    difference, (low, high) = gap(inputs, inputs.original, inputs.forget)
    assert low > 0


@pytest.fixture(scope="module")
def loaded() -> Distances:
    return Distances()


@pytest.mark.parametrize(
    ("kind", "verdict"), [("oracle", "pass"), ("untouched", "fail"), ("over", "fail"), ("constant", "fail")]
)
def test_drift_verdicts(loaded: Distances, kind: str, verdict: str) -> None:
    result = drift_check(World(run_share=0.01).build(kind), SETTINGS)
    assert result.verdict == verdict
    assert result.sound and result.controls["original"].verdict == "fail"
    assert len(result.details["table"]) == 12
    assert result.details["references"] == 20 and result.details["ranked"] == 20
    for row in result.details["table"]:
        assert row["exceeded"] == (row["value"] > row["threshold"])
    if kind == "untouched":
        over = {
            row["group"] for row in result.details["table"] if row["exceeded"] and row["column"] != "predicted_label"
        }
        assert "forget" in over


def test_the_oracles_ranks_are_exchangeable(loaded: Distances) -> None:
    """Any oracle put in the candidate's place fails at the stated rate: here each of 30 once."""
    inputs = World(oracles=30, held_back=2, half_kept=0, retain=60, held_out=80, run_share=0.1).build()
    failed = 0
    for k in range(1, 30):
        rest = np.delete(inputs.oracles, k, axis=0)
        result = drift_check(replace(inputs, unlearned=inputs.oracles[k], oracles=rest), SETTINGS)
        failed += result.p_value <= 0.05
    assert failed <= 3  # exactly one or so: places 1 of 29 reach .05


def test_thresholds_come_from_the_ranked_oracles_against_the_reference(loaded: Distances) -> None:
    inputs = World(oracles=30).build()
    result = drift_check(inputs, SETTINGS)
    assert (result.details["references"], result.details["ranked"]) == (11, 19)
    rows, y = inputs.forget, inputs.targets[inputs.forget]
    losses = [signals(logits[rows], y)["loss"] for logits in inputs.oracles]
    reference = pd.concat(losses[:11], ignore_index=True)
    own = [loaded("loss", reference, one) for one in losses[11:]]
    row = next(r for r in result.details["table"] if (r["group"], r["column"]) == ("forget", "loss"))
    assert row["threshold"] == pytest.approx(np.quantile(own, 0.95))


def test_evidentlys_page_shows_the_same_numbers(loaded: Distances) -> None:
    inputs = World().build()
    page, values = drift_page(inputs, SETTINGS)
    table = {f"{r['group']} {r['column']}": r["value"] for r in drift_check(inputs, SETTINGS).details["table"]}
    assert page.lstrip().lower().startswith("<") and len(page) > 100_000
    assert values.keys() == table.keys()
    for name, value in values.items():
        assert value == pytest.approx(table[name], rel=1e-9, abs=1e-12)


def test_small_groups_are_left_out_with_a_note(loaded: Distances) -> None:
    result = drift_check(World(forget=8).build(), SETTINGS)
    assert {row["group"] for row in result.details["table"]} == {"retain", "held_out"}
    assert result.details["notes"] == ["forget: 8 records, left out under 20"]
    tiny = drift_check(World(forget=8, retain=9, held_out=19, held_back=2).build(), SETTINGS)
    assert tiny.verdict == "no power" and "fewer than 20 records" in tiny.words
    assert len(COLUMNS) == 4


def test_drift_takes_a_few_seconds(loaded: Distances) -> None:
    inputs = World().build()
    start = time.process_time()
    drift_check(inputs, SETTINGS)
    assert time.process_time() - start < 5


def test_little_remembered_by_a_planted_set(loaded: Distances) -> None:
    world = World(shift=0.0)
    assert drift_check(world.build(), SETTINGS).verdict == "no power"
    result = drift_check(world.build(planted=True), SETTINGS)
    assert result.verdict == "pass" and result.little_remembered
