"""The MODEL claim: calibrated ranks, both controls, power, and the planted-set rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from laws import World
from scipy.stats import binom

from expunge.evaluation import EvaluationSettings
from expunge.evaluation.evidence import CheckResult
from expunge.evaluation.oracle_reference import OracleReference
from expunge.evaluation.planted import planted_standing
from expunge.evaluation.rank import influence_check
from expunge.evaluation.verdict import Standing, held_back_control, holm, oracles_needed, rank_p

SETTINGS = EvaluationSettings()


@pytest.mark.parametrize(
    ("oracles", "records", "together"), [(19, 60, 0.0), (40, 60, 0.1), (40, 1, 0.0), (40, 600, 0.02)]
)
def test_an_oracle_fails_as_often_as_the_level_says(oracles: int, records: int, together: float) -> None:
    rng = np.random.default_rng(oracles + records)
    trials, failed = 400, 0
    for _ in range(trials):
        sd = np.exp(rng.normal(0, 0.5, records))
        noise = np.sqrt(1 - together) * rng.normal(size=(oracles + 1, records))
        noise += np.sqrt(together) * rng.normal(size=(oracles + 1, 1))
        phi = rng.normal(0, 2, records) + sd * noise
        failed += OracleReference(phi[1:]).rank(phi[0]).p_value <= 0.05 + 1e-9
    rate = np.floor(0.05 * (oracles + 1)) / (oracles + 1)
    low, high = binom.ppf([0.0005, 0.9995], trials, rate)
    assert low <= failed <= high


def test_leave_one_out_distances_are_those_of_a_loop() -> None:
    phi = np.random.default_rng(0).normal(size=(12, 7))
    reference = OracleReference(phi, variance_floor=0.0)
    for j in range(12):
        rest = np.delete(phi, j, axis=0)
        expected = np.sqrt(((phi[j] - rest.mean(0)) ** 2 / rest.var(0, ddof=1)).mean())
        assert reference.own_distances()[j] == pytest.approx(expected, rel=1e-10)


def test_ranks_and_levels() -> None:
    assert rank_p(5.0, np.array([1.0, 2.0, 3.0])) == (1, 0.25)
    assert rank_p(2.0, np.array([1.0, 2.0, 3.0])) == (3, 0.75)
    assert [oracles_needed(0.05 / k) for k in (1, 2, 3)] == [19, 39, 59]
    assert Standing(1.0, 1 / 20).fails(0.05) and not Standing(1.0, 2 / 20).fails(0.05)
    assert Standing(1.0, 1 / 60).fails(0.05 / 3)


@pytest.mark.parametrize(
    ("failing", "of", "verdict"),
    [(0, 5, "pass"), (1, 5, "pass"), (2, 5, "pass"), (3, 5, "fail"), (1, 1, "fail"), (3, 40, "pass")],
)
def test_the_positive_control_tolerates_what_the_level_explains(failing: int, of: int, verdict: str) -> None:
    standings = [Standing(9.0, 0.01)] * failing + [Standing(1.0, 0.5)] * (of - failing)
    control = held_back_control(standings, 0.05)
    assert control.verdict == verdict
    assert (control.passes, control.of) == (of - failing, of)
    assert control.note == f"{of - failing} of {of} held-back oracles pass"


@pytest.mark.parametrize(
    ("kind", "verdict", "words"),
    [
        ("oracle", "pass", "forgotten: indistinguishable"),
        ("untouched", "fail", "not forgotten: closer to the original"),
        ("half", "fail", "not forgotten"),
        ("over", "fail", "over-forgotten"),
        ("constant", "fail", "same output for every record"),
    ],
)
def test_truth_by_construction(kind: str, verdict: str, words: str) -> None:
    result = influence_check(World(seed=3).build(kind), SETTINGS)
    assert result.verdict == verdict and words in result.words
    assert result.controls["original"].verdict == "fail" and result.controls["original"].p_value == pytest.approx(
        1 / 41
    )
    assert result.controls["oracle"].verdict == "pass" and result.controls["oracle"].of == 5
    assert result.sound and result.power.not_pass_given_half == 1.0 and result.power.models == 10
    assert f"rank {round(result.p_value * 41)} of 41" in result.words or kind == "constant"


def test_the_original_behind_a_temperature_fails() -> None:
    inputs = World(seed=4).build()
    for temperature in (0.5, 2.0, 5.0):
        assert influence_check(replace(inputs, unlearned=inputs.original / temperature), SETTINGS).verdict == "fail"


def test_no_verdict_without_enough_oracles_controls_or_power() -> None:
    few = influence_check(World(oracles=12).build("untouched"), SETTINGS)
    assert few.verdict == "no power" and "12 oracles, a verdict at level 0.05 needs 19" in few.words
    assert few.details["indicative"] is True
    lone = influence_check(World(held_back=0).build(), SETTINGS)
    assert lone.verdict == "no power" and "no held-back oracle" in lone.words
    blind = influence_check(World(half_kept=0).build(), SETTINGS)
    assert blind.verdict == "no power" and "half" in blind.words
    assert (
        influence_check(World(half_kept=0).build(), SETTINGS.model_copy(update={"power_needed": 0.0})).verdict == "pass"
    )
    weak = influence_check(World(shift=0.8, seed=1).build(), SETTINGS)
    assert weak.controls["original"].verdict == "fail" and weak.power.not_pass_given_half < 0.8
    assert weak.verdict == "no power" and "half forgotten is seen in" in weak.words


def test_a_broken_positive_control_takes_the_verdict_away() -> None:
    inputs = World().build("untouched")
    broken = replace(inputs, held_back=inputs.half_kept[:3], half_kept=inputs.half_kept[3:])
    result = influence_check(broken, SETTINGS)
    assert result.verdict == "no power" and "cannot be trusted: 0 of 3" in result.words and not result.sound


def test_the_planted_set_tells_little_from_blind() -> None:
    world = World(shift=0.0)
    result = influence_check(world.build(planted=True), SETTINGS)
    assert result.verdict == "pass" and result.little_remembered and result.words.startswith("little was remembered")
    assert result.sound and "planted set" in result.controls["original"].note
    without = influence_check(world.build(), SETTINGS)
    assert without.verdict == "no power" and not without.sound and "no planted set" in without.words
    unseen = world.plant(np.random.default_rng(0), shift=0.0)
    blind = influence_check(replace(world.build(), planted=unseen), SETTINGS)
    assert blind.verdict == "no power" and "does not see a planted set" in blind.words


def test_a_check_that_sees_sixty_four_records_need_not_see_one() -> None:
    planted = World().plant(np.random.default_rng(1), shift=0.9)
    whole = planted_standing(planted, 64, SETTINGS)
    single = planted_standing(planted, 1, SETTINGS)
    assert whole.seen == 1.0 and single.seen < 0.8


def test_holm_stops_at_the_first_that_holds() -> None:
    base = influence_check(World().build(), SETTINGS)

    def made(name: str, p: float | None) -> CheckResult:
        return base.model_copy(update={"name": name, "p_value": p})

    rows = holm([made("a", 0.03), made("b", 0.01), made("c", None)], 0.05)
    assert [(row.name, row.rejected) for row in rows] == [("b", True), ("a", False), ("c", False)]
    assert [row.level for row in rows] == pytest.approx([0.05 / 3, 0.05 / 2, 0.05])
    rows = holm([made("a", 0.024), made("b", 0.01)], 0.05)
    assert [row.rejected for row in rows] == [True, True]
