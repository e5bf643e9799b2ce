"""How far apart are the margins of unlearned models and of models that never saw the record? KLOM.

Georgiev et al. 2024 (arXiv 2410.23232): per record, the KL divergence between the histogram of phi (their margin, the
true logit minus logsumexp of the others) over the unlearned ensemble and the one over an ensemble that never saw it;
20 bins between the extremes of both, empty bins of the second floored at 1e-5, phi cut at +-100. The estimate is
biased up: identical laws read 7.95 with 5 models an arm and .63 with 64. So what is judged is the excess over the
never-trained models' own value, both at the same size: the never-trained arm is split into halves, and one half is
compared with the other and with as many unlearned models.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.evaluation.ensembles import Ensembles, priorities, split_and_null, two_gaussians
from expunge.evaluation.evidence import CheckResult, Details, RoleValue
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.shadow_judging import ShadowJudgement

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
NAME, TITLE = "klom", "KLOM: divergence of unlearned from never-trained models' margins"
BINS = 20
FLOOR = 1e-5
CUT = 100.0


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


def klom(phi: Array, trained: Mask, *, seed: int = 0) -> Klom:
    """KLOM and its null: phi [M, a], trained bool [M, a] (True: trained on it and then unlearned).

    Raises:
        UsageError: see ``histogram_kl``; a record with fewer than two models that never saw it.
    """
    drawn = priorities(phi.shape, seed)
    split, null = split_and_null(phi, trained, drawn, histogram_kl)
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


def _excess(phi: Array, trained: Mask, drawn: Array) -> float:
    split, null = split_and_null(phi, trained, drawn, histogram_kl)
    return float((split - null).mean())


@lru_cache(maxsize=16)
def margin_nats(half: int, auc_margin: float) -> float:
    """The excess that this estimator reads on two Gaussians with AUC 1/2 + ``auc_margin``, ``half`` models an arm."""
    return two_gaussians(half, auc_margin, histogram_kl)


def klom_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """KLOM on ``inputs.shadows``: the excess on the records to forget within what AUC 1/2 + ``shadow_margin`` reads."""
    found = Ensembles.of(inputs, settings, NAME, TITLE)
    if isinstance(found, CheckResult):
        return found
    own = klom(found.stacks[0], found.trained, seed=settings.seed)
    bounds, judged = found.judged(_excess, margin_nats(own.half, settings.shadow_margin))
    values = {
        "unlearned": RoleValue(value=own.excess, interval=bounds[0].interval, p_value=judged.p_value),
        "original": RoleValue(note="no outputs before unlearning"),
        "null": RoleValue(value=judged.null[0], interval=judged.null[1:], note="permuted membership, 5 to 95 %"),
    }
    if len(bounds) > 1:
        values["original"] = RoleValue(value=bounds[1].value, interval=bounds[1].interval)
    details: Details = {
        "unit": "nats, mean over records",
        "interval_over": "models (delete-group jackknife, 90 %; about twice too wide for histograms)",
        "raw": own.raw,
        "split": own.split,
        "never_trained_null": own.null,
        "per_record_quartiles": np.quantile(own.per_record, [0.25, 0.5, 0.75]).tolist(),
    }
    return found.result(NAME, TITLE, bounds, judged, values, own.half, _words(judged, own), details)


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
