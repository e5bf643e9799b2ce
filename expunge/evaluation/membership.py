"""Can an attacker tell forget records from records the model never saw? Two scikit-learn attacks on the outputs.

Loss attack: logistic regression on the per-record loss, forget records against equally many held-out records matched
on label and cross-fitted difficulty, stratified 10-fold; the statistic is the mean AUC over folds. Confidence attack:
"forget efficacy" of Jia et al. 2023 (arXiv 2304.04934): an SVC on the true-class confidence, trained on retain
(members) against held-out records; the statistic is the share of forget records it calls unseen.

The reference is the ORACLES' own value on the same records, two-sided (METHOD section 7): an oracle's value is 0.5
only for records drawn at random. The spread is over models; the records are the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.attacks import LossAttack, auc, forget_efficacy, match
from expunge.evaluation.confidence import loss, true_class_confidence
from expunge.evaluation.evidence import CheckResult, Details, Power, RoleValue
from expunge.evaluation.inputs import EvaluationInputs, PlantedSet
from expunge.evaluation.settings import MIN_ORACLES, EvaluationSettings
from expunge.evaluation.verdict import (
    Judgement,
    PlantedStanding,
    Standing,
    judge,
    rank_p,
    single_model_interval,
)

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Attack = Callable[[Array], float]


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


def loss_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """Loss attack on the run's forget set."""
    matching = match(inputs.forget, inputs.held_out, inputs.targets, inputs.difficulty)
    size = len(matching.members)
    title = "Membership inference on the loss (logistic regression, matched)"
    if size < settings.min_records:
        return _too_few("mia_loss", title, size, matching.unmatched, settings)
    attack = LossAttack(size, settings.mia_folds, settings.seed)
    rows = np.concatenate([matching.members, matching.others])

    def of(logits: Array) -> float:
        return attack(loss(logits[rows], inputs.targets[rows]))

    attacked = _attack_all(inputs, of, settings)
    models = {"original": inputs.original, "unlearned": inputs.unlearned}
    details: Details = {
        "records": size,
        "unmatched": matching.unmatched,
        "largest_difficulty_gap": matching.largest_gap,
        "raw_loss_auc": {
            name: auc(-loss(logits[rows], inputs.targets[rows]), attack.labels) for name, logits in models.items()
        },
    }
    planted = _planted_loss(inputs, settings)
    return _result("mia_loss", title, "AUC", attacked, inputs, settings, planted, details)


def confidence_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """Confidence attack ("forget efficacy") on the run's forget set."""
    title = "Membership inference on the confidence (SVC, forget efficacy)"
    if inputs.forget.size < settings.min_records:
        return _too_few("mia_confidence", title, inputs.forget.size, 0, settings)
    retain, held_out = _samples(inputs, settings)

    def of(logits: Array) -> float:
        parts = (
            true_class_confidence(logits[rows], inputs.targets[rows]) for rows in (retain, held_out, inputs.forget)
        )
        return forget_efficacy(*parts)

    attacked = _attack_all(inputs, of, settings)
    planted = _planted_confidence(inputs, settings, retain, held_out)
    details: Details = {"records": inputs.forget.size, "retain_sample": len(retain), "held_out_sample": len(held_out)}
    return _result("mia_confidence", title, "efficacy", attacked, inputs, settings, planted, details)


def request_loss_values(inputs: EvaluationInputs, rows: Index, settings: EvaluationSettings) -> dict[str, RoleValue]:
    """AUC of the loss attack on one request's rows, per role; None with the reason under ``min_records`` records."""
    matching = match(rows, inputs.held_out, inputs.targets, inputs.difficulty)
    size = len(matching.members)
    if size < settings.min_records:
        plural = "" if len(rows) == 1 else "s"
        note = f"{len(rows)} record{plural}: no set-level AUC under {settings.min_records} records"
        return {role: RoleValue(note=note) for role in ("original", "unlearned", "oracle")}
    attack = LossAttack(size, settings.mia_folds, settings.seed)
    both = np.concatenate([matching.members, matching.others])
    return _role_values(_attack_all(inputs, lambda z: attack(loss(z[both], inputs.targets[both])), settings))


def _samples(inputs: EvaluationInputs, settings: EvaluationSettings) -> tuple[Index, Index]:
    """Equal numbers of retain and held-out rows, drawn once for all models."""
    rng = np.random.default_rng(settings.seed)
    size = min(settings.mia_sample, inputs.retain.size, inputs.held_out.size)
    return (
        rng.choice(inputs.retain, size, replace=False),
        rng.choice(inputs.held_out, size, replace=False),
    )


def _attack_all(inputs: EvaluationInputs, of: Attack, settings: EvaluationSettings) -> Attacked:
    def each(models: Array) -> Array:
        return np.array([of(model) for model in models])

    return Attacked(
        unlearned=of(inputs.unlearned),
        original=of(inputs.original),
        oracles=each(inputs.oracles[: settings.mia_oracles]),
        held_back=each(inputs.held_back),
        half_kept=each(inputs.half_kept),
        margin=settings.mia_margin,
    )


def _planted_loss(inputs: EvaluationInputs, settings: EvaluationSettings) -> PlantedStanding | None:
    """The loss attack on the planted set; held-out losses come from the run's own models of the same kind.

    The planted set's models are not asked for their held-out outputs: an oracle of one small set and an oracle of
    another have the same law there.
    """
    planted = inputs.planted
    if planted is None:
        return None
    m, hardness = len(planted.targets), planted.difficulty
    if hardness is None:
        hardness = np.zeros(m)
    shared = planted.difficulty is not None
    targets = np.concatenate([planted.targets, inputs.targets[inputs.held_out]])
    held_hardness = inputs.difficulty[inputs.held_out] if shared else np.zeros(inputs.held_out.size)
    rows = np.arange(m), np.arange(m, m + inputs.held_out.size)
    matching = match(rows[0], rows[1], targets, np.concatenate([hardness, held_hardness]))
    if len(matching.members) < settings.min_records:
        return None
    attack = LossAttack(len(matching.members), settings.mia_folds, settings.seed)
    held = inputs.held_out[matching.others - m]

    def of(planted_logits: Array, own_logits: Array) -> float:
        own = loss(own_logits[held], inputs.targets[held])
        return attack(np.concatenate([loss(planted_logits, planted.targets)[matching.members], own]))

    return _planted_standing(inputs, planted, settings, of)


def _planted_confidence(
    inputs: EvaluationInputs, settings: EvaluationSettings, retain: Index, held_out: Index
) -> PlantedStanding | None:
    planted = inputs.planted
    if planted is None or len(planted.targets) < settings.min_records:
        return None

    def of(planted_logits: Array, own_logits: Array) -> float:
        own = true_class_confidence(own_logits, inputs.targets)
        return forget_efficacy(own[retain], own[held_out], true_class_confidence(planted_logits, planted.targets))

    return _planted_standing(inputs, planted, settings, of)


def _planted_standing(
    inputs: EvaluationInputs, planted: PlantedSet, settings: EvaluationSettings, of: Callable[[Array, Array], float]
) -> PlantedStanding:
    pool = inputs.oracles[: settings.mia_oracles]
    oracles = [of(z, pool[k % len(pool)]) for k, z in enumerate(planted.oracles[: settings.mia_oracles])]
    held_back = [of(z, pool[-1 - k % len(pool)]) for k, z in enumerate(planted.held_back)]
    original = of(planted.original, inputs.original)
    attacked = Attacked(original, original, np.array(oracles), np.array(held_back), np.array([]), settings.mia_margin)
    standing = attacked.standing(original)
    return PlantedStanding(
        standing, [attacked.standing(value) for value in held_back], float(standing.fails(settings.level))
    )


def _role_values(attacked: Attacked) -> dict[str, RoleValue]:
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


def _result(
    name: str,
    title: str,
    unit: str,
    attacked: Attacked,
    inputs: EvaluationInputs,
    settings: EvaluationSettings,
    planted: PlantedStanding | None,
    details: Details,
) -> CheckResult:
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
        values=_role_values(attacked),
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


def _too_few(name: str, title: str, size: int, unmatched: int, settings: EvaluationSettings) -> CheckResult:
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
