"""Is a scenario's declaration read as it is meant, and a wrong one refused with what to do?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from expunge.errors import NotFoundError, UsageError
from expunge.reproduction.config import EVERYWHERE, FEWEST_ORIGINALS, checked_options, load_scenario
from expunge.reproduction.originals import final_phi, label_matched, mean_rank, train_originals
from expunge.reproduction.registry import SCENARIOS, find_scenario
from expunge.reproduction.work import Work
from expunge.reproduction.world import open_world
from expunge.training.config import Strict

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "configs" / "reproduce").glob("*.yaml"))
DECLARED: dict[str, Any] = {
    "scenario": "own",
    "title": "Own",
    "question": "Does it?",
    "originals": 2,
    "worlds": {
        name: {
            "data": {"name": "digits", "train": 200, "held_out": 50},
            "model": {"name": "mlp", "options": {"hidden": [8]}},
            "training": {
                "steps": 20, "batch_size": 16, "learning_rate": 0.3, "checkpoints": 4,
                "noise": {"convention": "mean_gradient", "sigma": 0.01},
            },
        }
        for name in ("one", "two")
    },
    "rules": [
        {"claim": "c", "contrast": "one: x"}, {"claim": "d", "contrast": "two: x"}, {"claim": "e", "contrast": "both"},
    ],
    "quick": {"originals": 1, "worlds.two": None, "worlds.one.training.steps": 5, "rules": []},
}  # fmt: skip


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(DECLARED))
    return path


def test_a_rule_of_every_data_set_becomes_one_of_each(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    rules = [{"claim": "{data} grows", "contrast": "{data}: x", "family": "{data} alone", "minimum": 0.5}]
    path.write_text(yaml.safe_dump({**DECLARED, "rules": [*rules, {"claim": "e", "contrast": "both"}]}))
    spread = load_scenario(path).rules
    assert [rule.contrast for rule in spread] == ["one: x", "two: x", "both"]
    assert spread[1].claim == "two grows" and spread[1].family == "two alone" and spread[1].minimum == 0.5
    assert [rule.contrast for rule in load_scenario(path, only=["two"]).rules] == ["two: x", "both"]
    for rules, words in (
        ([{"claim": "{data}", "contrast": "both"}], "its contrast does not"), ("abc", "rules"), (["abc"], r"rules\.0"),
        (None, "rules"),
    ):  # fmt: skip
        path.write_text(yaml.safe_dump({**DECLARED, "rules": rules}))
        with pytest.raises(UsageError, match=words):
            load_scenario(path)


def test_quick_overrides_and_only(declared: Path) -> None:
    full = load_scenario(declared)
    assert list(full.worlds) == ["one", "two"] and len(full.rules) == 3
    quick = load_scenario(declared, quick=True, overrides=["worlds.one.training.learning_rate=0.1"])
    assert list(quick.worlds) == ["one"] and quick.worlds["one"].training.steps == 5 and quick.rules == ()
    assert quick.worlds["one"].training.learning_rate == 0.1
    only = load_scenario(declared, only=["two"])
    assert only.partial and not full.partial and not load_scenario(declared, only=["two", "one"]).partial
    assert list(load_scenario(declared, only=["two", "one"]).worlds) == ["one", "two"], "as declared: parts go by it"
    assert load_scenario(declared, overrides=["worlds.two=null"]).partial and not quick.partial
    assert list(only.worlds) == ["two"] and [rule.contrast for rule in only.rules] == ["two: x", "both"]
    assert full.digest() != quick.digest() != only.digest()


def test_words_and_rules_can_change_without_measuring_again(declared: Path) -> None:
    before = load_scenario(declared).measured()
    after = load_scenario(declared, overrides=["title=Other", "rules=[]", "quick={}"]).measured()
    assert before == after != load_scenario(declared, overrides=["seed=1"]).measured()
    fetched = load_scenario(declared, overrides=["worlds.one.data.options.download=true"])
    assert fetched.measured() == before and fetched.worlds["one"].data.options["download"] is True
    assert load_scenario(declared, overrides=["worlds.one.data.options.limit=9"]).measured() != before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("worlds.one.training.stepz=3", "worlds.one.training.stepz"),
        ("originals=0", "originals"),
        ("worlds={}", "at least one data set"),
        ("worlds.one.training.batch_size=1000", "1000 is more than the 200 records"),
        ("rules.0.x=1", "no section"),
        ("seed", "key.path=value"),
    ],
)
def test_a_wrong_declaration_is_named(declared: Path, change: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_scenario(declared, overrides=[change])


def test_what_is_not_there_is_named(declared: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nothing\.yaml"):
        load_scenario(tmp_path / "nothing.yaml")
    with pytest.raises(NotFoundError, match="no data set 'three'"):
        load_scenario(declared, only=["three"])
    with pytest.raises(UsageError, match="read from a folder"):
        load_scenario(declared, data_dir=tmp_path)
    with pytest.raises(NotFoundError, match="no scenario 'barrier'") as caught:
        find_scenario("barrier")
    assert "barriers" in caught.value.hint


def test_own_options_are_checked() -> None:
    class Options(Strict):
        sets: int = 3

    assert checked_options(Options, {"sets": 4}, "own").sets == 4
    with pytest.raises(UsageError, match=r"options\.setz") as caught:
        checked_options(Options, {"setz": 4}, "own")
    assert "sets" in caught.value.hint


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_every_shipped_scenario_is_declared_whole(path: Path) -> None:
    """Full and quick; enough originals for a claim in full; rules only of data sets that are there."""
    full, quick = load_scenario(path), load_scenario(path, quick=True)
    assert full.originals >= FEWEST_ORIGINALS and full.rules
    assert full.scenario in SCENARIOS
    for config in (full, quick):
        named = {rule.contrast.partition(": ")[0] for rule in config.rules if ": " in rule.contrast}
        assert named <= {*config.worlds, EVERYWHERE}, path.stem
    assert callable(find_scenario(full.scenario))


def test_a_world_is_split_by_its_seed(declared: Path) -> None:
    config = load_scenario(declared).worlds["one"]
    world, same, other = (open_world("one", config, seed) for seed in (0, 0, 1))
    assert len(world.train) == 200 and len(world.held_out) == 50
    assert not {*world.train.record_ids} & {*world.held_out.record_ids}
    assert world.train.record_ids == same.train.record_ids != other.train.record_ids
    assert world.records(np.array([3, 7])).record_ids == tuple(world.train.record_ids[k] for k in (3, 7))
    too_many = config.model_copy(update={"data": config.data.model_copy(update={"train": 1790})})
    with pytest.raises(UsageError, match=r"has 1797"):
        open_world("one", too_many, 0)


def test_originals_differ_and_are_the_same_again(declared: Path, tmp_path: Path) -> None:
    config = load_scenario(declared)
    world = open_world("one", config.worlds["one"], 0)
    first = train_originals(world, Work(tmp_path / "a", "own", {}), 2)
    again = train_originals(world, Work(tmp_path / "b", "own", {}), 2)
    assert first[0].trajectory.digest == again[0].trajectory.digest != first[1].trajectory.digest
    assert (first[1].loss == again[1].loss).all() and first[0].losses.record_ids == world.train.record_ids
    assert final_phi(world, first[0]).shape == (200,) and mean_rank(first).shape == (200,)


def test_a_null_set_has_the_labels_and_none_of_the_records(declared: Path) -> None:
    world = open_world("one", load_scenario(declared).worlds["one"], 0)
    forget = np.flatnonzero(world.train.targets < 3)[:20]
    null = label_matched(world, forget, 0)
    assert not {*null.tolist()} & {*forget.tolist()}
    assert sorted(world.train.targets[null]) == sorted(world.train.targets[forget])
    with pytest.raises(UsageError, match="other records with label"):
        label_matched(world, np.flatnonzero(world.train.targets == 0), 0)


def test_parts_are_made_once_and_the_time_they_took_is_kept(tmp_path: Path) -> None:
    calls, told = [], []

    def make() -> dict[str, Any]:
        calls.append(1)
        return {"x": np.arange(3.0)}

    def work(depends: dict[str, Any]) -> Work:
        made = Work(tmp_path, "own", depends, lambda stage, done, total: told.append((done, total)))
        made.expect(10)
        return made

    first = work({"a": 1})
    assert first.get("part", make, 4)["x"].tolist() == [0, 1, 2] and told[-1] == (4, 10) and first.seconds == 0
    second = work({"a": 1})
    assert second.get("part", make, 4)["x"].tolist() == [0, 1, 2] and len(calls) == 1
    second.get("other", make, 6)
    assert told[-1] == (6, 6)
    assert work({"a": 2}).get("part", make, 4) and len(calls) == 3
    second.place("weights").joinpath("w").write_text("x")
    second.clear()
    assert not (second.folder / "work").exists() and (second.folder / "part.npz").is_file()


def test_a_part_says_which_code_made_it(tmp_path: Path) -> None:
    def made_by(code: str, *parts: str) -> set[str]:
        work = Work(tmp_path, "own", {}, code=code)
        found = [work.get(part, lambda: {"x": np.array(1.0)}) for part in parts]
        assert all(list(part) == ["x"] for part in found)
        return work.made_by

    assert made_by("old", "a") == {"old"}
    assert made_by("new", "a", "b") == {"old", "new"} and made_by("newer", "b") == {"new"}
    np.savez(Work(tmp_path, "own", {}).folder / "c.npz", x=1.0, **{"seconds taken": 1.0})
    assert made_by("new", "c") == {""}, "made before revisions were kept"


def test_a_part_that_fails_leaves_nothing(tmp_path: Path) -> None:
    work = Work(tmp_path, "own", {})
    with pytest.raises(ZeroDivisionError):
        work.get("part", lambda: {"x": np.array(1 / 0)})
    assert not list(work.folder.glob("*.npz"))
