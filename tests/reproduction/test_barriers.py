"""The scenario `barriers` end to end, in its quick form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expunge.errors import UsageError
from expunge.reproduction.config import load_scenario
from expunge.reproduction.registry import find_scenario
from expunge.reproduction.rules import conclude
from expunge.reproduction.work import Work

CONFIG = Path(__file__).parents[2] / "configs" / "reproduce" / "barriers.yaml"


def test_sets_must_fit_the_data(tmp_path: Path) -> None:
    config = load_scenario(CONFIG, quick=True, overrides=["options.forget=200"])
    with pytest.raises(UsageError, match="more than its 400"):
        find_scenario(config.scenario)(config, Work(tmp_path, "barriers", {}))


def test_rules_name_a_minimum_and_one_family() -> None:
    rules = load_scenario(CONFIG).rules
    assert {rule.family for rule in rules} == {"barriers"}
    assert all(rule.minimum == (0.5 if "growth" in rule.contrast else 0.1) for rule in rules)


@pytest.mark.slow
def test_quick_form(tmp_path: Path) -> None:
    config = load_scenario(CONFIG, quick=True)
    measure = find_scenario(config.scenario)
    told: list[tuple[str, int, int]] = []
    depends = {"config": config.digest()}
    found = measure(config, Work(tmp_path, "barriers", depends, lambda *step: told.append(step)))
    conclusions = conclude(config.rules, found, incomplete="a quick run")
    assert len(conclusions) == len(config.rules)
    assert all(any(series.kind == "null" for series in figure.series) for figure in found.figures)
    assert told[-1][1] == told[-1][2] > 0
    assert all(np.isfinite(e.value) for e in found.estimates.values())
    told.clear()
    again = measure(config, Work(tmp_path, "barriers", depends, lambda *step: told.append(step)))
    assert again == found and not told
