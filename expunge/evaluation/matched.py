"""Does the model treat the forget records like records it never saw? No retrained model: the weakest evidence.

Every forget record is paired with a held-out record of the same label and nearly the same cross-fitted difficulty.
With e = phi - what a line over held-out records predicts from the cross-fitted phi, d_i = e_forget - e_partner is what
the model shows of record i beyond its difficulty: c_i for the unlearned model, x_i for the original. share left =
mean c / mean x (0 forgotten, 1 untouched), its interval by the paired bootstrap over pairs (Efron 1979). An equivalence
test, both ways. What it cannot see: forget records that differ from their partners for another reason than memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.attacks import Matching, match
from expunge.evaluation.evidence import CheckResult, Control, Power, RoleValue, Verdict
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.settings import EvaluationSettings

Array = NDArray[np.float64]
Index = NDArray[np.int64]
NAME = "matched"
TITLE = "Like held-out records of the same label and difficulty (no oracle)"
DRAWS = 2000
HALVES = 20
CONTROL_Z = 2.576  # 99 %: one honest run in a hundred loses its verdict to the control


@dataclass(frozen=True)
class ShareLeft:
    """mean c / mean x with its interval and the p-value of "within the margin"; None where mean x may be zero."""

    value: float
    interval: tuple[float, float]
    p_value: float
    verdict: Verdict


class _Pairs:
    """Paired differences of any model (phi [n]) and bootstrap means over pairs, the same draws for every model."""

    def __init__(self, inputs: EvaluationInputs, matching: Matching, settings: EvaluationSettings) -> None:
        self.matching, self.held_out, self.cross_fitted = matching, inputs.held_out, -inputs.difficulty
        self.margin, self.level = settings.matched_margin, settings.level
        size = len(matching.members)
        rng = np.random.default_rng(settings.seed)
        self.weights = rng.multinomial(size, np.full(size, 1 / size), DRAWS) / size

    def differences(self, phi: Array) -> Array:
        """e_forget - e_partner: [n] -> [pairs]."""
        slope = _slope(self.cross_fitted[self.held_out], phi[self.held_out])
        e = phi - slope * self.cross_fitted
        result: Array = e[self.matching.members] - e[self.matching.others]
        return result

    def mean(self, differences: Array) -> tuple[float, tuple[float, float]]:
        """Mean and its interval, 1 - 2 level."""
        low, high = np.quantile(self.weights @ differences, [self.level, 1 - self.level])
        return float(differences.mean()), (float(low), float(high))

    def share(self, model: Array, original: Array) -> ShareLeft:
        """The original's mean must be above zero in (nearly) every draw."""
        below = self.weights @ original
        ratios = (self.weights @ model)[below > 0] / below[below > 0]
        low, high = (float(value) for value in np.quantile(ratios, [self.level, 1 - self.level]))
        inside = -self.margin <= low and high <= self.margin
        outside = low > self.margin or high < -self.margin
        within = np.mean(ratios <= self.margin), np.mean(ratios >= -self.margin)
        return ShareLeft(
            value=float(model.mean() / original.mean()),
            interval=(low, high),
            p_value=(1 + float(min(within)) * DRAWS) / (DRAWS + 1),
            verdict="pass" if inside else "fail" if outside else "no power",
        )


def matched_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """The share of the original's memory that matched held-out records still show.

    pass: the whole interval (90 % at level .05) within ``matched_margin``; fail: wholly outside, over-forgetting too;
    else no power, with the number of records that would do. Controls: the original's own difference is above zero, and
    the partners, taken for forget records, read zero. No retrained model is needed or looked at, but held-back and
    half-kept models show the power where they are given.
    """
    matching = match(inputs.forget, inputs.held_out, inputs.targets, inputs.difficulty)
    size = len(matching.members)
    if size < settings.min_records:
        lost = f", {matching.unmatched} more without a partner" if matching.unmatched else ""
        return _without(f"{size} matched records{lost}, {settings.min_records} needed", settings)
    pairs = _Pairs(inputs, matching, settings)
    original = pairs.differences(inputs.phi["original"])
    unlearned = pairs.differences(inputs.phi["unlearned"])
    means = {"original": pairs.mean(original), "unlearned": pairs.mean(unlearned)}
    remembered = means["original"][1][0] > 0
    controls = {
        "original": Control(
            expected="fail",
            verdict="fail" if remembered else "no power",
            statistic=means["original"][0],
            note="" if remembered else "the original treats them like records it never saw, as far as can be seen",
        )
    }
    unseen = _held_out_control(inputs, matching, settings)
    if unseen is not None:
        controls["held_out"] = unseen
    found = pairs.share(unlearned, original) if remembered else None
    needed = None if found is None else _records_needed(found, size, settings.matched_margin)
    verdict, reason = _judged(found, controls, size, needed, settings)
    return CheckResult(
        name=NAME,
        title=TITLE,
        statistic=None if found is None else found.value,
        interval=None if found is None else found.interval,
        p_value=None if found is None else found.p_value,
        values={
            "original": _role(means["original"]),
            "unlearned": _role(means["unlearned"]),
            "oracle": RoleValue(note="no retrained model was looked at; 0 is a model that never saw the records"),
        },
        controls=controls,
        power=_power(inputs, pairs, unlearned, original, remembered, settings),
        verdict=verdict,
        margin=settings.matched_margin,
        words=_words(verdict, reason, found),
        details={
            "records": size,
            "unmatched": matching.unmatched,
            "largest_difficulty_gap": matching.largest_gap,
            "slope_on_cross_fitted": {
                role: _slope(-inputs.difficulty[inputs.held_out], inputs.phi[role][inputs.held_out])
                for role in ("original", "unlearned")
            },
            "records_needed": needed,
            "level": settings.level,
            "negligible": verdict == "pass",
            "reason": reason,
        },
    )


def shows_memory(inputs: EvaluationInputs, settings: EvaluationSettings) -> bool | None:
    """Whether the original treats the forget records better than their partners; None: too few pairs to say."""
    matching = match(inputs.forget, inputs.held_out, inputs.targets, inputs.difficulty)
    if len(matching.members) < settings.min_records:
        return None
    pairs = _Pairs(inputs, matching, settings)
    return pairs.mean(pairs.differences(inputs.phi["original"]))[1][0] > 0


def _slope(x: Array, y: Array) -> float:
    centred = x - x.mean()
    below = float((centred**2).sum())
    return float((centred * y).sum()) / below if below else 0.0


def _judged(
    found: ShareLeft | None, controls: dict[str, Control], size: int, needed: int | None, settings: EvaluationSettings
) -> tuple[Verdict, str]:
    unseen = controls.get("held_out")
    if unseen is None:
        return "no power", "too few held-out records for the control: hold out more than twice as many of every class"
    if not unseen.holds:
        return "no power", f"the check cannot be trusted: {unseen.note}"
    if found is None:
        return "no power", "the original shows no more of them than of similar held-out records"
    if found.verdict == "no power":
        more = f", about {needed} records would do" if needed else ""
        return "no power", f"{size} records leave it open{more}"
    return found.verdict, f"margin {settings.matched_margin:.0%}"


def _held_out_control(inputs: EvaluationInputs, matching: Matching, settings: EvaluationSettings) -> Control | None:
    """The partners as if they were to forget, matched with the rest of the held-out records: both models read zero."""
    rest = np.setdiff1d(inputs.held_out, matching.others)
    members = matching.others[np.isin(inputs.targets[matching.others], inputs.targets[rest])]
    if not members.size:
        return None
    second = match(members, rest, inputs.targets, inputs.difficulty)
    size = len(second.members)
    if size < settings.min_records:
        return None
    pairs = _Pairs(inputs, second, settings)
    scores = {}
    for role in ("original", "unlearned"):
        d = pairs.differences(inputs.phi[role])
        scores[role] = float(d.mean() / max(d.std(ddof=1) / math.sqrt(size), 1e-12))
    worst = max(scores, key=lambda role: abs(scores[role]))
    reads_zero = abs(scores[worst]) <= CONTROL_Z
    note = f"two disjoint sets of {size} held-out records differ by {scores[worst]:+.1f} standard errors ({worst})"
    return Control(expected="pass", verdict="pass" if reads_zero else "fail", statistic=scores[worst], note=note)


def _power(
    inputs: EvaluationInputs,
    pairs: _Pairs,
    unlearned: Array,
    original: Array,
    remembered: bool,
    settings: EvaluationSettings,
) -> Power:
    if not remembered:
        return Power(note="the original shows nothing that could be halved")
    passing = [pairs.share(pairs.differences(phi), original).verdict == "pass" for phi in inputs.phi["held_back"]]
    halves = [pairs.share(pairs.differences(phi), original).verdict != "pass" for phi in inputs.phi["half_kept"]]
    note = "half-kept models"
    if not halves:
        rng = np.random.default_rng(settings.seed)
        masks = rng.random((HALVES, len(original))).argsort(axis=1) % 2 == 0
        halves = [pairs.share(np.where(mask, original, unlearned), original).verdict != "pass" for mask in masks]
        note = "this model with a random half of the records as in the original"
    return Power(
        pass_given_oracle=float(np.mean(passing)) if passing else None,
        not_pass_given_half=float(np.mean(halves)),
        models=len(halves),
        note=note,
    )


def _records_needed(found: ShareLeft, size: int, margin: float) -> int | None:
    """Rough: the interval's half-width shrinks like 1/sqrt(m), and a model that forgot is centred at zero."""
    half = (found.interval[1] - found.interval[0]) / 2
    needed = math.ceil(size * (1.25 * half / margin) ** 2)
    return needed if needed > size else None


def _role(mean: tuple[float, tuple[float, float]]) -> RoleValue:
    return RoleValue(value=mean[0], interval=mean[1], note="mean of phi beyond that of the partners (nats)")


def _without(note: str, settings: EvaluationSettings) -> CheckResult:
    return CheckResult(
        name=NAME,
        title=TITLE,
        power=Power(note=note),
        verdict="no power",
        margin=settings.matched_margin,
        words=f"no power: {note}",
        details={"to_do": "answer requests together, or hold out more records of these classes"},
    )


def _words(verdict: Verdict, reason: str, found: ShareLeft | None) -> str:
    if found is None:
        return f"no power: {reason}"
    figures = f"share left {found.value:.0%} [{found.interval[0]:.0%}, {found.interval[1]:.0%}]"
    if verdict == "no power":
        return f"no power: {reason} ({figures})"
    if verdict == "pass":
        like = "treats them like similar records that it never saw"
        return f"no trace found: {like}; no retrained model was there to compare with ({figures})"
    if found.value < 0:
        return f"over-forgotten: treats them worse than similar records that it never saw ({figures})"
    return f"not forgotten: treats them better than similar records that it never saw ({figures})"
