"""How many steps does each bound ask for? The two that certify, and two worst cases beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from expunge.errors import UsageError
from expunge.unlearning.certified.coupling import (
    CoupledDistance,
    coupled_distance,
    coupling_steps,
    simulated_distance,
)
from expunge.unlearning.certified.descent import NoisyDescent
from expunge.unlearning.certified.document import Simulations
from expunge.unlearning.certified.moments import update_lipschitz
from expunge.unlearning.certified.path import ForgetUnits
from expunge.unlearning.certified.problem import HeadProblem
from expunge.unlearning.certified.target import ORDERS, renyi_target
from expunge.unlearning.certified.trajectory_divergence import (
    TrajectoryLoss,
    decay_steps,
    published_worst_case,
    trajectory_loss,
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LeastSteps:
    """Least k over the orders, [u] (inf: none), and the order it is least at."""

    steps: Floats
    order: Floats


@dataclass(frozen=True, eq=False)
class UnitSteps:
    """Least k of every unit by every bound, [u] each; `certified` is what may be claimed.

    coupling serves both directions; forward and reverse are the trajectory bound's.
    """

    coupling: LeastSteps
    forward: LeastSteps
    reverse: LeastSteps
    worst_coupling: LeastSteps
    worst_langevin: LeastSteps

    @property
    def trajectory(self) -> Floats:
        return np.maximum(self.forward.steps, self.reverse.steps)

    @property
    def certified(self) -> Floats:
        return np.minimum(self.coupling.steps, self.trajectory)


class HeadBounds:
    """Both bounds for some units; what does not depend on the target is worked out once, so many targets are cheap."""

    def __init__(
        self, problem: HeadProblem, descent: NoisyDescent, units: ForgetUnits, orders: Sequence[float] = ORDERS
    ) -> None:
        """Units of `units_of_records` or `unit_of_set`, of the same problem and descent.

        Raises:
            UsageError: a learning rate too large to contract, no order.
        """
        kappa = update_lipschitz(problem, descent)
        if not kappa < 1:
            raise UsageError(
                f"A learning rate of {descent.learning_rate:g} does not contract (kappa {kappa:.3g}).",
                f"It must be below 2/L = {2 / problem.smoothness:.3g}; 2/(m + L) contracts fastest.",
            )
        if len(orders) == 0:
            raise UsageError("Give at least one order.")
        self.problem, self.descent, self.units = problem, descent, units
        self.orders = np.asarray(orders, dtype=np.float64)
        self._losses: dict[float, TrajectoryLoss] = {}
        self._simulated: dict[tuple[int, int], Floats] = {}

    @cached_property
    def plain_distance(self) -> CoupledDistance:
        """Of the coupled weights after training, from deterministic quantities only."""
        return coupled_distance(self.problem, self.descent, self.units)

    def distance(self, delta: float, simulations: Simulations | None) -> tuple[CoupledDistance, float]:
        """The coupled distance, and what is left of delta for the divergence."""
        renyi_target(2.0, 1.0, delta)  # checks delta before any work
        if simulations is None:
            return self.plain_distance, delta
        key = (simulations.runs, simulations.seed)
        if key not in self._simulated:
            self._simulated[key] = simulated_distance(self.problem, self.descent, self.units, *key)
        failure = simulations.share_of_delta * delta
        return self.plain_distance.simulated(self._simulated[key], simulations.runs, failure), delta - failure

    def loss(self, order: float) -> TrajectoryLoss:
        """What training reveals at one order."""
        if order not in self._losses:
            self._losses[order] = trajectory_loss(self.problem, self.descent, self.units, order)
        return self._losses[order]

    def steps(self, epsilon: float, delta: float, simulations: Simulations | None = None) -> UnitSteps:
        """Least k of every unit by every bound.

        Raises:
            UsageError: epsilon, delta or an order out of range.
        """
        targets = renyi_target(self.orders, epsilon, delta)
        distance, left = self.distance(delta, simulations)
        if left != delta:
            targets = renyi_target(self.orders, epsilon, left)
        rows: dict[str, list[Floats]] = {name: [] for name in ("coupling", "forward", "reverse", "worst", "langevin")}
        worst, kappa = distance.worst_case(), distance.kappa
        for order, target in zip(self.orders.tolist(), targets.tolist(), strict=True):
            rows["coupling"].append(coupling_steps(distance, order, target))
            rows["worst"].append(coupling_steps(worst, order, target))
            loss = self.loss(order) if target > 0 else TrajectoryLoss.unknown(len(self.units.rows))
            published = published_worst_case(self.problem, self.descent, self.units, order)
            rows["forward"].append(decay_steps(loss.forward, kappa, order, target))
            rows["reverse"].append(decay_steps(loss.reverse, kappa, order, target))
            rows["langevin"].append(decay_steps(np.minimum(loss.worst, published), kappa, order, target))
        best = {name: _least(np.stack(found), self.orders) for name, found in rows.items()}
        return UnitSteps(best["coupling"], best["forward"], best["reverse"], best["worst"], best["langevin"])


def _least(table: Floats, orders: Floats) -> LeastSteps:
    at = table.argmin(axis=0)
    return LeastSteps(table[at, np.arange(table.shape[1])], orders[at])
