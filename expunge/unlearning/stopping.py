"""When is it enough? Looks at the model being unlearned, against oracles that never judge the result.

A fixed number of looks; each compares the model's distance to the look oracles with their own distances and its
excess with the target (METHOD sections 6 and 7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from expunge.data import RecordTable
from expunge.evaluation.confidence import phi
from expunge.evaluation.influence import model_influence
from expunge.evaluation.oracle_reference import OracleReference
from expunge.models import ModelSpec
from expunge.training import predict
from expunge.unlearning.plan import Look


@dataclass(frozen=True)
class LookReference:
    """The forget records, and what the original and the look oracles say of them.

    original [m, classes]; oracles [R, m, classes]; `level` is the significance of a single look; `device` that of the
    model that is looked at.
    """

    spec: ModelSpec
    forget: RecordTable
    original: NDArray[np.float32]
    oracles: NDArray[np.float32]
    target: float
    level: float
    device: str = "cpu"

    def look(self, state: Mapping[str, Tensor], steps_spent: int, start_step: int) -> Look:
        """Passed when the model lies among the look oracles with influence and excess within the target."""
        y = self.forget.targets
        model = phi(predict(self.spec, state, self.forget, self.device), y)
        oracles, original = phi(self.oracles, y), phi(self.original, y)
        rank = OracleReference(oracles).rank(model)
        left = model_influence(model, oracles, original)
        among = rank.p_value > self.level
        close = max(left.excess or 0.0, left.influence or 0.0) <= self.target
        share = (
            "no measurable distance in the original"
            if left.excess is None
            else f"influence {left.influence:.2f}, excess {left.excess:.2f}"
        )
        where = "among the look oracles" if among else "outside the look oracles"
        return Look(
            steps_spent=steps_spent,
            start_step=start_step,
            influence=None if left.influence is None else float(left.influence),
            excess=None if left.excess is None else float(left.excess),
            p_value=float(rank.p_value),
            passed=bool(among and close),
            words=f"{where} (p = {rank.p_value:.2f}), {share}",
        )
