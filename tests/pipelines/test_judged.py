"""Which evidence is audited, and what is refused: nothing judged, oracles judged, destroyed, requested since."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from adapters import artifacts
from expunge.errors import NotFoundError, UsageError
from pipelines import judged

PARTS = ("trajectory", "forget_set", "training_records", "held_out_records", "unlearning_run")


class Project:
    """Versions of artifacts, newest first, and who was destroyed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known: list[Any] = []
        monkeypatch.setattr(artifacts, "versions", self.versions)

    def versions(self, name: str | None = None, *, present_only: bool = False, **_: Any) -> list[Any]:
        found = [v for v in self.known if name in (None, v.name)]
        return [v for v in found if not (present_only and artifacts.is_destroyed(v))]

    def add(self, name: str, **facts: Any) -> Any:
        made = SimpleNamespace(id=f"{name}-{len(self.known)}", name=name, run_metadata=facts)
        self.known.insert(0, made)
        return made

    def judge(self, level: str) -> Any:
        parts = {name: [self.add(name)] for name in PARTS}
        outputs = self.add("evaluation_outputs")
        step = SimpleNamespace(inputs=parts, outputs={"evaluation_outputs": [outputs]})
        evidence = self.add("evidence", level=level)
        evidence.run = SimpleNamespace(steps={"train_references": step})
        return evidence


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(monkeypatch)


def destroy(version: Any) -> None:
    version.run_metadata[artifacts.DESTROYED_AT] = "then"


def test_the_newest_of_the_levels_is_taken_with_its_parts(project: Project) -> None:
    wanted = project.judge("pool")
    newer = project.judge("oracle")
    found, parts = judged.newest_judged(("pool", "oracle-free"))
    assert found is wanted and set(parts) == {*PARTS, "evaluation_outputs"}
    assert parts["trajectory"] is wanted.run.steps["train_references"].inputs["trajectory"][0]
    assert judged.newest_judged()[0] is newer
    assert judged.by_id(judged.ids(parts)) == parts


def test_nothing_to_audit_is_said(project: Project) -> None:
    with pytest.raises(NotFoundError, match="Nothing was unlearned"):
        judged.newest_judged()
    project.judge("oracle")
    with pytest.raises(NotFoundError, match="level oracle: true oracles judged it"):
        judged.newest_judged(("pool", "oracle-free"))


@pytest.mark.parametrize("part", ["evaluation_outputs", "trajectory", "forget_set"])
def test_what_a_purge_destroyed_cannot_be_audited(project: Project, part: str) -> None:
    project.judge("pool")
    destroy(next(v for v in project.known if v.name == part))
    with pytest.raises(NotFoundError, match=r"destroyed with the records.*expunge forget hardest"):
        judged.newest_judged()


def test_no_model_is_trained_on_requested_records(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.judge("pool")
    _, parts = judged.newest_judged()
    tables = {"training_records": ("a", "b", "c"), "forget_set": ("a",)}
    monkeypatch.setattr(artifacts, "load", lambda version: SimpleNamespace(record_ids=tables[version.name]))
    requested: set[str] = set()
    ledger = SimpleNamespace(quarantined_among=lambda ids: requested & set(ids))
    monkeypatch.setattr(judged, "open_ledger", lambda: contextlib.nullcontext(ledger))
    judged.refuse_requested(parts, but_forget_set=False)
    requested.add("a")  # oracles leave the forget set out; shadows train on half of it
    judged.refuse_requested(parts, but_forget_set=True)
    with pytest.raises(UsageError, match=r"1 of the records .* under a deletion request\. .*expunge run-due"):
        judged.refuse_requested(parts, but_forget_set=False)
    requested.add("b")
    with pytest.raises(UsageError, match="1 of the records"):
        judged.refuse_requested(parts, but_forget_set=True)
