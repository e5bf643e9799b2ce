"""What was measured on one pilot set: how much of the original's influence each way of forgetting left."""

from __future__ import annotations

from typing import NamedTuple

from expunge.unlearning.plan import REWINDS, Document, MethodName

# Below this energy S_o/m the original is like the oracles and shares of it mean nothing (METHOD section 7).
MEASURABLE_ENERGY = 0.25


class Way(NamedTuple):
    """A method with its amount (step to go back to, steps to add) and, for an unrolled rewind, its strength."""

    method: MethodName
    amount: int
    strength: float | None = None

    @property
    def goes_back(self) -> bool:
        """Whether it starts from an earlier checkpoint."""
        return self.method in REWINDS

    def steps(self, retrain_steps: int) -> int:
        """Steps trained on the retain set."""
        settled = {"retrain": retrain_steps, "keep": 0}
        return settled.get(self.method, retrain_steps - self.amount if self.goes_back else self.amount)


class PilotCandidate(Document):
    """One way in which a pilot set was forgotten, and the influence and excess it left, over all runs.

    cost: in retrainings, as `Method.cost` counts it. gate_p: mean p-value of the runs under the gate's distance, where
    it was tried (``gate_trial``). Influence is the sharper of the two figures: excess is the square
    of what is left (docs/adr/0005).
    """

    method: MethodName
    amount: int
    strength: float | None = None
    steps: int
    cost: float
    share_spent: float | None = None
    excess: float
    influence: float = 0.0
    gate_p: float | None = None

    @property
    def way(self) -> Way:
        return Way(self.method, self.amount, self.strength)

    @property
    def left(self) -> float:
        return left(self.influence, self.excess)


def energy_left(influence: float, excess: float, energy: float) -> float:
    """What is left in units of the oracles' variance a record, at least what the influence says: never negative."""
    return max(0.0, excess, influence**2) * max(0.0, energy)


def left(influence: float, excess: float) -> float:
    """What counts against the target: the larger of the two. Beyond the oracle is as far off as short of it."""
    return max(excess, abs(influence))


class PilotSet(Document):
    """A pilot set: its mean privacy loss, the original's energy S_o/m on it, and every candidate's result."""

    name: str
    size: int
    mean_loss: float
    energy: float
    candidates: tuple[PilotCandidate, ...]

    @property
    def measurable(self) -> bool:
        return self.energy > MEASURABLE_ENERGY
