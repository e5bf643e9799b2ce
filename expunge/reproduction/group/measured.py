"""What was measured of every group: what each predictor said of it, and how hard it then was to unlearn.

Every figure is of some originals at once, named by their indices `runs`, so that seeds can be left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.privacy.rank_correlation import spearman
from expunge.reproduction.findings import Estimate, jackknife
from expunge.reproduction.forget_curves import Curves
from expunge.reproduction.group.sets import ADVERSARIAL, GroupSet
from expunge.reproduction.times import Energies, Times, energies, staying
from expunge.reproduction.work import Part

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.int64]

# Difficulty: name -> what it is.
ENERGY, LEFT, TIME = "energy remembered", "energy left", "time to unlearn"
TARGETS: dict[str, str] = {
    ENERGY: "S_o/m, the originals' squared distance from their oracles on the set, in the oracles' variances a record",
    LEFT: "S_u/m, the same distance after a fixed budget of fine-tuning on the retain set",
    # by the distance alone: the part along the original's own displacement is in it, and measured by itself it is the
    # noisier the more there was to forget
    TIME: "steps of fine-tuning until S_u/m stays within a margin",
}


@dataclass(frozen=True, eq=False)
class Measured:
    """One world's groups.

    predictors: by name, [originals, sets], nats. curves: of each set, unlearning runs and oracles. checks: of each
    set, the set-level loss by every estimator (`group_predictors.estimator_check`). budget: index of the look after
    the fixed fine-tuning. margin: of TIME, in oracles' variances a record.
    """

    name: str
    sets: tuple[GroupSet, ...]
    predictors: dict[str, Array]
    curves: tuple[Curves, ...]
    checks: tuple[Part, ...]
    budget: int
    margin: float
    order: float
    full_batch: bool

    @cached_property
    def energies(self) -> tuple[Energies, ...]:
        """Of each set."""
        return tuple(energies(own.unlearned.own, own.oracles.own, own.original) for own in self.curves)

    @cached_property
    def _known(self) -> dict[tuple[str, tuple[int, ...]], Array]:
        """Difficulties found before: the same few subsets of the originals are asked for by every estimate."""
        return {}

    @property
    def seeds(self) -> int:
        """Originals."""
        return len(self.curves[0].unlearned.own)

    @property
    def looks(self) -> Index:
        """Steps at which unlearning runs were looked at."""
        return self.curves[0].looks

    def scope(self, name: str) -> Mask:
        """Which sets, [sets]: "all sets", "adversarial sets", or "without KIND"."""
        kinds = [own.kind for own in self.sets]
        if name == "all sets":
            return np.ones(len(kinds), dtype=bool)
        if name == "adversarial sets":
            return np.array([kind in ADVERSARIAL for kind in kinds])
        left_out = name.removeprefix("without ")
        return np.array([kind != left_out for kind in kinds])

    def predicted(self, predictor: str, runs: Index) -> Array:
        """Mean loss over these originals, [sets], nats."""
        values: Array = self.predictors[predictor][runs].mean(axis=0)
        return values

    def difficulty(self, target: str, runs: Index) -> Array:
        """How hard each set is, [sets]."""
        key = (target, tuple(runs.tolist()))
        if key not in self._known:
            self._known[key] = self._difficulty(target, runs)
        return self._known[key]

    def _difficulty(self, target: str, runs: Index) -> Array:
        if target == ENERGY:
            return np.array([own.energy(runs) for own in self.energies])
        if target == LEFT:
            return np.array([own.energy_left(runs)[self.budget] for own in self.energies])
        return self.times(runs).steps

    def times(self, runs: Index) -> Times:
        """Steps to unlearn each set, [sets], of these runs together."""
        inside = np.array([own.energy_left(runs) <= self.margin for own in self.energies])
        return staying(inside, self.looks.astype(np.float64))

    def correlation(self, predictor: str, target: str, scope: Mask, runs: Index) -> float:
        """Spearman's, over the sets of `scope`."""
        return spearman(self.predicted(predictor, runs)[scope], self.difficulty(target, runs)[scope])

    def partial(self, predictor: str, held: str, target: str, runs: Index) -> float:
        """Spearman's over all sets with the ranks by `held` taken out of both sides."""
        everything = self.scope("all sets")
        own = self.correlation(predictor, target, everything, runs)
        other = self.correlation(held, target, everything, runs)
        both = spearman(self.predicted(predictor, runs), self.predicted(held, runs))
        scale = (1 - other**2) * (1 - both**2)
        return (own - other * both) / math.sqrt(scale) if scale > 0 else math.nan

    def log_ratio(self, figure: Callable[[Index], Array], above: str, below: str, runs: Index) -> float:
        """ln of the mean of `figure` [sets] over sets whose names begin with `above`, over that for `below`.

        Raises UsageError for a mean that is not above 0: energies are unbiased, so chance takes them below.
        """
        values = figure(runs)
        means = {
            start: float(values[[own.name.startswith(start) for own in self.sets]].mean()) for start in (above, below)
        }
        for start, mean in means.items():
            if not mean > 0:
                raise UsageError(f"the mean over {start} groups is not above 0, or not without one of the originals")
        return math.log(means[above] / means[below])

    def drift(self) -> tuple[float, float]:
        """Mean phi of held-out records after the last look, less the oracles'; and the oracles' deviation of it."""
        moved = [float(c.unlearned.held_out[:, -1].mean() - c.oracles.held_out.mean()) for c in self.curves]
        spread = [float(c.oracles.held_out.std()) for c in self.curves]
        return float(np.mean(moved)), float(np.mean(spread))


def estimate_or_reason(figure: Callable[[Index], float], seeds: int, unit: str = "") -> Estimate | str:
    """The jackknife estimate, or why there is none."""
    try:
        return jackknife(figure, seeds, unit)
    except UsageError as error:
        return error.message
