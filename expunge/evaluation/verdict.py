"""From ranks to a verdict: pass, fail or no power, with both controls and the power of the check (METHOD section 7).

A check hands over one ``Standing`` a model: its statistic, its rank p-value among the oracles and whether it is within
the margin. The rule is the same for every check, so that none can be kinder than another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, t

from expunge.evaluation.evidence import CheckResult, Control, HolmRow, Power, Verdict
from expunge.evaluation.settings import EvaluationSettings

Array = NDArray[np.float64]
# Three gating checks have a positive control each: at 1 % they spoil 3 % of verdicts at most.
CONTROL_LEVEL = 0.01
TOLERANCE = 1e-9
SEEN_NEEDED = 0.8


@dataclass(frozen=True)
class Standing:
    """Where one model stands among the oracles. ``negligible``: its whole interval lies inside the margin."""

    statistic: float
    p_value: float
    negligible: bool = False

    def fails(self, level: float) -> bool:
        """Too far from the oracles at this level, by more than the margin.

        p = level counts as too far: n = 1/level - 1 oracles (19 at 5 %) then reach the level exactly, and a true
        oracle fails with probability floor(level (n + 1)) / (n + 1) <= level.
        """
        return self.p_value <= level + TOLERANCE and not self.negligible


@dataclass(frozen=True)
class PlantedStanding:
    """A planted set of the same size: the original's standing on it and its held-back oracles'.

    ``seen`` is the share of equally large subsets of the planted set on which the original fails.
    """

    original: Standing
    held_back: Sequence[Standing]
    seen: float


@dataclass(frozen=True)
class Judgement:
    """A verdict with what it rests on; ``reason`` finishes the sentence that the check's words begin."""

    verdict: Verdict
    little_remembered: bool
    controls: dict[str, Control]
    power: Power
    reason: str


def rank_p(candidate: float, references: Array) -> tuple[int, float]:
    """Place of a distance among n references (1 = farthest; ties count as at least as far), and p = place / (n + 1)."""
    slack = TOLERANCE * max(1.0, abs(candidate))
    place = 1 + int((references >= candidate - slack).sum())
    return place, place / (len(references) + 1)


def oracles_needed(level: float) -> int:
    """Fewest oracles with which a rank p-value can reach the level: ceil(1/level) - 1."""
    return math.ceil(1 / level - TOLERANCE) - 1


def without_oracles(name: str, title: str, settings: EvaluationSettings) -> CheckResult:
    """The result of a check that compares with oracles where there are none: no power, and how many it needs."""
    note = f"no oracles, a verdict at level {settings.level:.3g} needs {oracles_needed(settings.level)}"
    return CheckResult(
        name=name,
        title=title,
        power=Power(note=note),
        verdict="no power",
        words=f"no power: {note}",
        details={"oracles": 0, "oracles_needed": oracles_needed(settings.level)},
    )


def single_model_interval(
    difference: float, spread: float, oracles: int, confidence: float = 0.90
) -> tuple[float, float]:
    """Interval of (one model - the oracles' mean), its own spread taken from the oracles': t with R - 1 degrees."""
    half = float(t.ppf(0.5 + confidence / 2, oracles - 1)) * spread * math.sqrt(1 + 1 / oracles)
    return difference - half, difference + half


def held_back_control(held_back: Sequence[Standing], level: float, note: str = "") -> Control:
    """Positive control: it holds unless so many held-back oracles fail that a rate of ``level`` is implausible."""
    if not held_back:
        return Control(expected="pass", verdict="no power", passes=0, of=0, note="no held-back oracle was given")
    failed = sum(standing.fails(level) for standing in held_back)
    implausible = float(binom.sf(failed - 1, len(held_back), level)) < CONTROL_LEVEL if failed else False
    passed = len(held_back) - failed
    middle = sorted(held_back, key=lambda standing: standing.p_value)[len(held_back) // 2]
    return Control(
        expected="pass",
        verdict="fail" if implausible or passed == 0 else "pass",
        statistic=middle.statistic,
        p_value=middle.p_value,
        passes=passed,
        of=len(held_back),
        note=f"{passed} of {len(held_back)} held-back oracles pass{note}",
    )


def original_control(original: Standing, level: float, note: str = "") -> Control:
    """Negative control: the original, which trained on the records, must fail."""
    return Control(
        expected="fail",
        verdict="fail" if original.fails(level) else "pass",
        statistic=original.statistic,
        p_value=original.p_value,
        note=note,
    )


def measured_power(held_back: Sequence[Standing], half_kept: Sequence[Standing], level: float, note: str = "") -> Power:
    """Shares of held-back oracles that pass and of half-kept models that do not."""
    return Power(
        pass_given_oracle=_share([not standing.fails(level) for standing in held_back]),
        not_pass_given_half=_share([standing.fails(level) for standing in half_kept]),
        models=len(half_kept),
        seen=[standing.fails(level) for standing in half_kept],
        note=note if half_kept else "no model with half of the forget set kept was given",
    )


def _share(outcomes: list[bool]) -> float | None:
    return sum(outcomes) / len(outcomes) if outcomes else None


def judge(
    unlearned: Standing,
    original: Standing,
    held_back: Sequence[Standing],
    half_kept: Sequence[Standing],
    *,
    oracles: int,
    settings: EvaluationSettings,
    planted: PlantedStanding | None = None,
    need_half: bool = True,
) -> Judgement:
    """The verdict of one check on one model.

    no power: too few oracles for the level; a control that does not hold; half forgotten not told apart. fail: p at
    or under the level and beyond the margin. pass: not failing, the original failing, power shown. Where the
    original does not fail either, a planted set decides: seen there, "little was remembered" (a pass in weaker words).
    """
    level = settings.level
    controls = {"original": original_control(original, level), "oracle": held_back_control(held_back, level)}
    power = measured_power(held_back, half_kept, level)

    def result(verdict: Verdict, reason: str, little: bool = False) -> Judgement:
        return Judgement(verdict, little, controls, power, reason)

    needed = oracles_needed(level)
    if oracles < needed:
        return result("no power", f"indicative: {oracles} oracles, a verdict at level {level:.3g} needs {needed}")
    if not controls["oracle"].holds:
        return result("no power", f"the check cannot be trusted: {controls['oracle'].note}")
    if unlearned.fails(level):
        return result("fail", "unlike models that never saw the records")
    if original.fails(level):
        half = power.not_pass_given_half
        if unlearned.negligible or not need_half or settings.power_needed == 0:
            return result("pass", "like models that never saw the records")
        if half is None:
            return result("no power", "no half-kept models: it is not known whether half forgotten would be seen")
        if half < settings.power_needed - TOLERANCE:
            power = power.model_copy(update={"too_low": True})
            return result(
                "no power",
                f"half forgotten is seen in {half:.0%} of {power.models} models, {settings.power_needed:.0%} asked",
            )
        return result("pass", "like models that never saw the records")
    if planted is None:
        return result("no power", "the original passes too and no planted set shows that the check would see more")
    controls["oracle"] = held_back_control(planted.held_back, level, " on the planted set")
    controls["original"] = original_control(
        planted.original, level, f"on a planted set; {planted.seen:.0%} of subsets of this size are seen"
    )
    power = measured_power(held_back, half_kept, level, "little was remembered; the planted set shows the sensitivity")
    seen = planted.seen >= (settings.power_needed or SEEN_NEEDED) - TOLERANCE and all(
        control.holds for control in controls.values()
    )
    if not seen:
        return result("no power", "the original passes too and the check does not see a planted set of this size")
    return result("pass", "the original is already like models that never saw the records", little=True)


def holm(results: Sequence[CheckResult], level: float) -> list[HolmRow]:
    """Holm's steps over the gating checks, smallest p first: step i of k is held against level / (k - i).

    A difference within the margin is never rejected, and the first step that is not rejected ends it.
    """
    ordered = sorted(results, key=lambda result: 1.0 if result.p_value is None else result.p_value)
    rows: list[HolmRow] = []
    going = True
    for step, result in enumerate(ordered):
        own = level / (len(ordered) - step)
        reached = result.p_value is not None and result.p_value <= own + TOLERANCE
        going = going and reached and not result.details.get("negligible", False)
        rows.append(HolmRow(name=result.name, p_value=result.p_value, level=own, rejected=going))
    return rows
