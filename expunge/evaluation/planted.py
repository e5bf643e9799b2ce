"""What the distance sees of a planted set: how sensitive it is where the original itself gives it nothing to see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.confidence import phi
from expunge.evaluation.distance import FOLDS, OracleDistances, OracleFits
from expunge.evaluation.inputs import EvaluationInputs, PlantedSet
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.verdict import PlantedStanding, Standing

Array = NDArray[np.float64]
SUBSETS = 50


def planted_at(inputs: EvaluationInputs, size: int, settings: EvaluationSettings) -> PlantedStanding | None:
    """``planted_standing`` of an evaluation's planted set, worked out once a size; None where there is no such set."""
    planted = inputs.planted
    if planted is None:
        return None
    found: PlantedStanding = inputs.remember(
        f"planted set at {size}", lambda: planted_standing(planted, size, settings), settings
    )
    return found


def planted_standing(planted: PlantedSet, size: int, settings: EvaluationSettings) -> PlantedStanding:
    """How the original and the held-back oracles stand on planted subsets of ``size`` records.

    A planted set larger than the size is judged on up to 50 random subsets of it, since a check that sees 64 records
    need not see one; a smaller one is taken whole. The planted models have no outputs on held-out records: nothing is
    regressed out, so what is seen is less than the check would see.
    Fewer planted oracles than ``distance.FOLDS`` see nothing.
    """
    oracles = phi(planted.oracles, planted.targets)
    m = len(planted.targets)
    if len(oracles) < FOLDS:
        blind = Standing(0.0, 1.0)
        return PlantedStanding(blind, [blind] * len(planted.held_back), seen=0.0)
    fits = OracleFits.of(oracles, np.zeros((len(oracles), 0)), components=0)
    rng = np.random.default_rng(settings.seed)
    if size >= m:
        subsets = [np.arange(m)]
    elif size == 1:
        subsets = [np.array([column]) for column in rng.permutation(m)[:SUBSETS]]
    else:
        subsets = [rng.choice(m, size=size, replace=False) for _ in range(SUBSETS)]
    references = [_reference(fits, columns) for columns in subsets]

    def standing(subset: int, model: Array) -> Standing:
        values = phi(model, planted.targets)[subsets[subset]]
        return references[subset].place_alone(values, np.zeros(0)).standing

    standings = [standing(k, planted.original) for k in range(len(subsets))]
    middle = sorted(standings, key=lambda found: found.p_value)[len(standings) // 2]
    return PlantedStanding(
        original=middle,
        held_back=[standing(0, model) for model in planted.held_back],
        seen=sum(found.fails(settings.level) for found in standings) / len(standings),
    )


def _reference(fits: OracleFits, columns: NDArray[np.int64]) -> OracleDistances:
    """The planted original is looked at alone: no line is needed."""
    return OracleDistances(fits.on(columns), np.zeros((FOLDS, len(columns))))
