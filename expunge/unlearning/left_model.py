"""What would each way of forgetting leave, and how sure is that? Surfaces through pilots, and how far they missed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from expunge.unlearning.left_surface import Surface, family, trust
from expunge.unlearning.pilots import PilotSet, Way

Array = NDArray[np.float64]
# Below 19 nothing can be said at 90 % (METHOD section 6, conformal intervals).
FEWEST_FOR_COVERAGE = 19
COVERAGE = 0.9


class LeftModel:
    """One surface for each family of ways.

    Args:
        pilots: calibration's measurable sets. spent: later runs; they join the fit, not the misses.
        ways: those that are predicted for, of which pilots tried some.
    """

    def __init__(
        self, pilots: Sequence[PilotSet], spent: Sequence[PilotSet], ways: Sequence[Way], retrain_steps: int
    ) -> None:
        tried = {c.way for p in pilots for c in p.candidates}
        ordered = [way for way in ways if way in tried]
        self._count = len(pilots)
        self._trust = trust(np.array([p.energy for p in pilots]))
        self.surfaces = {
            name: Surface.through(
                [way for way in ordered if family(way) == name], [*pilots, *spent], len(pilots), retrain_steps
            )
            for name in {family(way) for way in ordered}
        }

    def left(self, way: Way, mean_loss: float) -> tuple[float, float] | None:
        """(influence, excess) of a set of this mean loss; None for a family that no pilot tried."""
        surface = self.surfaces.get(family(way))
        return None if surface is None else surface.at(way, mean_loss)

    def margin(self, way: Way, caution: float) -> float:
        """A normal quantile of the pilots' misses; infinite where there is no second pilot to miss."""
        return max(0.0, -float(ndtri(caution))) * self._spread(way) if self._count > 1 else math.inf

    def band(self, way: Way, energy: float) -> tuple[float, float] | None:
        """How far below and above its prediction a set of this energy may be measured; None with too few pilots."""
        low, high = self.quantiles
        spread = self._spread(way) / math.sqrt(max(float(trust(energy)), 1e-6))
        return None if low is None or high is None or not spread else (low * spread, high * spread)

    @cached_property
    def quantiles(self) -> tuple[float | None, float | None]:
        """How many spreads below and above its prediction a pilot's worst way lay, at the conformal level.

        The score of a pilot is the largest over all ways, so that the way that is chosen is covered too. Predictions
        leave the pilot out (cross-conformal).
        """
        parts = [self._scores(name) / own for name, own in self._spreads.items() if own.all()]
        if self._count < FEWEST_FOR_COVERAGE or not parts:
            return None, None
        scores = np.concatenate(parts, axis=1)
        rank = min(self._count, math.ceil((self._count + 1) * (1 + COVERAGE) / 2)) - 1
        return float(np.sort(-scores.min(axis=1))[rank]), float(np.sort(scores.max(axis=1))[rank])

    def _spread(self, way: Way) -> float:
        name = family(way)
        return float(self._spreads[name][self.surfaces[name].nearest(way)])

    @cached_property
    def _spreads(self) -> dict[str, Array]:
        """Root mean square of the scores of each way, by surface."""
        return {name: np.asarray(np.sqrt(np.mean(self._scores(name) ** 2, axis=0))) for name in self.surfaces}

    def _scores(self, name: str) -> Array:
        """Misses of the pilots, [pilots, ways], as if all had been measured alike."""
        scores: Array = self.surfaces[name].misses * np.sqrt(self._trust)[:, None]
        return scores
