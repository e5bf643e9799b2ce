"""Can an attacker with shadow models tell which records a model had trained on and then unlearned? U-LiRA.

Hayes et al. 2024 (arXiv 2403.01218), after Carlini et al. 2022: for each record, Gaussians are fitted to phi over the
models that trained on it (and then unlearned it) and over those that never saw it; a model's score is the
log-likelihood ratio of its own phi. The scored model is left out of the fits, and so is one model of the other side:
fitted and scored on the same shadows, identical laws read AUC .68 with 8 + 8 models; with the scored model alone left
out, its own side is fitted on one model fewer and they read .47 with 4 + 4; this way .50. The models are the sampled
unit: intervals are delete-group jackknives over models, fits included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.evaluation.attack_rates import Rate, negatives_needed, threshold_at_fpr
from expunge.evaluation.attacks import auc
from expunge.evaluation.confidence import phi as logit_confidence
from expunge.evaluation.evidence import CheckResult, Details, Power, RoleValue
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.shadow_judging import (
    Equivalence,
    ShadowJudgement,
    arm_needed,
    equivalence,
    judge_shadows,
    missing_shadows,
    no_shadow_power,
    over_models,
    permuted_rows,
    usable_columns,
)
from expunge.evaluation.shadows import ShadowOutputs

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Interval = tuple[float, float]
NAME, TITLE = "u_lira", "U-LiRA: an attacker with shadow models of the whole procedure"
FPRS = (0.1, 0.01)
FEWEST_MODELS = 8
SHADOWS = 64


@dataclass(frozen=True, eq=False)
class ULira:
    """U-LiRA over all (model, record) pairs of one group of records; every interval is 90 % over models.

    balanced_accuracy is at log-likelihood ratio 0, which needs no choice; ``null`` are the AUCs under permuted
    membership [60]; ``before`` and ``change`` (AUC after - before) are None without outputs before unlearning;
    ``left_out`` records had too few models on one side.
    """

    auc: float
    auc_interval: Interval
    balanced_accuracy: float
    balanced_interval: Interval
    rates: tuple[Rate, ...]
    null: Array
    before: float | None
    before_interval: Interval | None
    change: float | None
    change_interval: Interval | None
    models: int
    records: int
    left_out: int
    smallest_arm: int


def lira_scores(phi: Array, trained: Mask, variance_floor: float = 0.5, seed: int = 0) -> Array:
    """Log-likelihood ratio (trained on it over never saw it) of every model and record: [M, a] -> [M, a].

    phi float [M, a], trained bool [M, a]. A score's two Gaussians leave out the scored model and a random partner of
    the other side, so that scores of both sides come from fits of the same sizes. Variances are floored at
    ``variance_floor`` times their median over records.

    Raises:
        UsageError: shapes, NaN, fewer than three models on a side of a record, models that do not differ.
    """
    if phi.ndim != 2 or trained.shape != phi.shape or trained.dtype != np.bool_:
        raise UsageError(f"phi {phi.shape} and membership {trained.shape} do not match.", "Give both as [M, a].")
    if not np.isfinite(phi).all():
        raise UsageError("There are NaN or infinite numbers in phi.", "A model that outputs NaN has diverged.")
    inside = trained.sum(axis=0)
    if phi.size == 0 or min(int(inside.min()), int((len(phi) - inside).min())) < 3:
        raise UsageError("A record has fewer than three models on one side.", "Train more shadow models.")
    x = phi - phi.mean(axis=0)
    mean, variance, full = np.empty_like(x), np.empty_like(x), []
    for side in (trained, ~trained):
        n, total, squares = side.sum(axis=0), (x * side).sum(axis=0), (x * x * side).sum(axis=0)
        full.append((squares - total**2 / n) / (n - 1))
        own_mean = (total - x) / (n - 1)
        own_variance = (squares - x * x - (n - 1) * own_mean**2) / (n - 2)
        mean, variance = np.where(side, own_mean, mean), np.where(side, own_variance, variance)
    middle = float(np.median(np.mean(full, axis=0)))
    if middle <= 1e-20 * (1 + float((phi**2).mean())):
        raise UsageError("The shadow models do not differ from one another.", "Train each with its own seed.")
    variance = np.maximum(variance, max(variance_floor, 1e-6) * middle)
    partner = _partners(trained, seed)
    other_mean = np.take_along_axis(mean, partner, axis=0)
    other_variance = np.take_along_axis(variance, partner, axis=0)
    own = -0.5 * (np.log(variance) + (x - mean) ** 2 / variance)
    other = -0.5 * (np.log(other_variance) + (x - other_mean) ** 2 / other_variance)
    return np.where(trained, own - other, other - own)


def _partners(trained: Mask, seed: int) -> Index:
    """For each model and record a model of the other side, drawn at random, evenly used: [M, a]."""
    priority = np.random.default_rng(seed).random(trained.shape)
    inside = trained.sum(axis=0)
    order = np.argsort(np.where(trained, priority, priority + 1), axis=0)  # those that trained on it come first
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(len(order))[:, None], axis=0)
    at = np.where(trained, inside + place % (len(trained) - inside), (place - inside) % inside)
    return np.take_along_axis(order, at, axis=0)


def u_lira(
    phi: Array,
    trained: Mask,
    groups: Mapping[str, Mask],
    *,
    before: Array | None = None,
    variance_floor: float = 0.5,
    seed: int = 0,
) -> dict[str, ULira]:
    """The attack on each named group of records (bool [a]): phi [M, a] after unlearning, ``before`` the same before.

    Raises:
        UsageError: see ``lira_scores``; fewer than eight models; a group without a record that has ``arm_needed(M)``
            models on both sides.
    """
    if len(phi) < FEWEST_MODELS:
        raise UsageError(f"{len(phi)} shadow models.", f"U-LiRA needs at least {FEWEST_MODELS}.")
    stacks = [phi] if before is None else [phi, before]
    results = {}
    for name, group in groups.items():
        columns = usable_columns(trained, group, arm_needed(len(phi)))
        if not columns.size:
            raise UsageError(f"No {name} record has models on both sides.", "Train more shadow models.")
        results[name] = _one_group(
            [stack[:, columns] for stack in stacks], trained[:, columns], int(group.sum()), variance_floor, seed
        )
    return results


def _one_group(stacks: list[Array], trained: Mask, asked: int, floor: float, seed: int) -> ULira:
    inside = trained.sum(axis=0)

    def figures(rows: Index) -> Array:
        member = trained[rows]
        score = [lira_scores(stack[rows], member, floor, seed) for stack in stacks]
        values = [_pair_auc(each, member) for each in score]
        members, others = score[0][member], score[0][~member]
        balanced = 0.5 * ((members > 0).mean() + (others <= 0).mean())
        tprs = [float((members > threshold_at_fpr(others, fpr)).mean()) for fpr in FPRS]
        return np.array([values[0], balanced, *tprs, values[-1], values[0] - values[-1]])

    value, half = over_models(figures, len(trained), seed)
    bounds = [(float(v - h), float(v + h)) for v, h in zip(value, half, strict=True)]
    null = [_pair_auc(lira_scores(stacks[0], each, floor, seed), each) for each in permuted_rows(trained, seed)]
    paired = len(stacks) > 1
    return ULira(
        auc=float(value[0]),
        auc_interval=bounds[0],
        balanced_accuracy=float(value[1]),
        balanced_interval=_cut(bounds[1]),
        rates=tuple(
            _rate(fpr, float(value[2 + k]), bounds[2 + k], int(inside.sum()), int((~trained).sum()))
            for k, fpr in enumerate(FPRS)
        ),
        null=np.array(null),
        before=float(value[-2]) if paired else None,
        before_interval=bounds[-2] if paired else None,
        change=float(value[-1]) if paired else None,
        change_interval=bounds[-1] if paired else None,
        models=len(trained),
        records=trained.shape[1],
        left_out=asked - trained.shape[1],
        smallest_arm=int(np.minimum(inside, len(trained) - inside).min()),
    )


def _pair_auc(scores: Array, trained: Mask) -> float:
    return auc(scores.ravel(), trained.ravel().astype(np.int64))


def _rate(fpr: float, value: float, interval: Interval, positives: int, negatives: int) -> Rate:
    needed = negatives_needed(fpr)
    if negatives < needed:
        note = f"no power: {negatives} negatives, a false positive rate of {fpr:g} needs {needed}"
        return Rate(fpr, None, None, positives, negatives, needed, note)
    note = "pairs of models and records, interval over models"
    return Rate(fpr, value, _cut(interval), positives, negatives, needed, note)


def _cut(interval: Interval) -> Interval:
    """A rate lies in [0, 1], also where the interval around it does not."""
    return max(0.0, interval[0]), min(1.0, interval[1])


def u_lira_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """U-LiRA on ``inputs.shadows``: AUC - 1/2 on the records to forget within ``shadow_margin``, both ways.

    The records to retain are reported beside it, before and after: did they become more exposed?
    """
    shadows, margin = inputs.shadows, settings.shadow_margin
    if shadows is None:
        return no_shadow_power(NAME, TITLE, margin, missing_shadows(SHADOWS))
    if len(shadows) < FEWEST_MODELS:
        return no_shadow_power(NAME, TITLE, margin, f"{len(shadows)} shadow models, at least {FEWEST_MODELS} needed")
    fewest = arm_needed(len(shadows))
    usable = {
        name: usable_columns(shadows.trained, group, fewest).size
        for name, group in (("forget", shadows.forget), ("retain", ~shadows.forget))
    }
    if usable["forget"] < settings.min_records:
        reason = (
            f"{usable['forget']} records to forget have {fewest} shadow models that trained on them and {fewest} that "
            f"never saw them, {settings.min_records} records needed"
        )
        return no_shadow_power(NAME, TITLE, margin, reason, {"records": usable["forget"]})
    groups = {"forget": shadows.forget} | ({"retain": ~shadows.forget} if usable["retain"] else {})
    before = None if shadows.before is None else logit_confidence(shadows.before, shadows.targets)
    results = u_lira(
        shadows.phi, shadows.trained, groups, before=before, variance_floor=settings.variance_floor, seed=settings.seed
    )
    return _result(results, shadows, settings)


def _equivalence(value: float, interval: Interval, settings: EvaluationSettings, models: int) -> Equivalence:
    return equivalence(value - 0.5, (interval[1] - interval[0]) / 2, settings.shadow_margin, models)


def _result(results: dict[str, ULira], shadows: ShadowOutputs, settings: EvaluationSettings) -> CheckResult:
    own = results["forget"]
    after = _equivalence(own.auc, own.auc_interval, settings, own.models)
    before = None
    if own.before is not None and own.before_interval is not None:
        before = _equivalence(own.before, own.before_interval, settings, own.models)
    judged = judge_shadows(after, before, own.null - 0.5, own.models)
    values = {"unlearned": RoleValue(value=own.auc, interval=own.auc_interval, p_value=judged.p_value)}
    values["original"] = _role(own.before, own.before_interval)
    mean, low, high = (0.5 + each for each in judged.null)
    values["null"] = RoleValue(value=mean, interval=(low, high), note="permuted membership, mean and 5 to 95 %")
    kept = results.get("retain")
    if kept is not None:
        values["retain"] = RoleValue(value=kept.auc, interval=kept.auc_interval, note="records to retain, after")
        values["retain_original"] = _role(kept.before, kept.before_interval)
    return CheckResult(
        name=NAME,
        title=TITLE,
        statistic=after.value,
        interval=after.interval,
        p_value=judged.p_value,
        values=values,
        controls=judged.controls,
        power=Power(models=own.models, note="the margin, the interval over models and both controls show the power"),
        verdict=judged.verdict,
        margin=settings.shadow_margin,
        words=_words(judged, own),
        details={
            "reason": judged.reason,
            "negligible": after.verdict == "pass",
            "models_needed": judged.models_needed,
            "to_do": judged.to_do,
            "interval_over": "models (delete-group jackknife, 90 %)",
            **{name: _details(result) for name, result in results.items()},
        },
    )


def _role(value: float | None, interval: Interval | None) -> RoleValue:
    return RoleValue(value=value, interval=interval, note="" if value is not None else "no outputs before unlearning")


def _details(result: ULira) -> Details:
    return {
        "models": result.models,
        "records": result.records,
        "records_left_out": result.left_out,
        "smallest_arm": result.smallest_arm,
        "balanced_accuracy": result.balanced_accuracy,
        "balanced_accuracy_interval": list(result.balanced_interval),
        "tpr": [rate.plain() for rate in result.rates],
        "auc_change": result.change,
        "auc_change_interval": list(result.change_interval or ()),
    }


def _words(judged: ShadowJudgement, own: ULira) -> str:
    low, high = own.auc_interval
    was = "" if own.before is None else f", before {own.before:.2f}"
    mean = 0.5 + judged.null[0]
    figures = f"AUC {own.auc:.2f} [{low:.2f}, {high:.2f}]{was}, null {mean:.2f}; {own.models} shadows"
    if judged.verdict == "no power":
        return f"no power: {judged.reason} ({figures})"
    if judged.verdict == "fail":
        return f"an attacker with shadow models tells unlearned records from unseen ones ({figures})"
    return f"an attacker with shadow models cannot tell unlearned records from unseen ones ({figures})"
