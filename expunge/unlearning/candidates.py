"""Which ways of forgetting does a plan choose from, and what does each cost and leave?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from expunge.privacy.forget_sets import ForgetSet
from expunge.privacy.scores import PrivacyLosses
from expunge.training import Trajectory
from expunge.unlearning.methods import METHODS, Procedure, UnrolledRewind
from expunge.unlearning.pilots import Way
from expunge.unlearning.plan import WITHOUT_LOOKS, Candidate, Document, MethodName
from expunge.unlearning.predictor import BudgetPredictor
from expunge.unlearning.rewind_starts import LENT, brings_back, one_path
from expunge.unlearning.share_curve import share_before


class PlanningSettings(Document):
    """target: influence and excess that count as forgotten. caution: share of pilots that may have been left with more.

    `method` and `max_cost` (share of retraining) override the choice. keep: whether a model that holds nothing
    measurable of the records may stay as it is, if the evidence agrees.
    """

    target: float = 0.10
    caution: float = 0.4
    max_cost: float = 1.0
    keep: bool = False
    method: MethodName | None = None


def make_candidates(
    forget: ForgetSet,
    requests: Mapping[str, Sequence[str]],
    losses: PrivacyLosses,
    trajectory: Trajectory,
    predictor: BudgetPredictor | None,
    settings: PlanningSettings,
) -> list[Candidate]:
    """Every way but retraining: those the pilots tried whose checkpoints still exist, and the one that was asked for.

    Without a calibration, a rewind to every checkpoint, of which nothing is known.
    """
    procedure = Procedure.of(trajectory)
    total, size = procedure.config.steps, len(forget.record_ids)
    points = [c.step for c in trajectory.kept if 0 < c.step < total]
    if predictor is None:
        ways = [Way("rewind", point) for point in points]
    else:
        ways = [way for way in predictor.ways if _possible(way, trajectory, points)]
    ways = [way for way in ways if not brings_back(way, trajectory, predictor, settings.caution)]
    asked = settings.method
    if asked is not None and asked not in (*WITHOUT_LOOKS, *(way.method for way in ways)):
        others = _uncalibrated(asked, trajectory, points)
        ways += [way for way in others if not brings_back(way, trajectory, predictor, settings.caution)]
    made = [_candidate(way, forget, losses, procedure, predictor, settings) for way in ways]
    made = [c.model_copy(update={"why": c.why + LENT}) if c.rewind_step in trajectory.lent else c for c in made]
    easy = predictor is not None and _all_easy(forget, requests, losses, predictor)
    why = "pilots as easy as this held nothing measurable" if easy else "pilots as hard as this were remembered"
    if predictor is None:
        why = "no calibration for this model: whether anything was remembered is unknown"
    elif easy and not settings.keep:
        easy, why = False, f"{why}, but the settings ask for a changed model (planning.keep)"
    keep = Candidate(method="keep", steps=0, cost=METHODS["keep"].cost(procedure, 0, size), allowed=easy, why=why)
    return [keep, *made]


def _all_easy(
    forget: ForgetSet, requests: Mapping[str, Sequence[str]], losses: PrivacyLosses, predictor: BudgetPredictor
) -> bool:
    """Whether the set and each request by itself are as easy as pilots that held nothing: many hide no one."""
    parts = [forget.record_ids, *(ids for ids in requests.values() if ids)]
    means = [float(np.mean(losses.select(ids).total)) for ids in parts]
    return 0 < max(means) <= predictor.nothing_below and not predictor.larger_than_pilots(len(forget))


def _possible(way: Way, trajectory: Trajectory, points: list[int]) -> bool:
    """Whether the checkpoints that `way` reads still exist."""
    if not way.goes_back:
        return True
    if way.amount not in points:
        return False
    return way.strength is None or one_path(trajectory, way.amount)


def _uncalibrated(asked: MethodName, trajectory: Trajectory, points: list[int]) -> list[Way]:
    """A method that calibration did not try, or of which no checkpoint is left, as it would be run if asked for."""
    if asked == "rewind":
        return [Way(asked, point) for point in points]
    if asked == "unrolled_rewind":
        strength = UnrolledRewind().strength
        return [way for p in points if _possible(way := Way(asked, p, strength), trajectory, points)]
    return [Way(asked, Procedure.of(trajectory).config.steps)]


def _candidate(
    way: Way,
    forget: ForgetSet,
    losses: PrivacyLosses,
    procedure: Procedure,
    predictor: BudgetPredictor | None,
    settings: PlanningSettings,
) -> Candidate:
    back, steps = way.goes_back, way.steps(procedure.config.steps)
    share = share_before(losses, forget.record_ids, way.amount) if back else None
    expected, interval, allowed = None, None, False
    if predictor is None:
        why = "no calibration for this model: what it would leave is unknown"
    elif way not in predictor.ways:
        why = "calibration has no pilots of it"
        if METHODS[way.method].baseline:
            why = "a baseline to compare with, not calibrated"
        why += ": it runs until a look passes or its budget is spent" if not back else ""
    elif (found := predictor.expected(way, mean_loss_of(forget, losses), settings.caution)) is None:
        why, allowed = "no pilot set left anything measurable in the original", True
    else:
        overshoots = way.strength is not None and predictor.larger_than_pilots(len(forget))
        expected, allowed = found.value, not overshoots and predictor.meets(way, found, mean_loss_of(forget, losses))
        interval = None if found.low is None or found.high is None else (found.low, found.high)
        left = f"{max(0.0, found.value):.0%} of the influence is predicted to be left"
        why = f"{left}, with caution {max(0.0, found.cautious):.0%}"
        if overshoots:
            why += "; but the set is far larger than any pilot, and what so many pushed would be taken back too far"
        elif found.cautious <= settings.target and not allowed:
            why += "; but the gate saw what was left of pilots remembered this strongly"
    return Candidate(
        method=way.method, rewind_step=way.amount if back else None, strength=way.strength, steps=steps,
        cost=METHODS[way.method].cost(procedure, steps, len(forget.record_ids)), share_spent=share,
        predicted_left=expected, left_interval=interval, allowed=allowed, why=why,
    )  # fmt: skip


def mean_loss_of(forget: ForgetSet, losses: PrivacyLosses) -> float:
    """Mean privacy loss of the forget set's records: what predictions go by."""
    return float(np.mean(losses.select(forget.record_ids).total))
