"""What was measured under one noise: forget sets with their privacy loss and their time to unlearn, in each measure.

Five measures, each of a set over some of the originals:

* "gap": steps until the mean of phi over the set, the paper's statistic, has come within `gap` of the oracles': the
  square of its distance from their mean in their deviation, over pairs of runs and so without noise to subtract, off
  its best decreasing fit (`smooth_times`). For normal laws half of it times a is the Renyi divergence of order a.
* "band" (the paper's): steps until that mean stays in the oracles' band to the cap, one time a run (`times`).
* "entry" (the paper's): steps until it is in that band for the first time.
* "distance": as "gap" for every record by itself: the energy S_u/m of METHOD section 7.
* "half": steps until half of the influence (METHOD section 7) is left: a share, not a distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from expunge.privacy.rank_correlation import spearman
from expunge.reproduction.forget_curves import Curves
from expunge.reproduction.originals import Original
from expunge.reproduction.predict_sgld.laws import LAWS, LawFit, Observed, fit_law, held_out_scores
from expunge.reproduction.predict_sgld.sets import ForgetSet, Kind
from expunge.reproduction.predict_sgld.smooth_times import distance_times, share_times
from expunge.reproduction.times import Energies, Times, band_times, energies, influence_times

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Measure = Literal["gap", "band", "entry", "distance", "half"]
MEASURES: tuple[Measure, ...] = ("gap", "band", "entry", "distance", "half")
RUN_BY_RUN: tuple[Measure, ...] = ("band", "entry")
HALF = 0.5
# Permutations behind the null of a rank correlation.
SHUFFLES = 2000


@dataclass(frozen=True, eq=False)
class Forgetting:
    """One world under one noise.

    Attributes:
        loss: mean privacy loss of each set under each original, [originals, sets], nats.
        gap: target of the set's mean. target: of S_u/m. A set with less to begin with holds nothing to forget. margin:
            of influence and excess, METHOD section 7's time.
        stability: where the noise is only assumed, the lowest rank correlation over originals between losses under
            three assumptions (METHOD section 4).
    """

    world: str
    regime: str
    sets: tuple[ForgetSet, ...]
    curves: tuple[Curves, ...]
    loss: Array
    gap: float
    target: float
    margin: float
    stability: float | None = None

    @cached_property
    def everyone(self) -> Index:
        """All originals."""
        return np.arange(len(self.loss))

    @cached_property
    def looks(self) -> Array:
        """Steps of the looks, [L]."""
        return self.curves[0].looks.astype(np.float64)

    @property
    def cap(self) -> float:
        """The last look, in steps."""
        return float(self.looks[-1])

    @cached_property
    def energies(self) -> tuple[Energies, ...]:
        """Of every set."""
        return tuple(energies(own.unlearned.own, own.oracles.own, own.original) for own in self.curves)

    @cached_property
    def means(self) -> tuple[Energies, ...]:
        """Of the mean over every set, as if it were one record.

        Floored over the sets as METHOD section 7 floors over records: a set whose oracles lie close by chance is not
        slow for it.
        """

        def mean(values: Array) -> Array:
            together: Array = values.mean(axis=-1)
            return together

        unlearned = np.stack([mean(own.unlearned.own) for own in self.curves], axis=-1)
        oracles = np.stack([mean(own.oracles.own) for own in self.curves], axis=-1)
        original = np.stack([mean(own.original) for own in self.curves], axis=-1)
        found = energies(unlearned, oracles, original)
        return tuple(found.of(slice(k, k + 1)) for k in range(len(self.sets)))

    @cached_property
    def bands(self) -> Mapping[Measure, tuple[Times, ...]]:
        """The paper's times of every set, one a run: staying in the band, and entering it."""
        return {
            measure: tuple(band_times(c.unlearned.own, c.oracles.own, self.looks, stay=stay) for c in self.curves)
            for measure, stay in zip(RUN_BY_RUN, (True, False), strict=True)
        }

    def of_kind(self, kind: Kind) -> Index:
        """Numbers of the sets of a kind, by place."""
        return np.array([k for k, own in enumerate(self.sets) if own.kind == kind], dtype=np.int64)

    def time(self, measure: Measure, number: int, runs: Index) -> Times:
        """Of a set over these runs: one time, or for the paper's measures one a run."""
        if measure in RUN_BY_RUN:
            found = self.bands[measure][number]
            return Times(found.steps[runs], found.censored[runs])
        if measure == "half":
            return share_times(self.energies[number], runs, self.looks, HALF)
        if measure == "distance":
            return distance_times(self.energies[number], runs, self.looks, self.target)
        return distance_times(self.means[number], runs, self.looks, self.gap)

    def margin_time(self, number: int, runs: Index) -> Times:
        """METHOD section 7's time: influence and excess within the margin from then on."""
        return influence_times(self.energies[number], runs, self.looks, self.margin)

    def steps(self, measure: Measure, numbers: Index, runs: Index) -> Array:
        """Of sets, [numbers], the mean over runs where each has its own; the cap where censored."""
        return np.array([float(self.time(measure, k, runs).steps.mean()) for k in numbers])

    def censored(self, measure: Measure, numbers: Index, runs: Index) -> Array:
        """Share of a set's times beyond the cap, [numbers]."""
        return np.array([float(self.time(measure, k, runs).censored.mean()) for k in numbers])

    def mean_loss(self, numbers: Index, runs: Index) -> Array:
        """Mean privacy loss of sets over these originals, [numbers], nats."""
        chosen: Array = self.loss[np.ix_(runs, numbers)].mean(axis=0)
        return chosen

    def correlation(self, measure: Measure, runs: Index) -> float:
        """Spearman of mean loss and time over the sets by loss; NaN where all times are one."""
        numbers = self.of_kind("by loss")
        return spearman(self.mean_loss(numbers, runs), self.steps(measure, numbers, runs))

    def chance(self, measure: Measure, seed: int) -> float:
        """What the correlation exceeds with a chance of 5 % where loss says nothing: times dealt out to sets anew."""
        numbers, rng = self.of_kind("by loss"), np.random.default_rng(seed)
        ranks = [rankdata(values) for values in (
            self.mean_loss(numbers, self.everyone), self.steps(measure, numbers, self.everyone)
        )]  # fmt: skip
        loss, steps = ((own - own.mean()) / max(float(own.std()), 1e-300) for own in ranks)
        dealt = rng.permuted(np.tile(steps, (SHUFFLES, 1)), axis=1)
        return float(np.quantile(dealt @ loss / len(loss), 0.95))

    def observed(self, measure: Measure, runs: Index) -> Observed:
        """Times of the sets by loss, as the laws take them."""
        loss, steps, censored, group = [], [], [], []
        for k in self.of_kind("by loss"):
            found = self.time(measure, int(k), runs)
            each = np.atleast_1d(found.steps)
            own = self.loss[runs, k]
            loss.append(own if measure in RUN_BY_RUN else np.array([own.mean()]))
            steps.append(each)
            censored.append(np.atleast_1d(found.censored))
            group.append(np.full(len(each), k))
        return Observed(
            np.concatenate(loss), np.concatenate(steps), np.concatenate(censored), np.concatenate(group), self.cap
        )

    def scores(self, measure: Measure, runs: Index) -> Mapping[str, float]:
        """Mean held-out log score of a set under each law, nats."""
        found = held_out_scores(self.observed(measure, runs))
        return {name: float(found[name].mean()) for name in LAWS}

    def law(self, measure: Measure, runs: Index) -> LawFit:
        """The logarithmic law fitted to all sets by loss."""
        return fit_law("logarithmic", self.observed(measure, runs))


def forgetting(
    world: str, regime: str, originals: Sequence[Original], sets: tuple[ForgetSet, ...], curves: tuple[Curves, ...],
    gap: float, target: float, margin: float,
) -> Forgetting:  # fmt: skip
    """Put together what the runs left."""
    loss = np.array([[own.loss[one.rows].mean() for one in sets] for own in originals])
    stable = [
        min(own.losses.settings["rank_stability"].values()) for own in originals if "assumed_r0" in own.losses.settings
    ]
    return Forgetting(world, regime, sets, curves, loss, gap, target, margin, min(stable) if stable else None)
