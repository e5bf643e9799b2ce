"""One attack's value on every model, and the verdict: how far the unlearned model's value is from the oracles'.

The reference is the ORACLES' own value on the same records, two-sided (METHOD section 7): an oracle's value is 0.5
only for records drawn at random. The spread is over models; the records are the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.evidence import CheckResult, Details, Power, RoleValue
from expunge.evaluation.inputs import EvaluationInputs, PlantedSet
from expunge.evaluation.settings import MIN_ORACLES, EvaluationSettings
from expunge.evaluation.verdict import Judgement, PlantedStanding, Standing, judge, rank_p, single_model_interval

Array = NDArray[np.float64]
Attack = Callable[[Array], float]
LOW_FPR = 0.1


@dataclass(frozen=True)
class Attacked:
    """The values of one attack on every model, and the standings that follow from them."""

    unlearned: float
    original: float
    oracles: Array
    held_back: Array
    half_kept: Array
    margin: float

    def standing(self, value: float) -> Standing:
        """One value against the oracles': |difference| ranked among their leave-one-out differences."""
        return Standing(value, rank_p(abs(value - self.mean), self.own_differences())[1], self.negligible(value))

    @property
    def mean(self) -> float:
        return float(self.oracles.mean())

    def own_differences(self) -> Array:
        count = len(self.oracles)
        result: Array = np.abs(self.oracles - self.mean) * count / (count - 1)
        return result

    def interval(self, value: float) -> tuple[float, float]:
        """90 % interval of value - oracle mean."""
        return single_model_interval(value - self.mean, float(self.oracles.std(ddof=1)), len(self.oracles))

    def negligible(self, value: float) -> bool:
        low, high = self.interval(value)
        return -self.margin <= low and high <= self.margin


def attack_all(
    inputs: EvaluationInputs,
    of: Attack,
    settings: EvaluationSettings,
    most_controls: int | None = None,
    name: str = "",
) -> Attacked:
    """The attack's value on every model, on the first ``mia_oracles`` oracles and ``most_controls`` of each control.

    With a ``name`` the judges' values are remembered under it.
    """

    def each(models: Array) -> Array:
        return np.array([of(model) for model in models])

    def judges() -> tuple[float, Array, Array, Array]:
        return (
            of(inputs.original),
            each(inputs.oracles[: settings.mia_oracles]),
            each(inputs.held_back[:most_controls]),
            each(inputs.half_kept[:most_controls]),
        )

    original, oracles, held_back, half_kept = inputs.remember(f"attack {name}", judges, settings) if name else judges()
    return Attacked(of(inputs.unlearned), original, oracles, held_back, half_kept, settings.mia_margin)


def planted_attacked(
    inputs: EvaluationInputs, planted: PlantedSet, settings: EvaluationSettings, of: Callable[[Array, Array], float]
) -> PlantedStanding:
    """The standing on a planted set of an attack of (planted outputs, the same model's or a like one's own outputs)."""
    pool = inputs.oracles[: settings.mia_oracles]
    oracles = [of(z, pool[k % len(pool)]) for k, z in enumerate(planted.oracles[: settings.mia_oracles])]
    held_back = [of(z, pool[-1 - k % len(pool)]) for k, z in enumerate(planted.held_back)]
    original = of(planted.original, inputs.original)
    attacked = Attacked(original, original, np.array(oracles), np.array(held_back), np.array([]), settings.mia_margin)
    standing = attacked.standing(original)
    return PlantedStanding(
        standing, [attacked.standing(value) for value in held_back], float(standing.fails(settings.level))
    )


def role_values(attacked: Attacked) -> dict[str, RoleValue]:
    """Original and unlearned with their intervals, and the oracles' mean and range."""

    def role(value: float) -> RoleValue:
        low, high = attacked.interval(value)
        return RoleValue(
            value=value,
            interval=(attacked.mean + low, attacked.mean + high),
            p_value=attacked.standing(value).p_value,
            note=f"oracle mean {attacked.mean:+.3f}, difference {value - attacked.mean:+.3f} [{low:+.3f}, {high:+.3f}]",
        )

    low, high = np.quantile(attacked.oracles, [0.05, 0.95])
    own = RoleValue(value=attacked.mean, interval=(low, high), note="mean and 5 to 95 % of the oracles' own values")
    return {"original": role(attacked.original), "unlearned": role(attacked.unlearned), "oracle": own}


def attacked_result(
    name: str,
    title: str,
    unit: str,
    attacked: Attacked,
    inputs: EvaluationInputs,
    settings: EvaluationSettings,
    planted: PlantedStanding | None,
    details: Details,
) -> CheckResult:
    """A result from the values of one attack on every model: the unlearned one's distance to the oracles, judged."""

    def standings(values: Array) -> Sequence[Standing]:
        return [attacked.standing(float(value)) for value in values]

    unlearned = attacked.standing(attacked.unlearned)
    judgement = judge(
        unlearned,
        attacked.standing(attacked.original),
        standings(attacked.held_back),
        standings(attacked.half_kept),
        oracles=len(attacked.oracles),
        settings=settings,
        planted=planted,
    )
    left_out = len(inputs.oracles) - len(attacked.oracles)
    return CheckResult(
        name=name,
        title=title,
        statistic=attacked.unlearned - attacked.mean,
        interval=attacked.interval(attacked.unlearned),
        p_value=unlearned.p_value,
        values=role_values(attacked),
        controls=judgement.controls,
        power=judgement.power,
        verdict=judgement.verdict,
        little_remembered=judgement.little_remembered,
        margin=settings.mia_margin,
        words=_words(judgement, attacked, unit),
        details={
            **details,
            "level": settings.level,
            "negligible": unlearned.negligible,
            "reason": judgement.reason,
            "oracle_values": attacked.oracles.tolist(),
            "held_back_values": attacked.held_back.tolist(),
            "half_kept_values": attacked.half_kept.tolist(),
            "oracles_not_attacked": left_out,
            "indicative": len(attacked.oracles) < MIN_ORACLES,
        },
    )


def _words(judgement: Judgement, attacked: Attacked, unit: str) -> str:
    figures = f"{unit} {attacked.unlearned:.2f}, oracles {attacked.mean:.2f}, original {attacked.original:.2f}"
    if judgement.verdict == "no power":
        return f"no power: {judgement.reason} ({figures})"
    if judgement.verdict == "fail":
        return f"an attacker sees a difference to models that never saw the records ({figures})"
    if judgement.little_remembered:
        return f"little was remembered: an attacker sees none of it before or after ({figures})"
    return f"an attacker sees what models that never saw the records show ({figures})"


def too_few(name: str, title: str, size: int, unmatched: int, settings: EvaluationSettings) -> CheckResult:
    """A result without numbers: fewer records than a set-level statistic needs."""
    lost = f", {unmatched} more without a matching held-out record" if unmatched else ""
    plural = "" if size == 1 else "s"
    note = f"{size} record{plural}{lost}: no set-level AUC under {settings.min_records} records"
    return CheckResult(
        name=name,
        title=title,
        values={role: RoleValue(note=note) for role in ("original", "unlearned", "oracle")},
        power=Power(note=note),
        verdict="no power",
        margin=settings.mia_margin,
        words=f"no power: {note}",
        details={"records": size, "records_needed": settings.min_records, "unmatched": unmatched},
    )
