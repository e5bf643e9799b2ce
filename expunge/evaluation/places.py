"""Where the models of one evaluation stand among its oracles, on the whole forget set or on some of its records."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.distance import Distance, OracleDistances, OracleFits, direction_of
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.settings import EvaluationSettings

Array = NDArray[np.float64]
Index = NDArray[np.int64]
# Drawn from fewer half-kept models the line is no better than the original's own: besides their runs' noise it holds
# the lottery of which records each of them kept.
FEWEST_HALF_KEPT = 8


class Places:
    """The oracles as a reference on the records of ``forget``, the controls' places, and ``place`` for any other model.

    Args:
        phi: original [n], held_back [H, n], half_kept [K, n]; fits: the oracles on the same forget and held-out rows.
        level: at which the original must be far, for there to be a line to look along.
    """

    def __init__(
        self, phi: Mapping[str, Array], fits: OracleFits, forget: Index, held_out: Index, level: float
    ) -> None:
        self._phi, self._fits, self._level = phi, fits, level
        self._forget, self._held_out = forget, held_out
        self._halves = fits.residuals(*self._parts(phi["half_kept"]))
        self._few = self._halves.shape[1] < FEWEST_HALF_KEPT
        of_original = fits.residuals(*self._parts(phi["original"][None]))[:, 0]
        self.reference = OracleDistances(fits, of_original if self._few else direction_of(self._halves))
        self.original = self.reference.place_alone(*self._parts(phi["original"]))
        # Where the original is among the oracles there is no line to look along, but the accident of some runs.
        self._along = self.original.standing.fails(level)

    @classmethod
    def of(cls, inputs: EvaluationInputs, settings: EvaluationSettings) -> Places:
        """On the whole forget set, worked out once for all models before the same judges.

        Raises:
            UsageError: fewer oracles than ``distance.FOLDS``.
        """

        def made() -> Places:
            forget, held_out = inputs.forget, inputs.held_out
            oracles = inputs.phi["oracles"]
            fits = OracleFits.of(oracles[:, forget], oracles[:, held_out], settings.control_components)
            phi = {role: inputs.phi[role] for role in ("original", "held_back", "half_kept")}
            return cls(phi, fits, forget, held_out, settings.level)

        found: Places = inputs.remember("places", made, settings)
        return found

    def on(self, positions: Index) -> Places:
        """The same models on some of the forget records, by their positions among them."""
        return Places(self._phi, self._fits.on(positions), self._forget[positions], self._held_out, self._level)

    def place(self, phi: Array) -> Distance:
        """Any model, phi [n] on all records of the evaluation."""
        return self._place(self.reference, phi)

    @cached_property
    def held_back(self) -> list[Distance]:
        return [self.place(model) for model in self._phi["held_back"]]

    @cached_property
    def half_kept(self) -> list[Distance]:
        """Each along a line drawn from the others, as it would be if it were the model in question."""
        if self._few:
            return [self.place(model) for model in self._phi["half_kept"]]
        found = []
        for k, model in enumerate(self._phi["half_kept"]):
            line = direction_of(np.delete(self._halves, k, axis=1))
            found.append(self._place(OracleDistances(self._fits, line), model))
        return found

    def _parts(self, phi: Array) -> tuple[Array, Array]:
        return phi[..., self._forget], phi[..., self._held_out]

    def _place(self, reference: OracleDistances, phi: Array) -> Distance:
        return (reference.place if self._along else reference.place_alone)(*self._parts(phi))
