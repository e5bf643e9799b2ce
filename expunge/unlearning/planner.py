"""Which method, from which checkpoint, at what cost? The cheapest that the calibration says meets the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from expunge.errors import UsageError
from expunge.privacy.forget_sets import ForgetSet
from expunge.privacy.scores import PrivacyLosses
from expunge.training import Trajectory
from expunge.unlearning.candidates import PlanningSettings, make_candidates
from expunge.unlearning.methods import Procedure
from expunge.unlearning.plan import REWINDS, WITHOUT_LOOKS, Candidate, RequestDifficulty, UnlearningPlan
from expunge.unlearning.plan_warnings import alone_costs, plan_warnings
from expunge.unlearning.predictor import BudgetPredictor
from expunge.unlearning.rewind_starts import start_notes
from expunge.unlearning.share_curve import loss_curve, request_curves


def make_plan(
    forget: ForgetSet,
    requests: Mapping[str, Sequence[str]],
    losses: PrivacyLosses,
    trajectory: Trajectory,
    predictor: BudgetPredictor | None,
    settings: PlanningSettings,
    *,
    model_version: str,
    retrain_because: str | None = None,
) -> UnlearningPlan:
    """Plan one run for all requests together.

    Args:
        requests: record ids in the training set by request id; for a trial of a built set it is empty.
        retrain_because: a reason not to look for anything cheaper (a failed gate).

    Raises UsageError when nothing would be left to train on, and for the calibration of another model or data set.
    """
    procedure = Procedure.of(trajectory)
    total = procedure.config.steps
    if predictor is not None:
        predictor.refuse_other(trajectory)
        predictor = predictor.at(settings.target)
    retain_records = refuse_too_large(len(forget.record_ids), len(trajectory.record_ids), procedure.config.batch_size)
    candidates = make_candidates(forget, requests, losses, trajectory, predictor, settings)
    retrain = Candidate(
        method="retrain", steps=total, cost=1.0, predicted_left=0.0, allowed=True, why="exact by construction"
    )
    candidates.append(retrain)
    chosen, reason = _choose(
        candidates, retrain, predictor, trajectory, settings, retrain_because, len(forget.record_ids)
    )
    interval, note = _interval(chosen, candidates, predictor, settings.target, total)
    attempts = _attempts(chosen, candidates, settings.target, settings.max_cost)
    spent = request_curves(losses, requests, total)
    alone = alone_costs(requests, losses, predictor, settings)
    return UnlearningPlan(
        model_version=model_version,
        requests=tuple(_difficulty(r, ids, losses, spent.get(r, ()), alone.get(r)) for r, ids in requests.items()),
        forget_records=len(forget.record_ids),
        retain_records=retain_records,
        set_kind=forget.kind,
        set_loss=forget.set_loss,
        method=chosen.method,
        rewind_step=chosen.rewind_step,
        strength=chosen.strength,
        predicted_steps=chosen.steps,
        predicted_interval=interval,
        interval_note=note,
        budget_steps=sum(c.steps for c in attempts) or chosen.steps,
        retrain_steps=total,
        predicted_cost=chosen.cost,
        predicted_left=chosen.predicted_left,
        left_interval=chosen.left_interval,
        attempts=tuple(c.rewind_step for c in attempts if c.rewind_step is not None),
        strengths=tuple(c.strength for c in attempts if c.strength is not None),
        target=settings.target,
        reason=reason,
        fallback_reason=retrain_because,
        warnings=(
            *plan_warnings(forget, requests, losses, predictor, chosen, settings),
            *start_notes(trajectory, chosen, predictor, settings.caution),
        ),
        one_by_one_cost=sum(alone.values()) if alone else None,
        alternatives=tuple(c for c in _shown(candidates) if c is not chosen),
        loss_curve=loss_curve(losses, forget.record_ids, total),
    )


def refuse_too_large(forget_records: int, training_records: int, batch_size: int) -> int:
    """How many records would be left to train on. Raises UsageError when they are fewer than a batch, or 1 %."""
    retain_records = training_records - forget_records
    if retain_records < max(batch_size, training_records // 100):
        raise UsageError(
            f"The forget set leaves {retain_records} of {training_records} training records.",
            "Nothing useful can be trained on the rest: destroy the model instead.",
        )
    return retain_records


def _choose(
    candidates: list[Candidate],
    retrain: Candidate,
    predictor: BudgetPredictor | None,
    trajectory: Trajectory,
    settings: PlanningSettings,
    retrain_because: str | None,
    size: int,
) -> tuple[Candidate, str]:
    if retrain_because is not None:
        return retrain, f"retrain: {retrain_because}"
    if settings.method is not None:
        own = [c for c in candidates if c.method == settings.method]
        if not own:
            gone = _no_checkpoints(trajectory)
            raise UsageError(f"Method {settings.method!r} is not possible here: {gone}.", "Use retrain.")
        best = min(own, key=lambda c: (not c.allowed, c.cost if c.allowed else c.predicted_left or 0.0, c.cost))
        return best, f"{best.method} was asked for; {best.why}"
    if predictor is not None and (predictor.visible_size is None or size < predictor.visible_size):
        fewest = f"fewer than {predictor.visible_size} records" if predictor.visible_size else "any set of its size"
        return retrain, (
            f"retrain: on {fewest} the tests cannot tell this original from a model that never saw them,"
            " so only a retrained model can be shown to have forgotten"
        )
    if predictor is None:
        return retrain, "retrain: there is no calibration for this model, so nothing cheaper can be promised"
    allowed = [c for c in candidates if c.allowed and c.cost <= settings.max_cost]
    best = min(allowed or [retrain], key=lambda c: (c.cost, c.predicted_left or 0.0))
    if best.method == "retrain":
        return retrain, f"retrain: {_why_not_less(candidates, trajectory, settings)}"
    if best.method == "keep":
        return best, f"nothing is changed: {best.why}, so only the proof is left to do"
    return best, f"the cheapest that is predicted to meet the target of {settings.target:.0%}: {best.why}"


def _why_not_less(candidates: list[Candidate], trajectory: Trajectory, settings: PlanningSettings) -> str:
    dearer = [c.cost for c in candidates if c.allowed and c.method != "retrain"]
    if dearer:
        return f"the cheapest that is predicted to meet the target costs {min(dearer):.2f}, over the cap"
    if not any(c.method in REWINDS for c in candidates):
        return _no_checkpoints(trajectory)
    why = f"nothing cheaper is predicted to meet the target of {settings.target:.0%}"
    if any(c.destroyed for c in trajectory.checkpoints):
        why += "; earlier deletions destroyed checkpoints that an unrolled rewind needs"
    return why


def _no_checkpoints(trajectory: Trajectory) -> str:
    if trajectory.loan is not None:
        return "the only checkpoints left are those of before an earlier correction, which could bring records back"
    gone = any(c.destroyed and c.step for c in trajectory.checkpoints)
    why = "earlier deletions destroyed them" if gone else "training kept none"
    return f"there is no checkpoint to rewind to ({why})"


def _interval(
    chosen: Candidate, candidates: list[Candidate], predictor: BudgetPredictor | None, target: float, total: int
) -> tuple[tuple[int, int], str]:
    """Steps of the cheapest way that meets the target at either end of its interval of what is left."""
    if chosen.method in WITHOUT_LOOKS:
        return (chosen.steps, chosen.steps), "known in advance"
    if chosen.predicted_left is None or predictor is None:
        return (chosen.steps, chosen.steps), "a cap, not a prediction" if not chosen.allowed else "known in advance"
    ends = [(c.left_interval, c.steps) for c in candidates if c.left_interval is not None]
    if not ends:
        return (
            chosen.steps,
            chosen.steps,
        ), f"{len(predictor.measurable)} pilot sets with something to forget: too few for an interval"
    low = min((steps for (least, _), steps in ends if least <= target), default=total)
    high = min((steps for (_, most), steps in ends if most <= target), default=total)
    note = f"90 %, conformal over {len(predictor.measurable)} pilot sets with something to forget"
    return (min(low, chosen.steps), max(high, chosen.steps)), note


def _attempts(chosen: Candidate, candidates: list[Candidate], target: float, max_cost: float) -> tuple[Candidate, ...]:
    """The chosen rewind, and one that should leave half of the target, where both cost less than retraining."""
    if chosen.rewind_step is None:
        return ()
    surer = [
        c
        for c in candidates
        if c.allowed and c.method == chosen.method
        and c.cost > chosen.cost and c.cost + chosen.cost < min(1.0, max_cost)
        and c.predicted_left is not None and c.predicted_left <= target / 2
    ]  # fmt: skip
    return (chosen, min(surer, key=lambda c: c.cost)) if surer else (chosen,)


def _difficulty(
    request_id: str, ids: Sequence[str], losses: PrivacyLosses, spent: tuple[float, ...], alone_cost: float | None
) -> RequestDifficulty:
    return RequestDifficulty(
        request_id=request_id,
        records=len(ids),
        percentile=float(np.mean(losses.percentile(ids))),
        loss=float(np.mean(losses.select(ids).total)),
        spent=spent,
        alone_cost=alone_cost,
    )


def _shown(candidates: list[Candidate]) -> list[Candidate]:
    """Alternatives worth a line: one strength of each unrolled rewind, few of the rewinds of which nothing is known."""
    unknown = [c for c in candidates if c.method == "rewind" and c.predicted_left is None]
    sparse = unknown[:: max(1, len(unknown) // 8)]
    best: dict[int | None, Candidate] = {}
    for c in candidates:
        if c.strength is not None:
            best[c.rewind_step] = min(best.get(c.rewind_step, c), c, key=_preference)
    return [
        c
        for c in candidates
        if (c in sparse if c in unknown else best[c.rewind_step] is c if c.strength is not None else True)
    ]


def _preference(candidate: Candidate) -> tuple[bool, float]:
    return not candidate.allowed, candidate.predicted_left or 0.0
