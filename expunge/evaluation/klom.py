"""How far apart are the margins of unlearned models and of models that never saw the record? KLOM.

Georgiev et al. 2024 (arXiv 2410.23232): per record, the KL divergence between the histogram of phi (their margin, the
true logit minus logsumexp of the others) over the unlearned ensemble and the one over an ensemble that never saw it;
20 bins between the extremes of both, empty bins of the second floored at 1e-5, phi cut at +-100. The estimate is
biased up: identical laws read 7.95 with 5 models an arm and .63 with 64. So what is judged is the excess over the
never-trained models' own value, both at the same size: the never-trained arm is split into halves, and one half is
compared with the other and with as many unlearned models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.evaluation.attack_rates import (
    Equivalence,
    ShadowJudgement,
    equivalence,
    gaussian_shift,
    judge_shadows,
    no_shadow_power,
    over_models,
    permuted_rows,
)
from expunge.evaluation.confidence import phi as logit_confidence
from expunge.evaluation.evidence import CheckResult, Details, Power, RoleValue
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.shadows import ShadowOutputs
from expunge.evaluation.u_lira import missing_shadows, usable_columns

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
NAME, TITLE = "klom", "KLOM: divergence of unlearned from never-trained models' margins"
ARM = 64
BINS = 20
FLOOR = 1e-5
CUT = 100.0
SPLITS = 8


@dataclass(frozen=True, eq=False)
class Klom:
    """Means over records, in nats. ``raw`` is the published number, on all models; ``excess`` = ``split`` - ``null``.

    ``split`` (unlearned against half of the never-trained) and ``null`` (the other half against it) are at the same
    number of models, about ``half``, averaged over random splits; ``per_record`` is the excess of every record [a].
    """

    raw: float
    split: float
    null: float
    excess: float
    per_record: Array
    half: int
    models: int
    records: int


def histogram_kl(phi: Array, first: Mask, second: Mask) -> Array:
    """KL(first || second) of the histograms of phi over two sets of models, per record: [M, a], masks [M, a] -> [a].

    Raises:
        UsageError: shapes, NaN, a record without a model on one side.
    """
    if phi.ndim != 2 or first.shape != phi.shape or second.shape != phi.shape:
        raise UsageError(f"phi {phi.shape} and the sides {first.shape}, {second.shape} differ.", "Give all as [M, a].")
    if not np.isfinite(phi).all():
        raise UsageError("There are NaN or infinite numbers in phi.", "A model that outputs NaN has diverged.")
    if phi.size == 0 or not (first.any(axis=0).all() and second.any(axis=0).all()):
        raise UsageError("A record has no model on one side.", "Train more shadow models.")
    x, both, records = np.clip(phi, -CUT, CUT), first | second, phi.shape[1]
    low = np.where(both, x, np.inf).min(axis=0)
    width = np.where(both, x, -np.inf).max(axis=0) - low
    bins = np.minimum((x - low) / np.where(width > 0, width, 1.0) * BINS, BINS - 1)
    cell = np.clip(bins, 0, None).astype(np.int64) + np.arange(records) * BINS

    def shares(side: Mask) -> Array:
        counts = np.bincount(cell[side], minlength=records * BINS).reshape(records, BINS)
        return counts / side.sum(axis=0)[:, None]

    p, q = shares(first), np.maximum(shares(second), FLOOR)
    result: Array = np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0) / q), 0.0).sum(axis=1)
    return result


def split_arms(trained: Mask, priority: Array) -> tuple[Mask, Mask, Mask]:
    """(unlearned, never-trained, other never-trained): three disjoint sets of models of one size per record, [M, a].

    priority [M, a] in [0, 1) decides who is in which; the size is the smaller of the trained and of half the others.
    """
    inside = trained.sum(axis=0)
    size = np.minimum(inside, (len(trained) - inside) // 2)
    place = places(np.where(trained, priority, priority + 1))
    rest = place - inside
    return trained & (place < size), ~trained & (rest < size), ~trained & (rest >= size) & (rest < 2 * size)


def places(values: Array) -> Index:
    """Rank of each value within its column, from 0: [M, a] -> [M, a]."""
    result = np.empty(values.shape, dtype=np.int64)
    np.put_along_axis(result, np.argsort(values, axis=0), np.arange(len(values))[:, None], axis=0)
    return result


def priorities(shape: tuple[int, ...], seed: int, splits: int = SPLITS) -> Array:
    """Random priorities [splits, M, a], drawn once: leaving models out moves few others to another half."""
    return np.random.default_rng(seed).random((splits, *shape))


def klom(phi: Array, trained: Mask, *, seed: int = 0) -> Klom:
    """KLOM and its null: phi [M, a], trained bool [M, a] (True: trained on it and then unlearned).

    Raises:
        UsageError: see ``histogram_kl``; a record with fewer than two models that never saw it.
    """
    drawn = priorities(phi.shape, seed)
    split, null = _split_values(phi, trained, drawn)
    inside = trained.sum(axis=0)
    return Klom(
        raw=float(histogram_kl(phi, trained, ~trained).mean()),
        split=float(split.mean()),
        null=float(null.mean()),
        excess=float((split - null).mean()),
        per_record=split - null,
        half=int(np.minimum(inside, (len(phi) - inside) // 2).min()),
        models=len(phi),
        records=phi.shape[1],
    )


def _split_values(phi: Array, trained: Mask, drawn: Array) -> tuple[Array, Array]:
    split, null = np.zeros(phi.shape[1]), np.zeros(phi.shape[1])
    for priority in drawn:
        unlearned, never, other = split_arms(trained, priority)
        split += histogram_kl(phi, unlearned, never) / len(drawn)
        null += histogram_kl(phi, other, never) / len(drawn)
    return split, null


def _excess(phi: Array, trained: Mask, drawn: Array) -> float:
    split, null = _split_values(phi, trained, drawn)
    return float((split - null).mean())


@lru_cache(maxsize=16)
def margin_nats(half: int, auc_margin: float, records: int = 10000) -> float:
    """The excess that this estimator reads on two Gaussians with AUC 1/2 + ``auc_margin``, ``half`` models an arm."""
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(2 * half, records))
    first = np.repeat([True, False], half)[:, None] & np.ones(records, dtype=bool)
    moved = phi + gaussian_shift(auc_margin) * first
    return float((histogram_kl(moved, first, ~first) - histogram_kl(phi, first, ~first)).mean())


def klom_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """KLOM on ``inputs.shadows``: the excess on the records to forget within what AUC 1/2 + ``shadow_margin`` reads."""
    shadows = inputs.shadows
    if shadows is None:
        return no_shadow_power(NAME, TITLE, None, missing_shadows(2 * ARM))
    columns = usable_columns(shadows.trained, shadows.forget, ARM)
    if columns.size < settings.min_records:
        return no_shadow_power(NAME, TITLE, None, *too_small(shadows.trained, shadows.forget, settings))
    stacks, trained = stacks_of(shadows, columns)
    own, drawn = klom(stacks[0], trained, seed=settings.seed), priorities(trained.shape, settings.seed)
    margin = margin_nats(own.half, settings.shadow_margin)
    bounds, judged = judge_difference(_excess, stacks, trained, drawn, margin, settings.seed)
    values = {
        "unlearned": RoleValue(value=own.excess, interval=bounds[0].interval, p_value=judged.p_value),
        "original": RoleValue(note="no outputs before unlearning"),
        "null": RoleValue(value=judged.null[0], interval=judged.null[1:], note="permuted membership, 5 to 95 %"),
    }
    if len(bounds) > 1:
        values["original"] = RoleValue(value=bounds[1].value, interval=bounds[1].interval)
    return CheckResult(
        name=NAME,
        title=TITLE,
        statistic=own.excess,
        interval=bounds[0].interval,
        p_value=judged.p_value,
        values=values,
        controls=judged.controls,
        power=Power(models=own.models, note="the margin, the interval over models and both controls show the power"),
        verdict=judged.verdict,
        margin=margin,
        words=_words(judged, own),
        details={
            "reason": judged.reason,
            "negligible": bounds[0].verdict == "pass",
            "models_needed": bounds[0].models_needed,
            "unit": "nats, mean over records",
            "interval_over": "models (delete-group jackknife, 90 %; about twice too wide for histograms)",
            "raw": own.raw,
            "split": own.split,
            "never_trained_null": own.null,
            "models_an_arm_of_split_and_null": own.half,
            "records": own.records,
            "records_left_out": int(shadows.forget.sum()) - own.records,
            "per_record_quartiles": np.quantile(own.per_record, [0.25, 0.5, 0.75]).tolist(),
        },
    )


def stacks_of(shadows: ShadowOutputs, columns: Index) -> tuple[list[Array], Mask]:
    """phi [M, a] of these records after unlearning and, where there are outputs of it, before; and who trained."""
    stacks = [shadows.phi[:, columns]]
    if shadows.before is not None:
        stacks.append(logit_confidence(shadows.before, shadows.targets)[:, columns])
    return stacks, shadows.trained[:, columns]


def judge_difference(
    difference: Callable[[Array, Mask, Array], float],
    stacks: list[Array],
    trained: Mask,
    drawn: Array,
    margin: float,
    seed: int,
) -> tuple[list[Equivalence], ShadowJudgement]:
    """A statistic of ensembles (phi, trained, priorities; 0 where nothing is left), judged over models.

    Returns:
        The equivalence of each stack (after unlearning, then before) and the verdict with its controls.
    """
    models = len(trained)
    value, half = over_models(
        lambda rows: np.array([difference(stack[rows], trained[rows], drawn[:, rows]) for stack in stacks]),
        models,
        seed,
    )
    bounds = [equivalence(float(v), float(h), margin, models) for v, h in zip(value, half, strict=True)]
    null = np.array([difference(stacks[0], each, drawn) for each in permuted_rows(trained, seed)])
    return bounds, judge_shadows(bounds[0], bounds[1] if len(bounds) > 1 else None, null, models)


def too_small(trained: Mask, forget: Mask, settings: EvaluationSettings) -> tuple[str, Details]:
    """Why an ensemble statistic has no power, with the models and records it needs."""
    inside = trained[:, forget].sum(axis=0)
    arms = np.minimum(inside, len(trained) - inside)
    typical = int(np.median(arms)) if arms.size else 0
    usable = int((arms >= ARM).sum())
    numbers: Details = {"models_an_arm": typical, "models_an_arm_needed": ARM, "records": usable}
    if arms.size < settings.min_records:
        return f"{arms.size} records to forget among the shadows, {settings.min_records} needed", numbers
    reason = f"{typical} models an arm, {ARM} needed"
    if typical:
        reason += f"; `expunge evaluate --shadows {-(-len(trained) * ARM // typical)}` trains them"
    if usable:
        reason += f" ({usable} records have them, {settings.min_records} needed)"
    return reason, numbers


def _words(judged: ShadowJudgement, own: Klom) -> str:
    figures = (
        f"excess {own.excess:.2f} nats, {own.split:.2f} against {own.null:.2f} among never-trained models at "
        f"{own.half} an arm; raw {own.raw:.2f}"
    )
    if judged.verdict == "no power":
        return f"no power: {judged.reason} ({figures})"
    if judged.verdict == "fail":
        return f"unlearned models' margins differ from those of models that never saw the records ({figures})"
    return f"unlearned models' margins are those of models that never saw the records ({figures})"
