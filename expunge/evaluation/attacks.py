"""The scikit-learn attacks and the matching of forget records with held-out ones; arrays in, one number out.

Loss attack: logistic regression on the per-record loss, stratified 10-fold. Confidence attack: the "forget efficacy"
of Jia et al. 2023 (arXiv 2304.04934). Both are as METHOD section 7 names them. Forest attack: a random forest in the
loss attack's place, on more of what the outputs say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from expunge.evaluation.confidence import loss, margin, phi, true_class_confidence

Array = NDArray[np.float64]
Index = NDArray[np.int64]
FOREST_TREES, FOREST_DEPTH, FOREST_FOLDS = 50, 4, 5


@dataclass(frozen=True)
class Matching:
    """Forget rows and the held-out rows matched to them, pair by pair; ``unmatched`` forget rows found no partner."""

    members: Index
    others: Index
    unmatched: int
    largest_gap: float


def match(members: Index, held_out: Index, targets: Index, difficulty: Array) -> Matching:
    """Pairs of the same label, least total difference in difficulty (linear assignment), each held-out row used once.

    Where a class has fewer held-out than forget records, the assignment leaves the worst fitting ones out.
    """
    from scipy.optimize import linear_sum_assignment

    rows: list[Index] = []
    partners: list[Index] = []
    for label in np.unique(targets[members]):
        a, b = members[targets[members] == label], held_out[targets[held_out] == label]
        left, right = linear_sum_assignment(np.abs(difficulty[a][:, None] - difficulty[b][None, :]))
        rows.append(a[left])
        partners.append(b[right])
    left_rows, right_rows = np.concatenate(rows), np.concatenate(partners)
    gaps = np.abs(difficulty[left_rows] - difficulty[right_rows])
    return Matching(left_rows, right_rows, len(members) - len(left_rows), float(gaps.max(initial=0.0)))


class LossAttack:
    """Cross-validated logistic regression on numbers per record; the folds depend on the seed only."""

    def __init__(self, size: int, folds: int, seed: int) -> None:
        from sklearn.model_selection import StratifiedKFold

        self.labels = np.concatenate([np.ones(size, dtype=int), np.zeros(size, dtype=int)])
        splitter = StratifiedKFold(n_splits=min(folds, size), shuffle=True, random_state=seed)
        self.folds = list(splitter.split(self.labels[:, None], self.labels))

    def __call__(self, features: Array) -> float:
        """Mean AUC over folds of features [2 size] or [2 size, f], members first; constant ones give 0.5."""
        from sklearn.linear_model import LogisticRegression

        columns = features.reshape(len(self.labels), -1)
        columns = columns[:, columns.std(axis=0) > 0]
        if not columns.shape[1]:
            return 0.5
        feature = (columns - columns.mean(axis=0)) / columns.std(axis=0)
        scores = []
        for train, test in self.folds:
            model = LogisticRegression(solver="newton-cholesky").fit(feature[train], self.labels[train])
            scores.append(auc(model.decision_function(feature[test]), self.labels[test]))
        return float(np.mean(scores))


class ForestAttack:
    """Cross-validated random forest of 50 shallow trees on features [2 size, f]; everything follows from the seed."""

    def __init__(self, size: int, folds: int, seed: int) -> None:
        self.seed = seed
        self.split = LossAttack(size, folds, seed)

    def __call__(self, features: Array) -> float:
        """Mean AUC over folds, members first; constant features give 0.5."""
        from sklearn.ensemble import RandomForestClassifier

        scores = []
        for train, test in self.split.folds:
            forest = RandomForestClassifier(FOREST_TREES, max_depth=FOREST_DEPTH, n_jobs=1, random_state=self.seed)
            forest.fit(features[train], self.split.labels[train])
            scores.append(auc(forest.predict_proba(features[test])[:, 1], self.split.labels[test]))
        return float(np.mean(scores))


def forest_features(logits: Array, targets: Index) -> Array:
    """Loss, true-class confidence, margin, entropy (nats) and phi of each record: [n, K], [n] -> [n, 5]."""
    log_p = log_softmax(logits, axis=-1)
    entropy = -(np.exp(log_p) * log_p).sum(axis=-1)
    parts = (loss, true_class_confidence, margin)
    return np.stack([*(part(logits, targets) for part in parts), entropy, phi(logits, targets)], axis=-1)


def auc(scores: Array, labels: Index) -> float:
    """Area under the ROC curve: P(score of a member > score of another) + half of the ties."""
    members, others = scores[labels == 1], scores[labels == 0]
    ordered = np.sort(others)
    below = np.searchsorted(ordered, members, side="left")
    up_to = np.searchsorted(ordered, members, side="right")
    return float((below + up_to).mean() / (2 * len(others)))


def forget_efficacy(retain: Array, held_out: Array, forget: Array) -> float:
    """Share of forget records called unseen by an SVC (C=3, rbf, gamma auto) on confidences [.] (Jia et al. 2023)."""
    from sklearn.svm import SVC

    values = np.concatenate([retain, held_out])[:, None]
    labels = np.concatenate([np.ones(len(retain), dtype=int), np.zeros(len(held_out), dtype=int)])
    called = SVC(C=3, kernel="rbf", gamma="auto").fit(values, labels).predict(forget[:, None])
    return float((called == 0).mean())
