"""What does the certificate of a convex head say? The lesser of two bounds, in both directions, with all it rests on.

docs/certified.md derives it. Reference: retraining without the set for T + k steps from the same start, so nothing is
assumed stationary and the d1, d2 and A of METHOD section 6 are 0 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from expunge.unlearning.certified.bounds import HeadBounds, LeastSteps, UnitSteps
from expunge.unlearning.certified.coupling import CoupledDistance, coupling_divergence
from expunge.unlearning.certified.descent import NoisyDescent
from expunge.unlearning.certified.document import (
    ASSUMPTIONS,
    SIMULATED,
    Bound,
    CertifiedUnlearning,
    Direction,
    HeadConstants,
    Route,
    Simulations,
    WorstCase,
)
from expunge.unlearning.certified.moments import lipschitz_of_sum
from expunge.unlearning.certified.path import ForgetUnits, unit_of_set, units_of_records
from expunge.unlearning.certified.problem import HeadProblem
from expunge.unlearning.certified.target import ORDERS, renyi_target
from expunge.unlearning.certified.trajectory_divergence import decayed

Floats = npt.NDArray[np.float64]

FORWARD: Direction = "unlearned against retrained"
REVERSE: Direction = "retrained against unlearned"
BOTH: Direction = "both alike"


def certify_head(
    problem: HeadProblem,
    descent: NoisyDescent,
    rows: Sequence[int],
    *,
    epsilon: float,
    delta: float,
    simulations: Simulations | None = None,
    orders: Sequence[float] = ORDERS,
) -> CertifiedUnlearning:
    """The certificate of forgetting `rows` together: how many steps, by which bound, under which assumptions.

    Args:
        rows: the forget set's rows of the problem.
        simulations: trainings with noise of their own, in place of the deterministic bound on the distance where that
            is larger: fewer steps where noise is strong, for a share of delta. None: deterministic.
        orders: Renyi orders a > 1 to look through; a coarser list costs steps, never validity.

    Returns:
        A document; its `steps` go into `unlearn_head`. None with a reason where no k is certified.

    Raises:
        UsageError: a learning rate too large to contract, rows that are no forget set, epsilon, delta or orders out of
            range.
    """
    bounds = HeadBounds(problem, descent, unit_of_set(problem, descent, rows), orders)
    distance, left = bounds.distance(delta, simulations)
    found = bounds.steps(epsilon, delta, simulations)
    steps, route, order, direction = _decided(found)
    divergence = None
    if steps is not None and order is not None:
        if route == "coupling":
            divergence = float(coupling_divergence(distance, order, steps)[0])
        else:
            loss = bounds.loss(order)
            chosen = loss.reverse if direction == REVERSE else loss.forward
            divergence = float(decayed(chosen, distance.kappa, order, steps)[0])
    return CertifiedUnlearning(
        epsilon=epsilon,
        delta=delta,
        steps=steps,
        bound=route,
        order=order,
        target=_target(order, epsilon, left),
        divergence=divergence,
        direction=direction,
        forget_records=len(rows),
        descent=descent,
        constants=_constants(problem, descent, bounds.units, distance),
        distance=float(distance.mean[0]),
        simulations=simulations,
        trajectory=_route(*_slower(found), epsilon, left),
        coupling=_route(found.coupling, BOTH, epsilon, left),
        worst_case=WorstCase(langevin=_whole(found.worst_langevin), coupling=_whole(found.worst_coupling)),
        share_of_retraining=None if steps is None else steps / descent.steps,
        guarantee="none" if steps is None else f"certified({epsilon:g}, {delta:g})",
        reason=_reason(steps, route, descent, renyi_target(bounds.orders, epsilon, left), max(orders)),
        assumptions=ASSUMPTIONS if simulations is None else (*ASSUMPTIONS, SIMULATED),
    )


def steps_of_each_record(
    problem: HeadProblem,
    descent: NoisyDescent,
    *,
    epsilon: float,
    delta: float,
    rows: Sequence[int] | None = None,
    simulations: Simulations | None = None,
    orders: Sequence[float] = ORDERS,
) -> UnitSteps:
    """k of every record forgotten alone (or of the given rows), [u]: for tables and plans.

    Each number stands for itself: certifying many records does not certify that they may be forgotten together.

    Raises:
        UsageError: as `certify_head`.
    """
    bounds = HeadBounds(problem, descent, units_of_records(problem, descent, rows), orders)
    return bounds.steps(epsilon, delta, simulations)


def _decided(found: UnitSteps) -> tuple[int | None, Bound, float | None, Direction]:
    """Steps, bound, order and direction of the one unit."""
    coupled, worn = found.coupling.steps[0], found.trajectory[0]
    if math.isinf(min(coupled, worn)):
        return None, "none", None, BOTH
    if coupled <= worn:
        return int(coupled), "coupling", float(found.coupling.order[0]), BOTH
    slower, direction = _slower(found)
    return int(worn), "trajectory", float(slower.order[0]), direction


def _slower(found: UnitSteps) -> tuple[LeastSteps, Direction]:
    reverse = found.reverse.steps[0] > found.forward.steps[0]
    return (found.reverse, REVERSE) if reverse else (found.forward, FORWARD)


def _route(least: LeastSteps, direction: Direction, epsilon: float, delta: float) -> Route:
    steps = _whole(least)
    order = None if steps is None else float(least.order[0])
    return Route(steps=steps, order=order, target=_target(order, epsilon, delta), direction=direction)


def _target(order: float | None, epsilon: float, delta: float) -> float | None:
    return None if order is None else float(renyi_target(order, epsilon, delta))


def _whole(least: LeastSteps) -> int | None:
    return None if math.isinf(least.steps[0]) else int(least.steps[0])


def _reason(steps: int | None, route: Bound, descent: NoisyDescent, targets: Floats, highest: float) -> str:
    if steps is None:
        if targets.max() <= 0:
            return (
                f"No order up to {highest:g} leaves a Renyi target above 0 (largest {targets.max():.3g}): no k is"
                " certified. Allow higher orders, or a larger epsilon or delta."
            )
        return "Neither bound is finite at any order: no k is certified. Add noise or a larger penalty."
    words = {
        "coupling": "unlearning and retraining driven by the same noise end this close",
        "trajectory": "what training reveals, worn off by noisy fine-tuning",
    }[route]
    if steps >= descent.steps:
        return f"k is at least the {descent.steps} steps of retraining: true, and of no use. Retrain. ({words})"
    return f"{words}; the other bound asks for no fewer steps."


def _constants(
    problem: HeadProblem, descent: NoisyDescent, unit: ForgetUnits, distance: CoupledDistance
) -> HeadConstants:
    bound = problem.gradient_bound
    return HeadConstants(
        loss=problem.loss.name,
        records=len(problem),
        weights=math.prod(problem.weight_shape),
        radius=problem.radius,
        l2=problem.l2,
        strong_convexity=problem.strong_convexity,
        smoothness=problem.smoothness,
        gradient_bound=bound if math.isfinite(bound) else None,
        record_lipschitz=float(lipschitz_of_sum(problem, unit)[0]),
        kappa=distance.kappa,
        decay=-2 * math.log(distance.kappa),
        stationary_sobolev=descent.step_noise**2 / (1 - distance.kappa**2),
    )
