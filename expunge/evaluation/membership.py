"""Can an attacker tell forget records from records the model never saw? Three scikit-learn attacks on the outputs.

Loss attack: logistic regression on the per-record loss, forget records against equally many held-out records matched
on label and cross-fitted difficulty, stratified 10-fold; the statistic is the mean AUC over folds. Forest attack: the
same protocol with a random forest on loss, true-class confidence, margin, entropy and phi. Confidence attack:
"forget efficacy" of Jia et al. 2023 (arXiv 2304.04934): an SVC on the true-class confidence, trained on retain
(members) against held-out records; the statistic is the share of forget records it calls unseen.

What the values are held against is in ``attacked``, how each is computed in ``attacks``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.attack_rates import delong, tpr_at_fpr
from expunge.evaluation.attacked import LOW_FPR, attack_all, attacked_result, planted_attacked, role_values, too_few
from expunge.evaluation.attacks import (
    FOREST_FOLDS,
    ForestAttack,
    LossAttack,
    Matching,
    forest_features,
    forget_efficacy,
    match,
)
from expunge.evaluation.confidence import loss, true_class_confidence
from expunge.evaluation.evidence import CheckResult, Details, RoleValue, plain
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.roc import roc_details
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.verdict import PlantedStanding, oracles_needed, without_oracles

Array = NDArray[np.float64]
Index = NDArray[np.int64]
FOREST_ORACLES, FOREST_CONTROLS = 20, 10


@dataclass(frozen=True)
class MatchedAttack:
    """An attack on records matched with held-out ones: what it reads of the outputs, and how it is fitted.

    ``with_difficulty``: it also knows how hard each record is for models that trained on neither side, so that a loss
    is read against what is usual for the record (difficulty calibration: Watson et al. 2022, arXiv 2111.08440).
    """

    name: str
    title: str
    features: Callable[[Array, Index], Array]
    fit: Callable[[int, EvaluationSettings], Callable[[Array], float]]
    most_oracles: int | None = None
    most_controls: int | None = None
    with_difficulty: bool = False

    def read(self, logits: Array, targets: Index, difficulty: Array) -> Array:
        """Features [n] or [n, f] of logits [n, K], targets [n] and cross-fitted difficulty [n]."""
        found = self.features(logits, targets)
        return np.column_stack([found, difficulty]) if self.with_difficulty else found


LOSS = MatchedAttack(
    "mia_loss",
    "Membership inference on the loss (logistic regression, matched)",
    loss,
    lambda size, settings: LossAttack(size, settings.mia_folds, settings.seed),
    with_difficulty=True,
)

FOREST = MatchedAttack(
    "mia_forest",
    "Membership inference on five features (random forest, matched)",
    forest_features,
    lambda size, settings: ForestAttack(size, min(FOREST_FOLDS, settings.mia_folds), settings.seed),
    FOREST_ORACLES,
    FOREST_CONTROLS,
)


def loss_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """Loss attack on the run's forget set."""
    return _matched_check(LOSS, inputs, settings)


def forest_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """Random-forest attack on the run's forget set.

    A forest is slow: at most 20 oracles (more where the level needs them) and 10 models of each control are attacked.
    """
    return _matched_check(FOREST, inputs, settings)


def _matched_check(attack: MatchedAttack, inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    if not len(inputs.oracles):
        return without_oracles(attack.name, attack.title, settings)
    matching = match(inputs.forget, inputs.held_out, inputs.targets, inputs.difficulty)
    size = len(matching.members)
    if size < settings.min_records:
        return too_few(attack.name, attack.title, size, matching.unmatched, settings)
    if attack.most_oracles is not None:
        most = max(attack.most_oracles, oracles_needed(settings.level))
        settings = settings.model_copy(update={"mia_oracles": min(settings.mia_oracles, most)})
    fitted = attack.fit(size, settings)
    rows = np.concatenate([matching.members, matching.others])
    labels = np.repeat([1, 0], size)

    def of(logits: Array) -> float:
        return fitted(attack.read(logits[rows], inputs.targets[rows], inputs.difficulty[rows]))

    attacked = attack_all(inputs, of, settings, attack.most_controls, attack.name)
    raw = {
        name: -loss(logits[rows], inputs.targets[rows])
        for name, logits in (("original", inputs.original), ("unlearned", inputs.unlearned))
    }
    details: Details = {
        "records": size,
        "unmatched": matching.unmatched,
        "largest_difficulty_gap": matching.largest_gap,
        "raw_loss_auc": {name: delong(scores, labels).plain() for name, scores in raw.items()},
        "tpr_on_raw_loss": {name: tpr_at_fpr(scores, labels, LOW_FPR).plain() for name, scores in raw.items()},
        "oracles_attacked_at_most": settings.mia_oracles,
        "controls_attacked_at_most": attack.most_controls,
    }
    if attack is LOSS:
        details["roc"] = plain(_roc(inputs, matching, settings.mia_oracles))
    seen = attacked.standing(attacked.original).fails(settings.level)
    planted = None if seen else _planted_matched(attack, inputs, settings)  # only asked where the original passes
    return attacked_result(attack.name, attack.title, "AUC", attacked, inputs, settings, planted, details)


def _roc(inputs: EvaluationInputs, matching: Matching, oracles: int) -> dict[str, object]:
    """ROC curves of the raw loss, low meaning member, on the matched records: of original, unlearned and oracles."""

    def scores(logits: Array) -> tuple[Array, Array]:
        members, others = (-loss(logits[rows], inputs.targets[rows]) for rows in (matching.members, matching.others))
        return members, others

    return roc_details(
        scores(inputs.original), scores(inputs.unlearned), [scores(logits) for logits in inputs.oracles[:oracles]]
    )


def confidence_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """Confidence attack ("forget efficacy") on the run's forget set."""
    title = "Membership inference on the confidence (SVC, forget efficacy)"
    if not len(inputs.oracles):
        return without_oracles("mia_confidence", title, settings)
    if inputs.forget.size < settings.min_records:
        return too_few("mia_confidence", title, inputs.forget.size, 0, settings)
    retain, held_out = _samples(inputs, settings)

    def of(logits: Array) -> float:
        parts = (
            true_class_confidence(logits[rows], inputs.targets[rows]) for rows in (retain, held_out, inputs.forget)
        )
        return forget_efficacy(*parts)

    attacked = attack_all(inputs, of, settings, name="mia_confidence")
    planted = _planted_confidence(inputs, settings, retain, held_out)
    details: Details = {"records": inputs.forget.size, "retain_sample": len(retain), "held_out_sample": len(held_out)}
    return attacked_result("mia_confidence", title, "efficacy", attacked, inputs, settings, planted, details)


def request_loss_values(inputs: EvaluationInputs, rows: Index, settings: EvaluationSettings) -> dict[str, RoleValue]:
    """AUC of the loss attack on one request's rows, per role; None with the reason under ``min_records`` records."""
    if not len(inputs.oracles):
        return {role: RoleValue(note="no oracles to compare with") for role in ("original", "unlearned", "oracle")}
    matching = match(rows, inputs.held_out, inputs.targets, inputs.difficulty)
    size = len(matching.members)
    if size < settings.min_records:
        plural = "" if len(rows) == 1 else "s"
        note = f"{len(rows)} record{plural}: no set-level AUC under {settings.min_records} records"
        return {role: RoleValue(note=note) for role in ("original", "unlearned", "oracle")}
    attack = LossAttack(size, settings.mia_folds, settings.seed)
    both = np.concatenate([matching.members, matching.others])
    read = LOSS.read
    return role_values(
        attack_all(inputs, lambda z: attack(read(z[both], inputs.targets[both], inputs.difficulty[both])), settings)
    )


def _samples(inputs: EvaluationInputs, settings: EvaluationSettings) -> tuple[Index, Index]:
    """Equal numbers of retain and held-out rows, drawn once for all models."""
    rng = np.random.default_rng(settings.seed)
    size = min(settings.mia_sample, inputs.retain.size, inputs.held_out.size)
    return (
        rng.choice(inputs.retain, size, replace=False),
        rng.choice(inputs.held_out, size, replace=False),
    )


def _planted_matched(
    attack: MatchedAttack, inputs: EvaluationInputs, settings: EvaluationSettings
) -> PlantedStanding | None:
    """A matched attack on the planted set; held-out outputs come from the run's own models of the same kind.

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
    fitted = attack.fit(len(matching.members), settings)
    held = inputs.held_out[matching.others - m]
    own_hardness = held_hardness[matching.others - m]

    def of(planted_logits: Array, own_logits: Array) -> float:
        own = attack.read(own_logits[held], inputs.targets[held], own_hardness)
        return fitted(np.concatenate([attack.read(planted_logits, planted.targets, hardness)[matching.members], own]))

    return planted_attacked(inputs, planted, settings, of)


def _planted_confidence(
    inputs: EvaluationInputs, settings: EvaluationSettings, retain: Index, held_out: Index
) -> PlantedStanding | None:
    planted = inputs.planted
    if planted is None or len(planted.targets) < settings.min_records:
        return None

    def of(planted_logits: Array, own_logits: Array) -> float:
        own = true_class_confidence(own_logits, inputs.targets)
        return forget_efficacy(own[retain], own[held_out], true_class_confidence(planted_logits, planted.targets))

    return planted_attacked(inputs, planted, settings, of)
