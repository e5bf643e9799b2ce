"""Is a record likelier under this model than population records are, against a pool of reference models? RMIA.

Zarifzadeh et al. 2024 (arXiv 2312.03262), offline: a record's ratio is p_x / pbar_x, its true-class probability over
((1 + c)/2) times the mean over pool models that did not train on it, plus (1 - c)/2, with c = 0.3 (their linear
stand-in for models that did). Its score is the share of population records z with ratio_x / ratio_z > gamma = 1. The
held-out records are divided in two by the seed: one half is the population, the other supplies the unseen records that
the forget records are compared with (matched on label and difficulty). The reference is the oracles' own AUC.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.evaluation.attack_rates import tpr_at_fpr
from expunge.evaluation.attacked import LOW_FPR, attack_all, attacked_result, too_few
from expunge.evaluation.attacks import auc, match
from expunge.evaluation.confidence import loss, true_class_confidence
from expunge.evaluation.evidence import CheckResult, Details
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.shadow_judging import no_shadow_power
from expunge.evaluation.verdict import without_oracles

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
NAME, TITLE = "rmia", "RMIA: membership inference against a reference pool (offline, matched)"
C = 0.3
GAMMA = 1.0
FEWEST_OUT = 2
FEWEST_POPULATION = 20


def offline_reference(confidence: Array, trained: Mask, c: float = C) -> Array:
    """pbar of each record from the pool models that did not train on it: [P, n], bool [P, n] -> [n].

    ((1 + c)/2) mean_out + (1 - c)/2, probabilities; NaN where every pool model trained on the record.

    Raises:
        UsageError: shapes, or confidences outside [0, 1].
    """
    if confidence.ndim != 2 or trained.shape != confidence.shape or trained.dtype != np.bool_:
        raise UsageError(
            f"Confidences {confidence.shape} and membership {trained.shape} do not match.", "Give both as [P, n]."
        )
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise UsageError("A confidence of the pool is not a probability.", "Give true-class probabilities.")
    out = (~trained).sum(axis=0)
    mean = np.where(trained, 0.0, confidence).sum(axis=0) / np.where(out > 0, out, np.nan)
    result: Array = (1 + c) / 2 * mean + (1 - c) / 2
    return result


def rmia_scores(log_ratio: Array, population: Array, gamma: float = GAMMA) -> Array:
    """Share of population records whose ratio is below the record's over gamma: [m], [z] -> [m] in [0, 1].

    Both are log(p / pbar), natural log.

    Raises:
        UsageError: no population, gamma not positive, NaN.
    """
    if not population.size or gamma <= 0:
        raise UsageError("RMIA needs population records and a positive gamma.", "Hold out more records.")
    if not (np.isfinite(log_ratio).all() and np.isfinite(population).all()):
        raise UsageError("There are NaN or infinite ratios.", "A record is in every pool model, or a model diverged.")
    below = np.searchsorted(np.sort(population), log_ratio - np.log(gamma), side="left")
    result: Array = below / len(population)
    return result


def rmia_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """RMIA on the run's forget set, judged against the oracles' AUC on the same records, both ways."""
    pool = inputs.pool
    if pool is None:
        missing = "needs the outputs of a reference pool: models that each left out random blocks of the records"
        return no_shadow_power(NAME, TITLE, settings.mia_margin, missing)
    if not len(inputs.oracles):
        return without_oracles(NAME, TITLE, settings)
    out = (~pool.trained).sum(axis=0)
    attackable = inputs.forget[out[inputs.forget] >= FEWEST_OUT]
    population, unseen = _halves(inputs.held_out, settings.seed)
    matching = match(attackable, unseen, inputs.targets, inputs.difficulty) if attackable.size else None
    size = 0 if matching is None else len(matching.members)
    if matching is None or size < settings.min_records:
        in_all = inputs.forget.size - attackable.size
        if in_all:
            reason = f"{in_all} of {inputs.forget.size} records were left out by fewer than {FEWEST_OUT} pool models"
            return no_shadow_power(NAME, TITLE, settings.mia_margin, reason, {"records": size})
        return too_few(NAME, TITLE, size, attackable.size - size, settings)
    if population.size < FEWEST_POPULATION:
        reason = f"{population.size} population records, {FEWEST_POPULATION} needed: hold out twice as many records"
        return no_shadow_power(NAME, TITLE, settings.mia_margin, reason)
    rows = np.concatenate([matching.members, matching.others])
    labels = np.repeat([1, 0], size)
    log_reference = np.log(offline_reference(true_class_confidence(pool.logits, pool.targets), pool.trained))

    def scores(logits: Array) -> Array:
        log_ratio = -loss(logits, inputs.targets) - log_reference
        return rmia_scores(log_ratio[rows], log_ratio[population])

    details: Details = {
        "records": size,
        "unmatched": attackable.size - size,
        "records_in_too_many_pool_models": inputs.forget.size - attackable.size,
        "pool_models": len(pool),
        "fewest_pool_models_without_a_record": int(out[matching.members].min()),
        "share_left_out": pool.share_left_out,
        "population": population.size,
        "gamma": GAMMA,
        "c": C,
        "tpr": {
            name: tpr_at_fpr(scores(logits), labels, LOW_FPR).plain()
            for name, logits in (("original", inputs.original), ("unlearned", inputs.unlearned))
        },
    }
    attacked = attack_all(inputs, lambda logits: auc(scores(logits), labels), settings, name=NAME)
    return attacked_result(NAME, TITLE, "AUC", attacked, inputs, settings, None, details)


def _halves(rows: Index, seed: int) -> tuple[Index, Index]:
    """Two disjoint random halves of the held-out rows: (population, unseen records to compare with)."""
    order = np.random.default_rng(seed).permutation(rows)
    middle = len(order) // 2
    return order[:middle], order[middle:]
