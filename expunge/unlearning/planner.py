"""Which method, from which checkpoint, at what cost? The cheapest that the calibration says meets the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from expunge.errors import UsageError
from expunge.privacy.forget_sets import ForgetSet
from expunge.privacy.scores import PrivacyLosses
from expunge.training import Trajectory
from expunge.unlearning.methods import METHODS, Procedure
from expunge.unlearning.plan import Candidate, Document, MethodName, RequestDifficulty, UnlearningPlan
from expunge.unlearning.plan_warnings import plan_warnings
from expunge.unlearning.predictor import BudgetPredictor
from expunge.unlearning.share_curve import loss_curve, request_curves, share_before

TUNED: tuple[MethodName, ...] = ("fine_tune", "noisy_fine_tune")


class PlanningSettings(Document):
    """target: excess that counts as forgotten. caution: share of pilots that would have needed an earlier point.

    `method` and `max_cost` (share of retraining) override the choice.
    """

    target: float = 0.10
    caution: float = 0.25
    max_cost: float = 1.0
    method: MethodName | None = None


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
    candidates = _rewinds(forget, losses, trajectory, predictor, settings)
    candidates += [_fine_tune(name, predictor, procedure, len(forget.record_ids)) for name in _tuned(settings.method)]
    retrain = Candidate(
        method="retrain", steps=total, cost=1.0, predicted_left=0.0, allowed=True, why="exact by construction"
    )
    candidates.append(retrain)
    chosen, reason = _choose(
        candidates, retrain, predictor, trajectory, settings, retrain_because, len(forget.record_ids)
    )
    interval, note = _interval(chosen, candidates, predictor, total)
    spent = request_curves(losses, requests, total)
    return UnlearningPlan(
        model_version=model_version,
        requests=tuple(_difficulty(r, ids, losses, spent.get(r, ())) for r, ids in requests.items()),
        forget_records=len(forget.record_ids),
        retain_records=retain_records,
        set_kind=forget.kind,
        set_loss=forget.set_loss,
        method=chosen.method,
        rewind_step=chosen.rewind_step,
        predicted_steps=chosen.steps,
        predicted_interval=interval,
        interval_note=note,
        budget_steps=_budget(chosen, interval, total, settings.max_cost),
        retrain_steps=total,
        predicted_cost=chosen.cost,
        predicted_left=chosen.predicted_left,
        attempts=_attempts(chosen, interval, trajectory, total, settings.max_cost),
        target=settings.target,
        reason=reason,
        fallback_reason=retrain_because,
        warnings=plan_warnings(
            forget, requests, losses, predictor, chosen, candidates, settings.caution, settings.max_cost
        ),
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


def _rewinds(
    forget: ForgetSet,
    losses: PrivacyLosses,
    trajectory: Trajectory,
    predictor: BudgetPredictor | None,
    settings: PlanningSettings,
) -> list[Candidate]:
    safe = predictor.safe_share(settings.caution) if predictor is not None else None
    total = Procedure.of(trajectory).config.steps
    made = []
    for checkpoint in trajectory.kept:
        if not 0 < checkpoint.step < total:
            continue
        share = share_before(losses, forget.record_ids, checkpoint.step)
        if predictor is None:
            allowed, why, excess = False, "no calibration for this model: what it would leave is unknown", None
        elif safe is None:
            allowed, why, excess = True, "no pilot set left anything measurable in the original", None
        else:
            excess = predictor.left_at(share)
            allowed = share <= safe
            why = f"{share:.0%} of the set's privacy loss was spent before it; up to {safe:.0%} was forgotten by pilots"
        made.append(
            Candidate(
                method="rewind", rewind_step=checkpoint.step, steps=total - checkpoint.step,
                cost=(total - checkpoint.step) / total, share_spent=share, predicted_left=excess,
                allowed=allowed, why=why,
            )
        )  # fmt: skip
    return made


def _tuned(asked: MethodName | None) -> tuple[MethodName, ...]:
    """The ways that go on from the last weights: those with pilots, and the one that was asked for."""
    return (*TUNED, asked) if asked is not None and asked not in (*TUNED, "rewind", "retrain") else TUNED


def _fine_tune(
    name: MethodName, predictor: BudgetPredictor | None, procedure: Procedure, forget_records: int
) -> Candidate:
    steps = predictor.steps_for(name) if predictor is not None else None
    if steps is not None:
        why = f"{steps} steps were enough for every pilot set"
    elif METHODS[name].baseline:
        why = "a baseline to compare with, not calibrated: it runs until a look passes or its budget is spent"
    elif predictor is None or name not in predictor.fine_tune_steps:
        why = (
            "no calibration for this model"
            if predictor is None and name in TUNED
            else "calibration has no pilots of it"
        )
    else:
        why = "not every pilot set was forgotten within the cap"
    taken = procedure.config.steps if steps is None else steps
    cost = METHODS[name].cost(procedure, taken, forget_records)
    return Candidate(method=name, steps=taken, cost=cost, allowed=steps is not None, why=why)


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
            raise UsageError(f"Method {settings.method!r} is not possible here: no checkpoint is left.", "Use retrain.")
        best = min(own, key=lambda c: (not c.allowed, c.cost))
        return best, f"{best.method} was asked for; {best.why}"
    if predictor is not None and (predictor.visible_size is None or size < predictor.visible_size):
        fewest = f"fewer than {predictor.visible_size} records" if predictor.visible_size else "any set of its size"
        return retrain, (
            f"retrain: on {fewest} the tests cannot tell this original from a model that never saw them,"
            " so only a retrained model can be shown to have forgotten"
        )
    allowed = [c for c in candidates if c.allowed and c.cost <= settings.max_cost]
    if predictor is None:
        return retrain, "retrain: there is no calibration for this model, so nothing cheaper can be promised"
    best = min(allowed or [retrain], key=lambda c: c.cost)
    if best.method == "retrain":
        return retrain, f"retrain: {_why_not_less(candidates, trajectory, settings)}"
    return best, f"the cheapest that is predicted to meet the target of {settings.target:.0%}: {best.why}"


def _why_not_less(candidates: list[Candidate], trajectory: Trajectory, settings: PlanningSettings) -> str:
    dearer = [c.cost for c in candidates if c.allowed and c.method != "retrain"]
    if dearer:
        return f"the cheapest that is predicted to meet the target costs {min(dearer):.2f}, over the cap"
    if not any(c.method == "rewind" for c in candidates):
        gone = any(c.destroyed and c.step for c in trajectory.checkpoints)
        why = "earlier deletions destroyed them" if gone else "training kept none"
        return f"there is no checkpoint to rewind to ({why})"
    return f"nothing cheaper is predicted to meet the target of {settings.target:.0%}"


def _interval(
    chosen: Candidate, candidates: list[Candidate], predictor: BudgetPredictor | None, total: int
) -> tuple[tuple[int, int], str]:
    """Steps needed if the set were like the easiest and like the hardest of the pilots."""
    if chosen.method not in ("rewind", "retrain") and not chosen.allowed:
        return (chosen.steps, chosen.steps), "a cap, not a prediction"
    if chosen.method != "rewind" or predictor is None or not predictor.critical_shares:
        return (chosen.steps, chosen.steps), "known in advance"
    low, high = predictor.critical_shares[0], predictor.critical_shares[-1]

    def steps(share: float) -> int:
        fits = [c.steps for c in candidates if c.method == "rewind" and (c.share_spent or 0.0) <= share]
        return min(fits, default=total)

    count = len(predictor.critical_shares)
    note = f"range over {count} pilot sets with something to forget: indicative, no stated coverage"
    return (min(steps(high), chosen.steps), max(steps(low), chosen.steps)), note


def _attempts(
    chosen: Candidate, interval: tuple[int, int], trajectory: Trajectory, total: int, max_cost: float
) -> tuple[int, ...]:
    """Rewind points, latest first; an earlier one follows only if both cost less than retraining, and than the cap."""
    if chosen.method != "rewind" or chosen.rewind_step is None:
        return ()
    deeper = [c.step for c in trajectory.kept if 0 < c.step <= total - interval[1]]
    if deeper and deeper[-1] < chosen.rewind_step and _twice(chosen, interval, total, max_cost):
        return (chosen.rewind_step, deeper[-1])
    return (chosen.rewind_step,)


def _budget(chosen: Candidate, interval: tuple[int, int], total: int, max_cost: float) -> int:
    if chosen.method == "rewind" and interval[1] > chosen.steps and _twice(chosen, interval, total, max_cost):
        return chosen.steps + interval[1]
    return chosen.steps


def _twice(chosen: Candidate, interval: tuple[int, int], total: int, max_cost: float) -> bool:
    """Whether there is room for a second rewind after a first that did not forget."""
    both = chosen.steps + interval[1]
    return both < total and both <= max_cost * total


def _difficulty(
    request_id: str, ids: Sequence[str], losses: PrivacyLosses, spent: tuple[float, ...]
) -> RequestDifficulty:
    return RequestDifficulty(
        request_id=request_id,
        records=len(ids),
        percentile=float(np.mean(losses.percentile(ids))),
        loss=float(np.mean(losses.select(ids).total)),
        spent=spent,
    )


def _shown(candidates: list[Candidate]) -> list[Candidate]:
    """Alternatives worth a line: each method's own, and every fourth rewind point."""
    rewinds = [c for c in candidates if c.method == "rewind"]
    return rewinds[:: max(1, len(rewinds) // 8)] + [c for c in candidates if c.method != "rewind"]
