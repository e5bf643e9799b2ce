"""The scenario `adaptive`: its rules ask for what it measures, its words follow the numbers, its quick form runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from expunge.reproduction.adaptive import arms as names
from expunge.reproduction.adaptive import measure
from expunge.reproduction.adaptive.arms import at
from expunge.reproduction.adaptive.left import Left, all_sets
from expunge.reproduction.adaptive.planner import KEEP, RETRAIN
from expunge.reproduction.adaptive.report import findings_of
from expunge.reproduction.adaptive.words import contrast
from expunge.reproduction.config import load_scenario
from expunge.reproduction.findings import Findings
from expunge.reproduction.rules import conclude
from expunge.reproduction.work import Work

DECLARED = Path(__file__).parents[2] / "configs" / "reproduce" / "adaptive.yaml"
BUDGETS = {0.05: 0.07, 0.1: 0.12, 0.2: 0.22, 0.4: 0.42}
SETS, M, ORIGINALS = 6, 10, 6


def made_up(shares: dict[str, float], memory: float = 3.0, seed: int = 0) -> Any:
    """What `measured` would give, of arms that leave these shares (all others: a half) whatever the budget."""
    rng = np.random.default_rng(seed)
    arms = (names.ORIGINAL, names.RETRAINED, *(at(arm, b) for b in BUDGETS for arm in names.SPENDING))
    told = {names.ORIGINAL: 1.0, names.RETRAINED: 0.0} | shares

    def left(kept: tuple[str, ...], sets: int) -> Left:
        added = memory * rng.lognormal(0, 0.3, (sets, M))
        share = np.array([told.get(arm.partition(" at ")[0], 0.5) for arm in kept])
        unlearned = share[None, :, None, None] * added + rng.standard_normal((ORIGINALS, len(kept), sets, M))
        oracles = rng.standard_normal((ORIGINALS, sets, 3, M))
        return Left(kept, all_sets(unlearned, oracles, added + 0.5 * rng.standard_normal((ORIGINALS, sets, M))))

    matched = (names.ORIGINAL, names.RETRAINED, *(at(arm, b) for b in BUDGETS for arm in names.ON_MATCHED))
    plans = {arm: [KEEP] * 5 + [RETRAIN] for arm in arms}
    predictor = SimpleNamespace(measurable=(1, 2), pilots=(1, 2, 3), nothing_below=10.0)
    sets = SimpleNamespace(measured=range(4, 10), matched=range(10, 12), calibration=range(4), size=M)
    own = SimpleNamespace(
        budgets=BUDGETS, best=dict.fromkeys(BUDGETS, KEEP), planner=SimpleNamespace(predictor=predictor),
        scores=SimpleNamespace(loss=rng.lognormal(0, 1, (ORIGINALS, 12))),
    )  # fmt: skip
    costs = {arm: 0.1 + k / 100 for k, arm in enumerate(arms)}
    return SimpleNamespace(
        world=SimpleNamespace(name="digits"), options=SimpleNamespace(oracles=3), sets=sets, arms=own,
        ways=SimpleNamespace(cost=lambda way: float(way == RETRAIN)), plans=[plans] * ORIGINALS,
        left=left(arms, SETS), matched=left(matched, 2), costs=costs, matched_costs=costs,
        accuracy_lost=dict.fromkeys(arms, 0.001),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("planner", "best", "verdict", "words"),
    [
        (0.1, 0.6, "supported", "below 0: adapting left less"),
        (0.6, 0.1, "not supported", "above 0: adapting left more"),
        (0.3, 0.3, "undecided", "holds 0: neither is shown to leave less"),
    ],
)
def test_verdict_and_words_follow_what_was_planted(planner: float, best: float, verdict: str, words: str) -> None:
    found = findings_of(made_up({names.PLANNER: planner, names.BEST: best}))
    one = found.estimates[f"digits: {contrast(names.PLANNER, names.BEST)}"]
    assert one.value == pytest.approx(planner - best, abs=0.15)
    rules = load_scenario(DECLARED, only=["digits"]).rules
    told = {c.contrast: c for c in conclude(rules, found)}
    assert told[f"digits: {contrast(names.PLANNER, names.BEST)}"].verdict == verdict
    sentence = next(s for s in found.answer if "The planner left" in s)
    assert words in sentence.partition("The allocation")[0]


def test_every_rule_asks_for_what_is_measured_and_the_controls_hold() -> None:
    config = load_scenario(DECLARED, only=["digits"])
    assert tuple(config.options["budgets"]) == tuple(BUDGETS)
    told = {c.claim: c for c in conclude(config.rules, findings_of(made_up({}, memory=8.0)))}
    assert told["digits: retraining leaves next to nothing"].verdict == "supported"
    assert told["digits: untouched originals hold the influence"].verdict == "supported"
    digits = {rule.contrast.replace("digits", "census") for rule in config.rules}
    assert digits == {rule.contrast for rule in load_scenario(DECLARED, only=["census"]).rules}


def test_where_nothing_was_remembered_nothing_is_compared() -> None:
    found = findings_of(made_up({}, memory=0.0))
    assert "held too little" in found.not_estimable[f"digits: {contrast(names.PLANNER, names.BEST)}"]
    assert "nothing is compared" in found.answer[0]
    assert [figure.name for figure in found.figures] == ["adaptive-plans-digits"]
    assert all(row[2] is None and row[3] is None for row in found.tables[0].rows)
    conclusions = conclude(load_scenario(DECLARED, only=["digits"]).rules, found)
    assert {one.verdict for one in conclusions} == {"undecided"}


@pytest.mark.slow
def test_the_quick_form_runs_and_goes_on_from_its_parts(tmp_path: Path) -> None:
    config = load_scenario(DECLARED, quick=True, only=["digits"])
    told: list[tuple[int, int]] = []

    def run() -> Findings:
        work = Work(tmp_path, "adaptive", config.measured(), lambda _, done, total: told.append((done, total)))
        return measure(config, work)

    found = run()
    assert told[-1][0] == told[-1][1]
    done = len(told)
    assert run() == found and len(told) == done
    conclusions = conclude(config.rules, found, incomplete="a quick run")
    assert {one.verdict for one in conclusions} == {"undecided"}
    assert {figure.name for figure in found.figures} == {
        "adaptive-digits", "adaptive-differences-digits", "adaptive-plans-digits"
    }  # fmt: skip
    for figure in found.figures:
        assert any(series.kind.startswith("null") for series in figure.series)
    for row in found.tables[-1].rows:
        assert float(row[3]) <= float(row[2]) + 1e-6
