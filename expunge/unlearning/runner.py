"""Carry out a plan: spend at most its budget, stop on evidence, leave a new trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expunge.data import RecordTable
from expunge.training import Trajectory
from expunge.training.randomness import derived_seed
from expunge.training.state import TrainingState
from expunge.training.trainer import Progress
from expunge.unlearning.methods import METHODS, Procedure, apply, method_of
from expunge.unlearning.plan import REWINDS, WITHOUT_LOOKS, Look, UnlearningPlan, UnlearningRun
from expunge.unlearning.stopping import LookReference

FINE_TUNE_LOOKS = 4


def unlearn(
    plan: UnlearningPlan,
    trajectory: Trajectory,
    retain: RecordTable,
    reference: LookReference | None,
    directory: Path,
    *,
    seed: int,
    facts: Mapping[str, Any],
    progress: Progress | None = None,
    device: str = "cpu",
) -> tuple[UnlearningRun, Trajectory]:
    """Run the planned method on the retain set.

    A rewind is looked at when its schedule is finished; if the look fails and the plan's budget allows, an earlier
    point follows. Fine-tuning is looked at FINE_TUNE_LOOKS times on its way. Retraining needs no look, and where
    nothing is changed there is nothing to stop.

    Args:
        reference: what looks compare with; None only for retraining.
        directory: working folder; a killed run goes on from what lies there.
    """
    if plan.method in WITHOUT_LOOKS or reference is None:
        own, method = derived_seed(seed, plan.method), METHODS[plan.method]
        result = apply(method, trajectory, retain, 0, own, directory / plan.method, facts, progress, device=device)
        reason, spent = "retrained from initialisation", result.total_steps
        if plan.method == "keep":
            reason, spent = "nothing was changed: the evidence decides whether that is enough", 0
        return _record(plan, _cost(plan, trajectory, spent), spent, reason, (), [own], None), result
    if plan.method in REWINDS:
        return _rewind(plan, trajectory, retain, reference, directory, seed, facts, progress, device)
    return _fine_tune(plan, trajectory, retain, reference, directory, seed, facts, progress, device)


def _rewind(
    plan: UnlearningPlan,
    trajectory: Trajectory,
    retain: RecordTable,
    reference: LookReference,
    directory: Path,
    seed: int,
    facts: Mapping[str, Any],
    progress: Progress | None,
    device: str,
) -> tuple[UnlearningRun, Trajectory]:
    looks: list[Look] = []
    seeds: list[int] = []
    spent, cost = 0, 0.0
    result: Trajectory | None = None
    point, strength = plan.attempts[0], plan.strength
    for k, point in enumerate(plan.attempts):
        strength = plan.strengths[k] if plan.strengths else plan.strength
        seeds.append(derived_seed(seed, plan.method, point))
        folder = directory / f"{plan.method}_{point:07d}"
        result = apply(
            method_of(plan.method, strength), trajectory, retain, point, seeds[-1], folder, facts, progress,
            device=device, forget=reference.forget,
        )  # fmt: skip
        taken = result.total_steps - point
        spent, cost = spent + taken, cost + _cost(plan, trajectory, taken)
        state = result.state(result.final).model_state()
        looks.append(reference.look(state, spent, point))
        if looks[-1].passed:
            break
    assert result is not None  # a plan to rewind has at least one attempt
    reason = f"evidence: {looks[-1].words}" if looks[-1].passed else f"budget spent: {looks[-1].words}"
    made = _record(plan, cost, spent, reason, tuple(looks), seeds, point)
    return made.model_copy(update={"strength": strength}), result


def _fine_tune(
    plan: UnlearningPlan,
    trajectory: Trajectory,
    retain: RecordTable,
    reference: LookReference,
    directory: Path,
    seed: int,
    facts: Mapping[str, Any],
    progress: Progress | None,
    device: str,
) -> tuple[UnlearningRun, Trajectory]:
    own = derived_seed(seed, plan.method)
    first = trajectory.total_steps
    at = [first + max(1, plan.budget_steps * i // FINE_TUNE_LOOKS) for i in range(1, FINE_TUNE_LOOKS + 1)]
    looks: list[Look] = []

    def stop(step: int, state: TrainingState) -> bool:
        looks.append(reference.look(state.model_state(), step - first, first))
        return looks[-1].passed

    result = apply(
        METHODS[plan.method], trajectory, retain, plan.budget_steps, own, directory / plan.method, facts,
        progress, looks=at, stop=stop, device=device, forget=reference.forget,
    )  # fmt: skip
    passed = bool(looks) and looks[-1].passed
    words = looks[-1].words if looks else "resumed after the last look"
    reason = f"evidence: {words}" if passed else f"budget spent: {words}"
    spent = result.total_steps - first
    return _record(plan, _cost(plan, trajectory, spent), spent, reason, tuple(looks), [own], None), result


def _cost(plan: UnlearningPlan, trajectory: Trajectory, steps: int) -> float:
    return METHODS[plan.method].cost(Procedure.of(trajectory), steps, plan.forget_records)


def _record(
    plan: UnlearningPlan,
    cost: float,
    spent: int,
    reason: str,
    looks: tuple[Look, ...],
    seeds: list[int],
    rewind_step: int | None,
) -> UnlearningRun:
    return UnlearningRun(
        method=plan.method,
        rewind_step=rewind_step,
        steps_spent=spent,
        stop_reason=reason,
        looks=looks,
        seeds={"unlearning": seeds},
        cost={"unlearning": cost},
        guarantee=METHODS[plan.method].guarantee,
    )
