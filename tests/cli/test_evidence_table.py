"""The table of `expunge evaluate`: figures with intervals, controls, power, and what to do where there is none."""

from __future__ import annotations

import pytest
import samples

from cli.evidence_table import show_evidence


def shown(capsys: pytest.CaptureFixture[str], kind: str) -> str:
    found = samples.rich() if kind == "rich" else samples.evidence(kind)
    show_evidence(found, samples.decision(found))
    printed = capsys.readouterr().out
    return " ".join("".join(" " if c in "│┃" else c for c in printed).split())


def test_every_check_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "rich")
    for check in samples.rich().checks:
        assert check.name in text
    assert "influence (gates)" in text and "original fails" in text and "oracle passes" in text and "100% of 10" in text
    own = samples.rich().check("influence").values["unlearned"]
    assert f"this {own.value:.3g} [{own.interval[0]:.3g}, {own.interval[1]:.3g}]" in text
    assert "Gate passed" in text and "level of evidence: oracle, 20 models" in text
    assert "u_lira had no power. To do: train about 96 shadow models (`expunge evaluate --shadows 96`)." in text
    assert "mystery had no power. To do: ask its author." in text
    assert "warning: flat privacy-loss distribution" in text


def test_a_refusal_says_what_is_not_fine(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "untouched")
    assert "Gate refused" in text and "not fine: influence: not forgotten" in text


def test_too_few_records_say_how_many_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "small")
    assert "mia_loss had no power. To do: answer requests together until they name 20 records" in text
