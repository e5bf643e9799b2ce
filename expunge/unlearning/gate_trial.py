"""Would the gate see what this run left? Its own distance, tried in calibration on the hardest pilot set.

What is left as a share of the original's influence does not say it: of a set that the original remembers strongly, a
tenth is still far outside the oracles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.confidence import phi
from expunge.evaluation.distance import OracleDistances, OracleFits
from expunge.evaluation.settings import EvaluationSettings
from expunge.training.randomness import derived_seed

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
CONTROLS = 200


class GateTrial:
    """The oracles of one pilot set as the gate would use them, looking along the line to models that trained on it.

    Args:
        oracles, trained: logits [R, n, classes] of models without the set and [I, n, classes] of models with it.
        forget, others: rows of the set, and rows from which controls are drawn: trained on by all models alike.
    """

    def __init__(
        self,
        oracles: NDArray[np.float32],
        trained: NDArray[np.float32],
        targets: NDArray[np.int64],
        forget: Rows,
        others: Rows,
        seed: int,
    ) -> None:
        rng = np.random.default_rng(derived_seed(seed, "gate trial"))
        self._controls = np.sort(rng.choice(others, min(CONTROLS, len(others)), replace=False))
        self._forget, self._targets = forget, targets
        components = min(EvaluationSettings().control_components, len(self._controls))
        fits = OracleFits.of(*self._parts(oracles), components=components)
        self._reference = OracleDistances(fits, fits.residuals(*self._parts(trained)).mean(axis=1))

    def p_value(self, runs: NDArray[np.float32]) -> float:
        """Mean p-value of the runs, logits [K, n, classes]: one half for models that never saw the set.

        Not the share that passes: a few runs that all pass barely would be refused on a set somewhat larger.
        """
        return float(np.mean([self._reference.place(*parts).p_value for parts in zip(*self._parts(runs), strict=True)]))

    def _parts(self, logits: NDArray[np.float32]) -> tuple[Array, Array]:
        forget, controls = (phi(logits[:, rows], self._targets[rows]) for rows in (self._forget, self._controls))
        return forget, controls
