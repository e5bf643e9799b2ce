"""From pilots to a prediction: is there anything to forget, and what would each way of forgetting leave of it?

Both as a function of the set's mean privacy loss (METHOD section 6). What is left is predicted for every way that the
pilots tried, influence and excess apart; the law of the steps needed is reported beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.training import Trajectory
from expunge.unlearning.laws import LawFit, compare_laws
from expunge.unlearning.left_model import LeftModel
from expunge.unlearning.pilots import PilotSet, Way, energy_left, left
from expunge.unlearning.plan import Document

Array = NDArray[np.float64]
# Strengths of unrolled rewinds are interpolated this finely.
STRENGTH_STEP = 0.1
# A share of the pilots at least as easy may have held something where "nothing to forget" is predicted.
WRONGLY_NOTHING = 0.1
FEWEST_EASY = 5
# Up to twice as large or as small counts as the size of the pilots.
SIZE_SLACK = 2
# Mean p-value of a way's runs under the gate's distance: retrained models have one half, and three of them less than
# this in one case of 14 (the mean of three uniform numbers).
GATE_P_NEEDED = 0.25
# From this share of its energy on, a set is like the one that the gate was tried on.
LIKE_THE_TRIED = 0.5


@dataclass(frozen=True)
class Expected:
    """What a way is predicted to leave of the original's influence, as a share of it.

    value: the best guess. cautious: with the margin that the plan's caution asks for, a normal quantile of the pilots'
    misses; infinite where there is no second pilot to miss. energy: the same
    in units of the oracles' variance, which is what the gate can see. low, high: the
    conformal interval at 90 % of what would be measured on such a set, over all ways at once; None with too few pilots.
    """

    value: float
    cautious: float
    energy: float
    low: float | None
    high: float | None


class BudgetPredictor(Document):
    """What the pilots say.

    `cost` is what the calibration itself took, in retrainings. `visible_size`: fewest records of a hard set on which
    the gating test tells the original from oracles; None where it never did. `model`, `data_fingerprint`: what was
    calibrated; None in calibrations of before it was recorded. `spent`: later runs on the same model; they join the
    fit, not the intervals (METHOD section 6).
    """

    format: Literal["expunge.predictor/2"] = "expunge.predictor/2"
    target: float
    retrain_steps: int
    pilots: tuple[PilotSet, ...]
    spent: tuple[PilotSet, ...] = ()
    laws: tuple[LawFit, ...] = ()
    cost: float = 0.0
    visible_size: int | None = None
    model: dict[str, Any] | None = None
    data_fingerprint: str | None = None

    @cached_property
    def measurable(self) -> tuple[PilotSet, ...]:
        """The pilots that the original remembered measurably."""
        return tuple(p for p in self.pilots if p.measurable)

    @property
    def loss_range(self) -> tuple[float, float]:
        """Least and largest mean privacy loss of a pilot set."""
        losses = [p.mean_loss for p in self.pilots]
        return (min(losses), max(losses)) if losses else (0.0, 0.0)

    @property
    def sizes(self) -> tuple[int, int]:
        """Records of the smallest and of the largest pilot set."""
        return min((p.size for p in self.pilots), default=0), max((p.size for p in self.pilots), default=0)

    def larger_than_pilots(self, size: int) -> bool:
        """Whether a set is so large that taking back its push was not tried: a sum over more records overshoots."""
        return size > SIZE_SLACK * self.sizes[1]

    @cached_property
    def ways(self) -> dict[Way, float]:
        """Every way that is predicted for, with its cost, cheapest first.

        Those that all measurable pilots tried, and unrolled rewinds of the strengths between those tried.
        """
        tried = [{c.way: c.cost for c in p.candidates} for p in self.measurable or self.pilots]
        common = set.intersection(*map(set, tried)) if tried else set()
        found = {way: tried[0][way] for way in common}
        for way in common:
            if way.strength is not None:
                most = max(w.strength or 0.0 for w in common if w.amount == way.amount)
                steps = round((most - way.strength) / STRENGTH_STEP)
                between = [round(way.strength + k * STRENGTH_STEP, 2) for k in range(1, steps)]
                found |= {Way(way.method, way.amount, strength): tried[0][way] for strength in between}
        return {way: found[way] for way in sorted(found, key=lambda w: (found[w], w.amount, w.method, w.strength or 0))}

    @cached_property
    def nothing_below(self) -> float:
        """Mean loss up to which pilots, at least five, held nothing measurable but for a tenth of them; else 0."""
        found, remembered = 0.0, 0
        for count, pilot in enumerate(sorted(self.pilots, key=lambda p: p.mean_loss), start=1):
            remembered += pilot.measurable
            if count >= FEWEST_EASY and not pilot.measurable and remembered <= WRONGLY_NOTHING * count:
                found = pilot.mean_loss
        return found

    def refuse_other(self, trajectory: Trajectory) -> None:
        """Raises UsageError where these pilots are of another architecture or were run on other records."""
        known = (
            ("architecture", self.model, trajectory.run["model"]),
            ("data set", self.data_fingerprint, trajectory.run["data_fingerprint"]),
        )
        for what, own, found in known:
            if own is not None and own != found:
                raise UsageError(
                    f"This calibration is of another {what}: what its pilots needed says nothing here.",
                    "Calibrate this model: `expunge calibrate`.",
                )

    def at(self, target: float) -> BudgetPredictor:
        """The same pilots read at another target."""
        laws = compare_laws(self.pilots, target, self.retrain_steps)
        return self if target == self.target else self.model_copy(update={"target": target, "laws": laws})

    def expected(self, way: Way, mean_loss: float, caution: float) -> Expected | None:
        """What `way` would leave of a set of this mean loss; None where no measurable pilot tried it.

        caution: share of the pilots that may have been left with more than is said.
        """
        found = self._left.left(way, mean_loss) if way in self.ways else None
        if found is None:
            return None
        value, set_energy = left(*found), self.energy_at(mean_loss)
        low, high = None, None
        if (band := self._left.band(way, set_energy)) is not None:
            low, high = value - band[0], value + band[1]
        cautious = value + self._left.margin(way, caution)
        return Expected(value, cautious, energy_left(*found, set_energy), low, high)

    def meets(self, way: Way, expected: Expected, mean_loss: float) -> bool:
        """Whether the target is met, and the gate would not see what is left.

        On sets like the one that the gate was tried on, that is known of the way itself, or of the nearest strength; on
        others it is concluded from the energy that is left.
        """
        if not expected.cautious <= self.target:
            return False
        tried, energy = self._gate_trials
        unseen = self.unseen_energy
        if unseen is None or self.energy_at(mean_loss) < LIKE_THE_TRIED * energy:
            return unseen is None or expected.energy <= unseen
        near = [(abs((own.strength or 0.0) - (way.strength or 0.0)), p) for own, p in tried.items()
                if (own.method, own.amount) == (way.method, way.amount)]  # fmt: skip
        return bool(near) and min(near)[1] >= GATE_P_NEEDED

    @cached_property
    def _gate_trials(self) -> tuple[dict[Way, float], float]:
        """The gate's p by way on the pilot set that it was tried on, and that set's energy."""
        for pilot in self.pilots:
            tried = {c.way: c.gate_p for c in pilot.candidates if c.gate_p is not None}
            if tried:
                return tried, pilot.energy
        return {}, 0.0

    @cached_property
    def unseen_energy(self) -> float | None:
        """Energy that may be left for the gate not to see it; None where that was not tried."""
        from sklearn.isotonic import IsotonicRegression

        tried = [
            (energy_left(c.influence, c.excess, p.energy), c.gate_p)
            for p in self.pilots
            for c in p.candidates
            if c.gate_p is not None
        ]
        if not tried:
            return None
        energies, p_values = np.array(sorted(tried)).T
        smooth = IsotonicRegression(increasing=False).fit_transform(energies, p_values)
        unseen = energies[smooth >= GATE_P_NEEDED]
        # Where everything that was left was seen, less than the least of it may still not be.
        return float(unseen.max()) if len(unseen) else float(np.nextafter(energies.min(), -np.inf))

    def energy_at(self, mean_loss: float) -> float:
        """S_o/m that training should leave of a set of this mean loss: no less for a harder one."""
        if not self.pilots:
            return 0.0
        losses, energies = self._energy_law
        return float(np.interp(mean_loss, losses, energies))

    @cached_property
    def _energy_law(self) -> tuple[Array, Array]:
        """Energies that grow with the loss, at the pilots' losses; straight lines between, the ends beyond."""
        from sklearn.isotonic import IsotonicRegression

        losses = np.array(sorted({p.mean_loss for p in self.pilots}))
        law = IsotonicRegression().fit([p.mean_loss for p in self.pilots], [p.energy for p in self.pilots])
        return losses, np.asarray(law.predict(losses), dtype=np.float64)

    def cheapest(self, mean_loss: float, caution: float) -> Way | None:
        """The cheapest way that should meet the target for a set of this mean loss; None where only retraining does."""
        enough = [
            (cost, expected.value, way)
            for way, cost in self.ways.items()
            if (expected := self.expected(way, mean_loss, caution)) is not None and self.meets(way, expected, mean_loss)
        ]
        return min(enough)[2] if enough else None

    @cached_property
    def _left(self) -> LeftModel:
        spent = [p for p in self.spent if p.measurable]
        return LeftModel(self.measurable, spent, tuple(self.ways), self.retrain_steps)


def fit_predictor(
    pilots: Sequence[PilotSet], target: float, retrain_steps: int, cost: float = 0.0, visible_size: int | None = None
) -> BudgetPredictor:
    """A predictor of these pilots, with the laws of the steps they needed."""
    return BudgetPredictor(
        target=target,
        retrain_steps=retrain_steps,
        pilots=tuple(pilots),
        laws=compare_laws(pilots, target, retrain_steps),
        cost=cost,
        visible_size=visible_size,
    )
