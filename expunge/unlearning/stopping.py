"""When is it enough? Looks at the model being unlearned, against oracles that never judge the result.

A fixed number of looks; each compares the model's distance to the look oracles with their own distances, on the records
to forget and on records that stay, and its influence and excess with the target (METHOD sections 6 and 7). It also says
which of the records are still remembered: how many, and of which requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Staying:
    """Records that stay, and what the look oracles say of them: oracles [R, r, classes]."""

    records: RecordTable
    oracles: NDArray[np.float32]


@dataclass(frozen=True)
class LookReference:
    """The forget records, and what the original and the look oracles say of them.

    original [m, classes]; oracles [R, m, classes]; `level` is the significance of a single look, shared by its two
    tests; `device` that of the model that is looked at; `requests`: rows of `forget` by request.
    """

    spec: ModelSpec
    forget: RecordTable
    original: NDArray[np.float32]
    oracles: NDArray[np.float32]
    target: float
    level: float
    device: str = "cpu"
    staying: Staying | None = None
    requests: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def look(self, state: Mapping[str, Tensor], steps_spent: int, start_step: int) -> Look:
        """Passed when the model lies among the look oracles, with influence and excess within the target."""
        y = self.forget.targets
        model = phi(predict(self.spec, state, self.forget, self.device), y)
        oracles, original = phi(self.oracles, y), phi(self.original, y)
        p_value = float(OracleReference(oracles).rank(model).p_value)
        p_staying = self._p_staying(state)
        left = model_influence(model, oracles, original)
        # With few oracles a share of the level is below any rank's p: then the farthest place of all is what counts.
        level = max(self.level if p_staying is None else self.level / 2, 1 / (len(oracles) + 1) + 1e-12)
        among, undisturbed = p_value > level, p_staying is None or p_staying > level
        close = max(left.excess or 0.0, abs(left.influence or 0.0)) <= self.target
        beyond = _beyond(model, oracles, original)
        share = (
            "no measurable distance in the original"
            if left.excess is None
            else f"influence {left.influence:.2f}, excess {left.excess:.2f}"
        )
        words = f"{'among' if among else 'outside'} the look oracles (p = {p_value:.2f}), {share}"
        if not close:
            words += f", over the target of {self.target:.0%}"
        if not undisturbed:
            words += f"; the records that stay are unlike the look oracles' too (p = {p_staying:.2f})"
        return Look(
            steps_spent=steps_spent,
            start_step=start_step,
            influence=None if left.influence is None else float(left.influence),
            excess=None if left.excess is None else float(left.excess),
            p_value=p_value,
            p_staying=p_staying,
            remembered=int(beyond.sum()),
            remembered_by_chance=len(y) / (len(oracles) + 1),
            standing_out=self._standing_out(model, oracles, original),
            passed=bool(among and undisturbed and close),
            words=words,
        )

    def _p_staying(self, state: Mapping[str, Tensor]) -> float | None:
        """The model's place on the records that stay: a run must not have moved them either."""
        if self.staying is None:
            return None
        y = self.staying.records.targets
        model = phi(predict(self.spec, state, self.staying.records, self.device), y)
        return float(OracleReference(phi(self.staying.oracles, y)).rank(model).p_value)

    def _standing_out(self, model: Array, oracles: Array, original: Array) -> tuple[str, ...]:
        """Requests whose own records lie farther out than with any look oracle, on the original's side."""
        found = []
        for name, rows in self.requests.items():
            if not len(rows):
                continue
            rank = OracleReference(oracles[:, rows]).rank(model[rows])
            centre = oracles[:, rows].mean(axis=0)
            toward = float(((model[rows] - centre) * (original[rows] - centre)).sum()) > 0
            if toward and rank.p_value <= 1 / (len(oracles) + 1) + 1e-12:
                found.append(name)
        return tuple(found)


def _beyond(model: Array, oracles: Array, original: Array) -> NDArray[np.bool_]:
    """Records [m] of which the model is farther on the original's side than every look oracle."""
    side = np.sign(original - oracles.mean(axis=0))
    result: NDArray[np.bool_] = (side * model > (side * oracles).max(axis=0)) & (side != 0)
    return result
