"""Does `expunge score` fan out, survive SIGKILL, say what it cost, and refuse in words what it cannot score?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("scored")

MODEL = """
import torch
from expunge.models.factories import small_cnn

class Model(torch.nn.Sequential):
    def forward(self, x):
        out = super().forward(x)
        {eval}
        return out

def make(in_shape, classes):
    return Model(*small_cnn(in_shape, classes, width={width}))
"""
SMALL_BLOCKS = "--set=scoring.block=64"


@pytest.fixture(scope="module")
def scored(new_house: Callable[..., Any]) -> Any:
    """A trained project whose model function lies in a file of its own; nothing is scored yet."""
    house = new_house("scored", model={"name": "own_model:make", "options": {}}, training={"steps": 60})
    write_model(house)
    house.run("train", "-c", house.scenario)
    return house


def write_model(house: Any, width: int = 8, in_eval: str = "pass") -> None:
    (house.root / "own_model.py").write_text(MODEL.format(width=width, eval=in_eval))


def shards(house: Any) -> list[Path]:
    return [path for path in (house.state / "work").rglob("*") if path.suffix == ".shard"]


def stored(house: Any, number: int) -> tuple[bytes, Any]:
    """The bytes of a table of norms, and its settings."""
    folder = house.artifacts("gradient_norms")[number]["uri"]
    return (folder / "norms.parquet").read_bytes(), json.loads((folder / "settings.json").read_text())["settings"]


def test_a_killed_scoring_goes_on_where_it_was(scored: Any) -> None:
    scored.kill_when(scored.start("score", SMALL_BLOCKS), lambda: len(shards(scored)) >= 30)
    found = len(shards(scored))
    assert (
        scored.artifacts("gradient_norms") == [] and scored.holding(scored.trained_ids(), scored.state / "work") == {}
    )
    went_on = scored.run("score", SMALL_BLOCKS, "--json").json()["scoring"]
    blocks = 10 * -(-len(scored.trained_ids()) // 64)
    assert went_on["shards"]["blocks"] == blocks and found <= went_on["shards"]["reused"] < blocks
    assert went_on["gradients"] < 10 * len(scored.trained_ids())
    assert shards(scored) == [] and not list((scored.state / "work").glob("shards-*")), "removed once norms are stored"


@pytest.mark.slow
def test_the_bytes_are_those_of_any_number_of_shards_and_workers(scored: Any) -> None:
    split = ("--set=scoring.checkpoints_per_shard=4", "--set=scoring.workers=3")
    words = scored.run("score", SMALL_BLOCKS, *split, "-v", "--top", "3").words
    assert stored(scored, 0) == stored(scored, 1)
    (counts,) = [a["facts"]["shards"] for a in scored.artifacts("scoring_shards")[-1:]]
    assert counts == 3 and len(scored.artifacts("scored_shard")) == 1 + 3
    assert "times a plain pass (median of" in words and "records per second" in words
    assert "1.weight" in words and "the cost model on shapes" in words
    assert scored.artifacts("gradient_norms")[-1]["facts"]["model_version"] == "digits-mlp 1"


def test_fewer_checkpoints_in_bfloat16_by_tuned_kernels_say_what_that_changes(scored: Any) -> None:
    tuned = scored.run("doctor", "--tune", "--json").json()
    assert tuned["kernels"] and tuned["made_with"]["threads"] == 1
    found = scored.run("score", "--checkpoints", "4", "--bfloat16", "--json").json()
    report, (_, settings) = found["scoring"], stored(scored, -1)
    assert report["checkpoints"] == settings["checkpoints"] == {"scored": 4, "of": 10}
    assert report["precision"] == settings["dtype"] == "bfloat16"
    assert report["kernel_table"] == settings["kernels"] == tuned["kernel_table"]
    assert set(report["kernels"]) == {f"{layer}.{part}" for layer in (1, 2, 4, 5, 9) for part in ("weight", "bias")}
    assert report["passes"] == {"one_pass": 4, "definition": 0} and report["definition_because"] == ""
    lost, error = report["rank_loss"], report["precision_error"]
    assert (lost["kept"], lost["available"], lost["records"]) == (4, 10, 1000)
    assert 0 <= lost["tops"][0]["lost"] <= 1 and "of the hardest 5%" in lost["words"]
    assert error["records"] == 1000 and 0 <= error["median"] <= error["largest"] < 0.5 and error["spearman"] > 0.9
    assert report["plain_pass"]["pairs"] >= 3 and report["records_per_second"] > 0


@pytest.mark.slow
def test_a_kernel_table_that_was_changed_is_refused_until_it_is_removed(scored: Any) -> None:
    table = scored.state / "kernels.json"
    before = scored.counts()
    table.write_text(table.read_text().replace('"kernels"', '"kernel"'))
    refused = scored.run("score", code=5)
    assert str(table) in refused.err and "--untune" in refused.err and scored.counts() == before
    assert "cost model" in scored.run("doctor", "--untune").out and not table.exists()
    assert "no kernel table" in scored.run("doctor", "--untune").out


@pytest.mark.slow
def test_a_model_that_was_changed_since_is_refused(scored: Any) -> None:
    before = scored.counts()
    write_model(scored, width=4)
    refused = scored.run("score", code=2)
    assert "'1.weight' has shape (8, 1, 3, 3), and the model's (4, 1, 3, 3)" in refused.err
    write_model(scored)
    after = scored.counts()
    assert {k: after[k] for k in ("head", "models", "objects")} == {k: before[k] for k in ("head", "models", "objects")}


@pytest.mark.slow
def test_norms_that_are_not_finite_name_records_and_checkpoint_and_zenml_keeps_neither(scored: Any) -> None:
    norms = len(scored.artifacts("gradient_norms"))
    write_model(scored, in_eval="out = out * torch.where(x.sum(1, keepdim=True) > 26.5, torch.nan, 1.0)")
    refused = scored.run("score", code=1)
    assert "not finite at step 0: 'digit-" in refused.err
    write_model(scored)
    assert len(scored.artifacts("gradient_norms")) == norms
    assert scored.holding(scored.trained_ids(), scored.state / "stores" / "default_zen_store") == {}
    named = [record for record in scored.trained_ids() if record in refused.err]
    assert named and not scored.holding(named, scored.state / "work")
    everywhere = scored.holding(named, scored.state / "stores")
    assert all(path.endswith((".parquet", "records.json", "page.html", "manifest.json")) for path in everywhere)
