"""Forgetting quality of the NeurIPS 2023 unlearning challenge, with its bias and its bounds beside it.

Triantafillou et al. 2024 (arXiv 2406.09073): per record, an attacker tells unlearned models from models that never
saw it by a threshold on phi, in either direction; eps = max over thresholds of log((1 - FPR) / FNR) and
log((1 - FNR) / FPR), thresholds with exactly one rate at zero set aside, eps infinite where both are zero. A record
with eps in bin n (bins of 0.5 numbered from 1, 13 over [0, 6.5)) is worth 2/2^n; F is the mean over records, and the
score is F times the retain and test accuracies over those of retrained models.

The maximum over thresholds is biased: identical laws give a median eps of 1.39 = log 4. So F is judged against the
never-trained models' own F at the same number of models (``ensembles``), and Clopper-Pearson bounds, corrected for the
number of thresholds, say how much of an eps is certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from expunge.errors import UsageError
from expunge.evaluation.confidence import accuracy
from expunge.evaluation.ensembles import Ensembles, priorities, split_and_null, two_gaussians
from expunge.evaluation.evidence import CheckResult, Details, RoleValue
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.shadow_judging import ShadowJudgement

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
NAME, TITLE = "forgetting_quality", "Forgetting quality (NeurIPS 2023 challenge)"
WIDTH, BINS = 0.5, 13
CONFIDENCE = 0.95


@dataclass(frozen=True, eq=False)
class ForgettingQuality:
    """F on all models (``quality``) and at the size of the split, unlearned (``split``) and never-trained (``null``).

    deficit = null - split: 0 where nothing can be told, up to ``null``. epsilon [a] of all models, inf where the
    models separate; ``epsilon_low`` [a] its lower bounds, and ``quality_high`` F of them. ``half``: models an arm of
    the split.
    """

    quality: float
    quality_high: float
    split: float
    null: float
    deficit: float
    epsilon: Array
    epsilon_low: Array
    half: int
    models: int
    records: int


def record_epsilon(phi: Array, unlearned: Mask, never: Mask, confidence: float | None = None) -> Array:
    """eps [a] of each record; phi [M, a] and two disjoint sets of models as masks [M, a].

    With ``confidence`` (in (0, 1)) the rates are replaced by their upper Clopper-Pearson bounds, jointly over both
    rates and all thresholds (Bonferroni), and eps is a lower bound, never infinite. Never below 0.

    Raises:
        UsageError: shapes, NaN, a record without a model on one side.
    """
    if phi.ndim != 2 or unlearned.shape != phi.shape or never.shape != phi.shape:
        raise UsageError(f"phi {phi.shape} and sides {unlearned.shape}, {never.shape} differ.", "Give all as [M, a].")
    if not np.isfinite(phi).all():
        raise UsageError("There are NaN or infinite numbers in phi.", "A model that outputs NaN has diverged.")
    if phi.size == 0 or not (unlearned.any(axis=0).all() and never.any(axis=0).all()):
        raise UsageError("A record has no model on one side.", "Train more shadow models.")
    order = np.argsort(phi, axis=0)
    ordered, u = np.take_along_axis(phi, order, axis=0), np.take_along_axis(unlearned, order, axis=0)
    v = np.take_along_axis(never, order, axis=0)
    below_u = np.cumsum(u, axis=0, dtype=np.int64)[:-1]  # at a threshold just above each model
    below_v = np.cumsum(v, axis=0, dtype=np.int64)[:-1]
    count_u, count_v = u.sum(axis=0), v.sum(axis=0)
    real = ordered[1:] > ordered[:-1]  # no threshold between equal values
    best = np.zeros(phi.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        for missed, false in ((below_u, count_v - below_v), (count_u - below_u, below_v)):
            if confidence is None:
                fnr, fpr = missed / count_u, false / count_v
                both, one = (fnr == 0) & (fpr == 0), (fnr == 0) ^ (fpr == 0)
                worth = np.where(one, 0.0, np.maximum(np.log((1 - fpr) / fnr), np.log((1 - fnr) / fpr)))
                worth = np.where(both, np.inf, worth)
            else:
                tail = (1 - confidence) / (4 * max(1, len(phi) - 1))
                fnr, fpr = _upper(missed, count_u, tail), _upper(false, count_v, tail)
                worth = np.maximum(np.log((1 - fpr) / fnr), np.log((1 - fnr) / fpr))
            best = np.maximum(best, np.where(real, worth, 0.0).max(axis=0, initial=0.0))
    return best


def _upper(successes: Index, trials: Index, tail: float) -> Array:
    """Upper Clopper-Pearson bound of every share, from a table: counts [t, a] of trials [a]."""
    most = int(trials.max())
    counts, sizes = np.arange(most + 1)[:, None], np.arange(most + 1)[None, :]
    known = (counts < sizes) & np.isin(sizes, trials)
    table = np.ones((most + 1, most + 1))
    k, n = np.nonzero(known)
    table[k, n] = beta.ppf(1 - tail, k + 1, n - k)
    result: Array = table[successes, np.broadcast_to(trials, successes.shape)]
    return result


def record_worth(epsilon: Array) -> Array:
    """2/2^n for eps in bin n, numbered from 1; beyond the last bin (inf too) n is 14, and no record is dropped."""
    bins = np.minimum(np.floor(np.minimum(epsilon, BINS * WIDTH) / WIDTH), BINS) + 1
    result: Array = 2.0 / 2.0**bins
    return result


def forgetting_quality(phi: Array, trained: Mask, *, seed: int = 0) -> ForgettingQuality:
    """F of the unlearned models, its null and its bounds: phi [M, a], trained bool [M, a] (then unlearned).

    Raises:
        UsageError: see ``record_epsilon``; a record with fewer than two models that never saw it.
    """
    epsilon = record_epsilon(phi, trained, ~trained)
    low = record_epsilon(phi, trained, ~trained, CONFIDENCE)
    split, null = _split_values(phi, trained, priorities(phi.shape, seed))
    inside = trained.sum(axis=0)
    return ForgettingQuality(
        quality=float(record_worth(epsilon).mean()),
        quality_high=float(record_worth(low).mean()),
        split=split,
        null=null,
        deficit=null - split,
        epsilon=epsilon,
        epsilon_low=low,
        half=int(np.minimum(inside, (len(phi) - inside) // 2).min()),
        models=len(phi),
        records=phi.shape[1],
    )


def _worth(phi: Array, first: Mask, second: Mask) -> Array:
    return record_worth(record_epsilon(phi, first, second))


def _split_values(phi: Array, trained: Mask, drawn: Array) -> tuple[float, float]:
    split, null = split_and_null(phi, trained, drawn, _worth)
    return float(split.mean()), float(null.mean())


def _deficit(phi: Array, trained: Mask, drawn: Array) -> float:
    split, null = _split_values(phi, trained, drawn)
    return null - split


def utility_ratios(inputs: EvaluationInputs) -> dict[str, float | None]:
    """Accuracy of the unlearned model over the oracles' mean accuracy, on retain and held-out records.

    The forget set is not in it. None where the oracles have no accuracy at all, or there are none.
    """
    ratios: dict[str, float | None] = {}
    for name, rows in (("retain", inputs.retain), ("held_out", inputs.held_out)):
        targets = inputs.targets[rows]
        reference = float(np.mean(accuracy(inputs.oracles[:, rows], targets))) if len(inputs.oracles) else 0.0
        ratios[name] = float(accuracy(inputs.unlearned[rows], targets)) / reference if reference > 0 else None
    return ratios


@lru_cache(maxsize=16)
def margin_of_quality(half: int, auc_margin: float) -> float:
    """The deficit of two Gaussians with AUC 1/2 + ``auc_margin``, ``half`` models an arm."""
    return -two_gaussians(half, auc_margin, _worth)


def forgetting_quality_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """F on ``inputs.shadows``: its deficit on the records to forget within what AUC 1/2 + ``shadow_margin`` reads."""
    found = Ensembles.of(inputs, settings, NAME, TITLE)
    if isinstance(found, CheckResult):
        return found
    own = forgetting_quality(found.stacks[0], found.trained, seed=settings.seed)
    bounds, judged = found.judged(_deficit, margin_of_quality(own.half, settings.shadow_margin))
    values = {
        "unlearned": RoleValue(value=own.split, p_value=judged.p_value, note=f"F at {own.half} models an arm"),
        "original": RoleValue(note="no outputs before unlearning"),
        "oracle": RoleValue(value=own.null, note=f"never-trained against never-trained, {own.half} models an arm"),
    }
    if len(bounds) > 1:
        values["original"] = RoleValue(value=own.null - bounds[1].value, note="F before unlearning")
    details: Details = {
        "permuted_deficits_mean_5_95": list(judged.null),
        **_challenge(own, utility_ratios(inputs)),
    }
    return found.result(NAME, TITLE, bounds, judged, values, own.half, _words(judged, own), details)


def _challenge(own: ForgettingQuality, ratios: dict[str, float | None]) -> Details:
    """The challenge's own numbers on all models. Infinite eps are counted, they cannot be written."""
    finite = own.epsilon[np.isfinite(own.epsilon)]
    known = [ratio for ratio in ratios.values() if ratio is not None]
    return {
        "quality_all_models": own.quality,
        "quality_of_lower_bounds": own.quality_high,
        "median_epsilon": float(np.median(finite)) if 2 * finite.size > own.records else None,
        "infinite_epsilons": own.records - finite.size,
        "median_epsilon_lower_bound": float(np.median(own.epsilon_low)),
        "records_with_certain_epsilon": int((own.epsilon_low > 0).sum()),
        "utility_ratios": dict(ratios),
        "score": own.quality * float(np.prod(known)) if len(known) == len(ratios) else None,
        "score_note": "F on all models x retain x held-out accuracy over the oracles'",
    }


def _words(judged: ShadowJudgement, own: ForgettingQuality) -> str:
    figures = f"F {own.split:.3f}, never-trained models {own.null:.3f}, both at {own.half} an arm"
    if judged.verdict == "no power":
        return f"no power: {judged.reason} ({figures})"
    if judged.verdict == "fail":
        return f"unlearned models are told from models that never saw the records ({figures})"
    return f"unlearned models are told no better than models that never saw the records from each other ({figures})"
