"""What did a run cost, in retrainings? Examples through forward and backward, marginal and with everything counted."""

from __future__ import annotations

from collections.abc import Mapping

MARGINAL = "unlearning"
EVERYTHING = "everything"
_ONCE_A_MODEL = ("scoring", "calibration")


def run_costs(
    marginal: float,
    *,
    look_oracles: int,
    judges: int,
    cross_fitted: int,
    scored_checkpoints: int,
    records: int,
    examples_per_retraining: float,
    calibration: float,
    earlier_attempts: float = 0.0,
) -> dict[str, float]:
    """Cost by purpose and in all. Every reference model is one retraining; scoring passes each record once a
    checkpoint.
    """
    costs = {
        MARGINAL: marginal,
        "look oracles": float(look_oracles),
        "judging models": float(judges),
        "difficulty models": float(cross_fitted),
        "scoring": scored_checkpoints * records / examples_per_retraining,
        "calibration": calibration,
        "earlier attempts": earlier_attempts,
    }
    spent = {name: value for name, value in costs.items() if value or name == MARGINAL}
    return {**spent, EVERYTHING: sum(spent.values())}


def break_even_runs(costs: Mapping[str, float]) -> float | None:
    """Deletion runs after which scoring and calibration have paid for themselves; None when they never do.

    Compared with retraining for every run with the same judging models; the looks on the way are the run's own.
    """
    saved = 1.0 - costs[MARGINAL] - costs.get("look oracles", 0.0) - costs.get("earlier attempts", 0.0)
    return sum(costs.get(name, 0.0) for name in _ONCE_A_MODEL) / saved if saved > 0 else None
