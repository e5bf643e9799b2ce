"""The two scikit-learn attacks and the matching of forget records with held-out ones; arrays in, one number out.

Loss attack: logistic regression on the per-record loss, stratified 10-fold. Confidence attack: the "forget efficacy"
of Jia et al. 2023 (arXiv 2304.04934). Both are as METHOD section 7 names them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]


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
    """Cross-validated logistic regression on a loss per record; the folds depend on the seed only."""

    def __init__(self, size: int, folds: int, seed: int) -> None:
        from sklearn.model_selection import StratifiedKFold

        self.labels = np.concatenate([np.ones(size, dtype=int), np.zeros(size, dtype=int)])
        splitter = StratifiedKFold(n_splits=min(folds, size), shuffle=True, random_state=seed)
        self.folds = list(splitter.split(self.labels[:, None], self.labels))

    def __call__(self, losses: Array) -> float:
        """Mean AUC over folds of losses [2 size], members first; constant losses give 0.5."""
        from sklearn.linear_model import LogisticRegression

        spread = losses.std()
        if spread == 0:
            return 0.5
        feature = ((losses - losses.mean()) / spread)[:, None]
        scores = []
        for train, test in self.folds:
            model = LogisticRegression().fit(feature[train], self.labels[train])
            scores.append(auc(model.decision_function(feature[test]), self.labels[test]))
        return float(np.mean(scores))


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
