"""Does the planner choose well? Its choices on sets it was not calibrated on, against the best that was possible."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, spearmanr
from sklearn.isotonic import IsotonicRegression

from expunge.reproduction.adaptive.planner import KEEP, RETRAIN, Ways, chosen
from expunge.unlearning.pilots import MEASURABLE_ENERGY, Way, left
from expunge.unlearning.predictor import BudgetPredictor

Array = NDArray[np.float64]
TARGET, CAUTION = 0.10, 0.4
TARGETS = (0.02, 0.05, 0.07, 0.10, 0.15, 0.2, 0.3, 0.5)


def chosen_among(predictor: BudgetPredictor, mean_loss: float, among: list[Way]) -> Way:
    """As `chosen`, of these ways alone."""
    if (way := chosen(predictor, mean_loss, CAUTION)) == KEEP:
        return way
    told = [(predictor.ways[way], predictor.expected(way, mean_loss, CAUTION), way) for way in among]
    enough = [(c, e.value, way) for c, e, way in told if e is not None and predictor.meets(way, e, mean_loss)]
    return min(enough)[2] if enough else RETRAIN


def families(ways: Ways) -> list[list[int]]:
    """Places of the plain rewinds, and of the unrolled ones of each strength, cheapest first."""
    kinds = sorted({(way.method, way.strength or 0.0) for way in ways.ways})
    return [
        sorted(
            (k for k, way in enumerate(ways.ways) if (way.method, way.strength or 0.0) == kind),
            key=lambda k: ways.cost(ways.ways[k]),
        )
        for kind in kinds
    ]


def measured_left(parts: Array) -> Array:
    """[..., 3] sums -> what counts against the target."""
    return np.maximum(np.abs(parts[..., 0]), parts[..., 1]) / parts[..., 2]


def best_costs(ways: Ways, parts: Array, records: int) -> Array:
    """cost* of each set from [ways, sets, 3]: the cheapest way that left no more than the target; 0: nothing to forget.

    What a family of ways left is made monotone in its cost first, so that no lucky run of one point decides.
    """
    found = []
    for n in range(parts.shape[1]):
        if parts[0, n, 2] / records < MEASURABLE_ENERGY:
            found.append(0.0)
            continue
        enough = [1.0]
        for family in families(ways):
            costs = np.array([ways.cost(ways.ways[k]) for k in family])
            smooth = IsotonicRegression(increasing=False).fit_transform(costs, measured_left(parts[family, n]))
            enough += costs[smooth <= TARGET][:1].tolist()
        found.append(min(enough))
    return np.array(found)


def quality(costs: Array, best: Array, missed: Array, difficulty: Array) -> dict[str, Any]:
    """How planned costs [sets] agree with cost*; `missed` [sets]: nan where there was nothing to forget."""
    thirds = np.array_split(np.argsort(difficulty, kind="stable"), 3)
    counted = ~np.isnan(missed)
    positive = best > 0
    errors = np.abs(costs - best)[positive] / best[positive]
    return {
        "sets": len(best),
        "mean_cost": float(costs.mean()),
        "mean_best": float(best.mean()),
        "nothing_to_forget": int((best == 0).sum()),
        "spearman": spearman(costs, best),
        "spearman_by_third": [spearman(costs[rows], best[rows]) for rows in thirds],
        "median_error": float(np.median(errors)) if positive.any() else None,
        "missed": int(missed[counted].sum()),
        "measurable": int(counted.sum()),
    }


def coverage(predictor: BudgetPredictor, ways: Ways, losses: Array, best: Array) -> dict[str, Any] | None:
    """How often the 90 % interval of the cost that is needed holds cost*, and its median width."""
    inside, widths = [], []
    for mean_loss, needed in zip(losses, best, strict=True):
        told = [(ways.cost(way), predictor.expected(way, float(mean_loss), CAUTION)) for way in predictor.ways]
        known = [(cost, one.low, one.high) for cost, one in told if one is not None and one.low is not None]
        if not known:
            return None
        low = min([cost for cost, least, _ in known if least <= TARGET], default=1.0)
        high = min([cost for cost, _, most in known if most is not None and most <= TARGET], default=1.0)
        if mean_loss <= predictor.nothing_below:
            low, high = 0.0, 0.0
        inside.append(low <= needed <= high)
        widths.append(high - low)
    interval = binomtest(sum(inside), len(inside)).proportion_ci(0.95)
    return {
        "covered": int(sum(inside)), "of": len(inside), "interval": [float(interval.low), float(interval.high)],
        "median_width": float(np.median(widths)),
    }  # fmt: skip


def spearman(a: Array, b: Array) -> float | None:
    return None if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a, b).statistic)


def needs(parts: Array, records: int) -> float:
    """1 where a set was left with more than the target, 0 where not, nan where there was nothing to forget: [3]."""
    if parts[2] / records < MEASURABLE_ENERGY:
        return float("nan")
    return float(left(float(parts[0] / parts[2]), float(parts[1] / parts[2])) > TARGET)
