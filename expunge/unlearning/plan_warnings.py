"""What to know before a plan is carried out: extrapolation, too few pilots, requests that set everyone's bill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from expunge.privacy.forget_sets import ForgetSet
from expunge.privacy.scores import PrivacyLosses, flat_distribution_warning
from expunge.unlearning.candidates import PlanningSettings
from expunge.unlearning.left_model import FEWEST_FOR_COVERAGE
from expunge.unlearning.plan import Candidate
from expunge.unlearning.predictor import SIZE_SLACK, BudgetPredictor

# Chosen here: a request that raises the run's cost by this share of a retraining is named.
BILL = 0.10
# Tukey's outer fence ("far out"), on the logarithm of the loss (Tukey 1977, Exploratory Data Analysis).
FENCE = 3.0


def plan_warnings(
    forget: ForgetSet,
    requests: Mapping[str, Sequence[str]],
    losses: PrivacyLosses,
    predictor: BudgetPredictor | None,
    chosen: Candidate,
    settings: PlanningSettings,
) -> tuple[str, ...]:
    """Everything worth a warning, in sentences without a full stop."""
    found = [flat_distribution_warning(losses.total)]
    if chosen.cost > settings.max_cost:
        found.append(f"the cost of {chosen.cost:.2f} retrainings is over the cap of {settings.max_cost:.2f}")
    if chosen.method == "keep":
        found.append(
            "every checkpoint has seen the records and is destroyed: the next request on it needs a retraining"
        )
    if predictor is not None:
        found += _extrapolated(forget, losses, predictor)
        found += _bills(requests, losses, predictor, chosen, settings)
    found += _far_out(requests, losses)
    return tuple(words for words in found if words)


def _extrapolated(forget: ForgetSet, losses: PrivacyLosses, predictor: BudgetPredictor) -> list[str]:
    """Is the set like the pilots, in difficulty and in size?"""
    if not predictor.pilots:
        return ["the calibration ran no pilot set: nothing is predicted"]
    found = []
    mean = float(np.mean(losses.select(forget.record_ids).total))
    low, high = predictor.loss_range
    if not low <= mean <= high:
        found.append(f"extrapolated: mean privacy loss {mean:.3g} lies outside the pilots' {low:.3g} to {high:.3g}")
    smallest, largest = predictor.sizes
    if not smallest / SIZE_SLACK <= len(forget) <= SIZE_SLACK * largest:
        had = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
        found.append(f"extrapolated: {len(forget)} records, the pilots had {had}")
    if len(predictor.measurable) < FEWEST_FOR_COVERAGE:
        found.append(f"{len(predictor.measurable)} measurable pilot sets: the prediction is indicative")
    return found


def _bills(
    requests: Mapping[str, Sequence[str]],
    losses: PrivacyLosses,
    predictor: BudgetPredictor,
    chosen: Candidate,
    settings: PlanningSettings,
) -> list[str]:
    """Requests without which the others would be answered for much less."""
    # A plan to retrain has reasons of its own; what single requests cost beside it is not known.
    if len(requests) < 2 or chosen.predicted_left is None or chosen.method == "retrain":
        return []
    found = []
    for name in requests:
        others = sorted({record for other, ids in requests.items() if other != name for record in ids})
        if len(others) < (predictor.visible_size or 1):
            continue  # by themselves they would be retrained for
        without = cheapest_cost(predictor, float(np.mean(losses.select(others).total)), settings)
        if chosen.cost - without >= BILL:
            found.append(
                f"request {name} raises the cost of this run from {without:.2f} to {chosen.cost:.2f} retrainings: "
                "answer it with the next retraining, if its deadline allows"
            )
    return found


def alone_costs(
    requests: Mapping[str, Sequence[str]],
    losses: PrivacyLosses,
    predictor: BudgetPredictor | None,
    settings: PlanningSettings,
) -> dict[str, float]:
    """What a run for each request by itself would cost, at least; empty where there is only one that names a record.

    At least, for every run takes away checkpoints that the next one could go back to. Requests that name no record of
    the training set cost nothing, and those too small for the tests to see need retraining.
    """
    if sum(bool(ids) for ids in requests.values()) < 2:
        return {}
    visible = None if predictor is None else predictor.visible_size

    def alone(ids: Sequence[str]) -> float:
        if not ids:
            return 0.0
        if predictor is None or visible is None or len(ids) < visible:
            return 1.0
        return cheapest_cost(predictor, float(np.mean(losses.select(ids).total)), settings)

    return {name: alone(ids) for name, ids in requests.items()}


def cheapest_cost(predictor: BudgetPredictor, mean_loss: float, settings: PlanningSettings) -> float:
    """Cost of the cheapest way that should meet the target for a set of this mean loss; 1 where only retraining does.

    Counts every way that the pilots tried, as if all checkpoints were there.
    """
    if settings.keep and mean_loss <= predictor.nothing_below:
        return 0.0
    way = predictor.cheapest(mean_loss, settings.caution)
    return 1.0 if way is None else predictor.ways[way]


def _far_out(requests: Mapping[str, Sequence[str]], losses: PrivacyLosses) -> list[str]:
    """Requests whose records are far harder than training records are: rare, or made to be expensive."""
    logs = np.log(np.maximum(losses.total, np.finfo(np.float64).tiny))
    low, high = np.quantile(logs, [0.25, 0.75])
    fence = high + FENCE * (high - low)
    found = []
    for name, ids in requests.items():
        own = np.log(np.maximum(losses.select(ids).total, np.finfo(np.float64).tiny)) if ids else np.empty(0)
        out = int((own > fence).sum())
        if out:
            found.append(
                f"request {name}: {out} of {len(own)} records have a privacy loss far out of the training set's range; "
                "look at them, such records can be planted to make unlearning expensive"
            )
    return found


def models_still_trained(level: str, look_oracles: int, half_kept: int) -> str:
    """What a run below evidence level oracle retrains all the same; nothing to say at level oracle."""
    if level == "oracle":
        return ""
    words = f"evidence level {level}: {look_oracles} models are retrained to look (evaluation.look_oracles)"
    if level == "pool":
        words += f", and {half_kept} with half of the records to show the power (evaluation.half_kept)"
    return words
