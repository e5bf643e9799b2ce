"""Does a newcomer's own project work: made by `init`, run from inside, with mistakes answered in words?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("own")

SMALL = (
    "--set=calibration.bins=[0,10,100]", "--set=calibration.set_size=15", "--set=calibration.oracles=4",
    "--set=calibration.runs=1", "--set=calibration.rewind_shares=[0.4]", "--set=calibration.fine_tune_shares=[0.5]",
    "--set=calibration.folds=2", "--set=calibration.repeats=1", "--set=evaluation.verdict_oracles=20",
    "--set=training.steps=150", "--set=training.checkpoints=6",
)  # fmt: skip


@pytest.fixture(scope="module")
def own(new_house: Callable[..., Any]) -> Any:
    """A project made by `init`, trained and scored from inside, beside folders of the clone's own names."""
    parent = new_house("own")
    house = type(parent)(parent.root / "mine", parent.elsewhere)
    written = parent.run("init", house.root, named=False)
    assert f"wrote {house.root / 'expunge.yaml'}" in written.out
    for name in ("pipelines", "steps", "cli", "adapters"):
        (house.root / name).mkdir()
        (house.root / name / "__init__.py").write_text("raise RuntimeError('of another folder')\n")
    house.run("train", *SMALL, cwd=house.root, named=False)
    return house


def test_train_score_and_plan_from_inside(own: Any) -> None:
    assert own.versions() == {"1": "production"}
    scored = own.run("score", "--top", "5", "--json", cwd=own.root / "steps", named=False).json()
    assert all(row["record_id"].startswith("case-") for row in scored["hardest"])
    planned = own.run("plan", "hardest:0.05", "--json", cwd=own.root, named=False).json()
    assert planned["model_version"] == "my-model 1"
    assert own.run("status", "--json", cwd=own.root / "cli", named=False).json()["project"] == str(own.root)


def test_an_existing_file_is_not_overwritten(own: Any) -> None:
    before = {path: path.read_bytes() for path in own.root.glob("*.*") if path.is_file()}
    refused = own.run("init", own.root, code=2, named=False)
    assert "exists already" in refused.err and str(own.root) in refused.err
    assert {path: path.read_bytes() for path in before} == before


MISTAKES: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    "unknown record": (("request", "add", "-r", "case-9999"), 3, ("Unknown record 'case-9999'",)),
    "one unknown record of two": (("request", "add", "-r", "case-0001", "-r", "case-9999"), 3, ("'case-9999'",)),
    "unknown person": (("request", "add", "-s", "patient-9999"), 3, ("no subject 'patient-9999'",)),
    "no record at all": (("request", "add"), 2, ("neither records nor a person",)),
    "unusable request id": (("request", "add", "-r", "case-0001", "--id", "a b@c"), 2, ("'a b@c'", "cannot be used")),
    "unknown regulation": (("request", "add", "-r", "case-0001", "--regulation", "gdrp"), 2, ("gdrp", "gdpr")),
    "unknown data set": (("train", "--set", "data.name=digitz"), 2, ("'digitz'", "Did you mean 'digits'?")),
    "unknown section": (("train", "--set", "trainin.steps=3"), 2, ("'trainin'", "Did you mean 'training'?")),
    "unknown key": (("train", "--set", "training.stepz=3"), 2, ("'training.stepz'", "Did you mean 'steps'?")),
    "value out of range": (("train", "--set", "training.steps=-3"), 2, ("training.steps", "-3")),
    "no assignment": (("train", "--set", "training.steps"), 2, ("key.path=value",)),
    "unknown model": (("train", "--set", "model.name=mlpp", "--set", "model.options={}"), 2, ("Did you mean 'mlp'?",)),
    "model option": (("train", "--set", "model.options={hiden: 3}"), 2, ("'hiden'", "Did you mean 'hidden'?")),
    "outputs that are no classes": (
        ("train", "--set", "model.name=wide:make", "--set", "model.options={}"), 2, ("(2, 3)", "2 classes"),
    ),
    "no such function": (("train", "--set", "model.name=wide:mak", "--set", "model.options={}"), 3, ("'mak'",)),
    "missing ids": (
        ("train", "--set", "data.name=tabular", "--set", "data.options={path: missing.csv, id: i, target: y}"),
        2, ("1 record(s) have no record id", "first at row 1"),
    ),
    "duplicate ids": (
        ("train", "--set", "data.name=tabular", "--set", "data.options={path: twice.csv, id: i, target: y}"),
        2, ("appear more than once", "'r1'"),
    ),
    "unknown column": (
        ("train", "--set", "data.name=tabular", "--set", "data.options={path: twice.csv, id: j, target: y}"),
        2, ("no column 'j'",),
    ),
    "a set that is everything": (("plan", "hardest:0.99"), 2, ("leaves", "destroy the model")),
    "more than everything": (("plan", "hardest:1.5"), 2, ("between 0 and 1",)),
    "no such kind of set": (("plan", "hardes:0.1"), 2, ("Did you mean 'hardest'?",)),
    "a set of unknown records": (("plan", "records:case-9999"), 3, ("'case-9999'", "Did you mean 'case-0499'?")),
    "unknown request": (("request", "show", "nope"), 3, ("'nope'",)),
    "unknown status": (("request", "list", "--status", "closd"), 2, ("Did you mean 'closed'?",)),
    "unknown time span": (("run-due", "--within", "soon"), 2, ("'soon'", "7d")),
    "unknown configuration": (("train", "-c", "nowhere.yaml"), 3, ("nowhere.yaml",)),
    "unknown option": (("train", "--colour"), 2, ("--colour",)),
    "unknown verb": (("trian",), 2, ("Did you mean 'train'?",)),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_and_changes_nothing(own: Any, mistake: str) -> None:
    (own.root / "wide.py").write_text(
        "from torch import nn\n\n\ndef make(in_shape, classes):\n    return nn.Linear(in_shape[0], classes + 1)\n"
    )
    (own.root / "missing.csv").write_text("i,y,a\nr1,0,1\n,1,2\nr3,0,3\n")
    (own.root / "twice.csv").write_text("i,y,a\nr1,0,1\nr1,1,2\nr3,0,3\n")
    arguments, code, words = MISTAKES[mistake]
    before = own.counts()
    refused = own.run(*arguments, code=code)
    for expected in words:
        assert expected in refused.err
    assert not refused.out and len(refused.err.strip().splitlines()) <= 5
    assert own.counts() == before


def test_a_loss_that_is_not_a_number(own: Any) -> None:
    before = own.counts()
    refused = own.run("train", "--set", "training.learning_rate=1e30", code=1)
    assert "NaN or infinite at step" in refused.err and "training.learning_rate" in refused.err
    after = own.counts()
    # ZenML keeps the failed run and what its first step made: the manifests of the records, no model, no checkpoint.
    assert after.pop("artifacts") - before.pop("artifacts") == 2
    assert after == before


def test_no_such_folder(own: Any, tmp_path: Path) -> None:
    refused = own.run("--project", tmp_path / "nowhere", "status", code=3, named=False)
    assert str(tmp_path / "nowhere") in refused.err
