"""Are the ways to ask `evaluate` for more refused in words, before any model is trained?"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cli.evidence_table import show_audit


@pytest.fixture(scope="module")
def house(new_house: Callable[..., Any]) -> Any:
    return new_house("evaluate")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--audit", "--shadows", "64"), ("--audit and --shadows at once",)),
        (("--shadows", "4"), ("--shadows",)),
        (
            ("--audit", "--set", "evaluation.evidence_level=pool", "--set", "evaluation.pool_models=0"),
            ("evaluation.pool_models",),
        ),
        (("--audit", "--set", "evaluation.evidence_level=oracel"), ("evaluation.evidence_level", "oracle-free")),
        (("--shadows", "64", "--set", "evaluation.pool_modles=3"), ("Did you mean 'pool_models'?",)),
    ],
)
def test_a_mistake_is_named(house: Any, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    refused = house.run("evaluate", *arguments, code=2)
    assert not refused.out
    for expected in words:
        assert expected in refused.err
    assert not (house.state / "zenml").exists(), "nothing was started"


def check(name: str, verdict: str, words: str, gating: bool = False) -> Any:
    return SimpleNamespace(name=name, verdict=verdict, words=words, gating=gating)


def test_both_verdicts_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    audited = SimpleNamespace(
        level="pool", checks=[check("pool_influence", "pass", "among the pool", True), check("utility", "pass", "good")]
    )
    audit = SimpleNamespace(
        level="oracle", oracles=SimpleNamespace(count=60),
        checks=[check("influence", "fail", "far away", True), check("utility", "no power", "no power: too few")],
    )  # fmt: skip
    show_audit(SimpleNamespace(audited=audited, audit=audit, words="The verdict does not stand."))
    said = " ".join("".join(" " if c in "│┃" else c for c in capsys.readouterr().out).split())
    assert "level pool" in said and "level oracle: 60 true oracles" in said
    assert "pool_influence pass (gates): among the pool not run" in said
    assert "influence not run fail (gates): far away" in said
    assert "utility pass: good no power: too few" in said
    assert said.endswith("The verdict does not stand.")
