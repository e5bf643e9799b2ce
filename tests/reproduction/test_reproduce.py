"""Does `expunge reproduce` run a scenario through the pipeline, resume it after a kill, and write what came out?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.xdist_group("reproduce")

OWN = '''
"""A scenario of the test's own: the mean loss of each original, in parts that say when they were made."""
import time
from pathlib import Path
import numpy as np
from expunge.reproduction.findings import Figure, Findings, Series, over_seeds
from expunge.reproduction.originals import train_originals
from expunge.reproduction.world import open_world

def measure(config, work):
    (name, own), = config.worlds.items()
    world = open_world(name, own, config.seed)
    work.expect(config.originals)
    originals = train_originals(world, work, config.originals)
    def part(k):
        with Path(config.options["log"]).open("a") as log:
            log.write(f"{k}\\n")
        time.sleep(config.options["pause"])
        return {"value": np.log(originals[k].loss).mean()}
    values = [float(work.get(f"part-{k}", lambda k=k: part(k), 1)["value"]) for k in range(config.originals)]
    figure = Figure(name="losses", title="Losses", caption="Of each original.", x_label="original", y_label="loss",
                    series=(Series(name="originals", x=tuple(range(len(values))), y=tuple(values)),))
    words = (f"{len(values)} losses.",)
    return Findings(estimates={"digits: loss": over_seeds(values)}, figures=(figure,), words=words)

def measure_all(config, work):
    return Findings(estimates={"digits: loss": over_seeds([1, 2])}, words=(f"{len(config.worlds)} data sets.",))
'''


@pytest.fixture(scope="module")
def house(new_house: Callable[..., Any]) -> Any:
    made = new_house("reproduce")
    (made.root / "mine.py").write_text(OWN)
    (made.root / "configs" / "reproduce").mkdir(parents=True)
    declared = {
        "scenario": "own", "measure": "mine:measure", "title": "Losses of originals", "question": "Are they large?",
        "originals": 5,
        "worlds": {
            "digits": {
                "data": {"name": "digits", "train": 200, "held_out": 50},
                "model": {"name": "mlp", "options": {"hidden": [8]}},
                "training": {
                    "steps": 20, "batch_size": 16, "learning_rate": 0.3, "checkpoints": 4,
                    "noise": {"convention": "mean_gradient", "sigma": 0.01},
                },
            }
        },
        "options": {"log": str(made.root / "log"), "pause": 0},
        "rules": [{"claim": "Losses are large", "contrast": "digits: loss", "minimum": -50}],
        "quick": {"originals": 2},
    }  # fmt: skip
    (made.root / "configs" / "reproduce" / "own.yaml").write_text(yaml.safe_dump(declared))
    return made


def _log(house: Any) -> list[str]:
    path = house.root / "log"
    return path.read_text().split() if path.is_file() else []


def test_killed_and_gone_on_with(house: Any) -> None:
    process = house.start("reproduce", "own", "--set", "options.pause=1")
    house.kill_when(process, lambda: len(_log(house)) >= 3)
    done = house.run("reproduce", "own", "--set", "options.pause=1", "--json").json()
    assert _log(house) in (["0", "1", "2", "2", "3", "4"], ["0", "1", "2", "3", "4"])
    (conclusion,) = done["conclusions"]
    assert conclusion["verdict"] == "supported" and done["provenance"]["seconds"] > 3
    assert not list((house.state / "reproduce").rglob("*.safetensors"))
    facts = house.artifacts("reproduction_results")[-1]["facts"]
    assert (facts["scenario"], facts["supported"], facts["quick"]) == ("own", 1, False)


def test_the_document_and_a_comparison(house: Any, tmp_path: Path) -> None:
    house.run("reproduce", "own")
    file = tmp_path / "results.md"
    written = house.run("reproduce", "--write", file)
    assert "own; 2 files beside it" in written.words
    assert "**supported**" in file.read_text() and "results/own-losses.svg" in file.read_text()
    stated = tmp_path / "results" / "own.json"
    assert "All 1 estimates agree" in house.run("reproduce", "own", "--compare", stated).err
    other = house.run("reproduce", "own", "--set", "seed=5", "--compare", stated)
    assert "All 1 estimates agree" in other.err
    unlike = house.run("reproduce", "own", "--set", "worlds.digits.training.steps=21", "--compare", stated, code=2)
    assert "worlds.digits differ" in unlike.err and "like with like" in unlike.err
    changed = json.loads(stated.read_text())
    changed["findings"]["estimates"]["digits: loss"]["value"] += 100
    stated.write_text(json.dumps(changed))
    refused = house.run("reproduce", "own", "--compare", stated, code=1)
    assert "1 of 1 estimates differ" in refused.err and "digits: loss" in refused.err
    other = house.run("reproduce", "own", "--set", "seed=5", "--compare", stated, code=1)
    assert "1 of 1 estimates differ" in other.err and "another seed" in other.err


def test_a_quick_run_is_not_put_into_the_document(house: Any, tmp_path: Path) -> None:
    house.run("reproduce", "own")
    shown = house.run("reproduce", "own", "--quick")
    assert "undecided" in shown.words and "too small" in shown.words
    house.run("reproduce", "--write", tmp_path / "r.md")
    assert "5 originals" in (tmp_path / "r.md").read_text()


def test_a_part_is_not_put_into_the_document_in_place_of_the_whole(house: Any, tmp_path: Path) -> None:
    declared = house.root / "configs" / "reproduce" / "own.yaml"
    two = yaml.safe_load(declared.read_text())
    two["worlds"]["again"] = two["worlds"]["digits"]
    two["measure"], two["scenario"] = "mine:measure_all", "two"
    declared.with_name("two.yaml").write_text(yaml.safe_dump(two))
    assert "only digits ran" in house.run("reproduce", "two", "--only", "digits").words
    house.run("reproduce", "--write", tmp_path / "r.md")
    part = (tmp_path / "r.md").read_text()
    assert "1 data sets" in part and "**Decides nothing: the rules judge all" in part
    house.run("reproduce", "two")
    house.run("reproduce", "two", "--only", "digits")
    house.run("reproduce", "--write", tmp_path / "r.md")
    assert "2 data sets" in (whole := (tmp_path / "r.md").read_text()) and "Decides nothing" not in whole


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "--list"),
        (("own", "--write", "x.md"), 2, "--list"),
        (("barrierz",), 3, "'barrierz'"),
        (("own", "--only", "digitz"), 3, "Did you mean 'digits'?"),
        (("own", "--set", "originals=none"), 2, "originals"),
        (("own", "--set", "measure=mine:nothing"), 3, "no function 'nothing'"),
        (("own", "--compare", "nothing.json"), 3, "nothing.json"),
        (("own", "--compare", "scenario.yaml"), 2, "no results"),
        (("--write", "nowhere/x.md"), 2, "no folder"),
    ],
)
def test_mistakes_are_answered_in_words(house: Any, arguments: tuple[str, ...], code: int, words: str) -> None:
    refused = house.run("reproduce", *arguments, code=code, cwd=house.root)
    assert words in refused.err and not refused.out


def test_the_scenarios_are_listed(house: Any) -> None:
    listed = house.run("reproduce", "--list", "--json").json()
    assert all(row["question"] and row["data"] for row in listed)
