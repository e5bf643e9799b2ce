"""From which checkpoints may a rewind start, where earlier deletions destroyed some and left others on loan?"""

from __future__ import annotations

from expunge.training import Trajectory
from expunge.unlearning.pilots import Way
from expunge.unlearning.plan import Candidate
from expunge.unlearning.predictor import BudgetPredictor

LENT = "; it starts in the restricted prefix of an earlier request"


def one_path(trajectory: Trajectory, step: int) -> bool:
    """Whether every checkpoint up to `step` exists and lies on one path of training, as unrolling needs it.

    A run that took back what records had pushed broke the path: checkpoints before it belong to weights that were
    changed. Reading further pushes off them overshoots (docs/sequence.md, `until due`).
    """
    if any(c.destroyed for c in trajectory.checkpoints if c.step <= step):
        return False
    return trajectory.loan is None or trajectory.loan.corrected_at is None


def brings_back(way: Way, trajectory: Trajectory, predictor: BudgetPredictor | None, caution: float) -> bool:
    """Whether a run from there could bring back what an earlier run had taken out of the model.

    A lent checkpoint of before such a run still holds what the earlier records pushed. It is a start only where the
    pilots say that a plain rewind to it leaves no more of records as hard as those than the target.
    """
    loan = trajectory.loan
    if loan is None or loan.corrected_at is None or not way.goes_back:
        return False
    if way.amount not in loan.steps or way.amount > loan.corrected_at:
        return False
    if way.strength is not None or predictor is None or loan.earlier_loss is None or way not in predictor.ways:
        return True
    found = predictor.expected(way, loan.earlier_loss, caution)
    return found is None or not predictor.meets(way, found, loan.earlier_loss)


def start_notes(
    trajectory: Trajectory, chosen: Candidate, predictor: BudgetPredictor | None, caution: float
) -> list[str]:
    """What a plan says of the checkpoints that earlier deletions destroyed, or left until a date."""
    found = []
    gone = [c.step for c in trajectory.checkpoints if c.destroyed]
    kept = [c.step for c in trajectory.kept if c.step > 0]
    if gone and kept:
        found.append(
            f"earlier deletions destroyed the checkpoints up to step {max(gone)}: a rewind can start only after it"
        )
    loan = trajectory.loan
    if loan is None:
        return found
    if chosen.rewind_step in loan.steps:
        found.append(
            f"the start at step {chosen.rewind_step} lies in a restricted prefix, which is destroyed by {loan.until}: "
            "later than that this plan cannot be carried out"
        )
    else:
        found.append(f"a restricted prefix up to step {max(loan.steps)} is kept as a rewind start until {loan.until}")
    if loan.corrected_at is not None:
        found.append(
            "no unrolled rewind is offered: an earlier run took back what its records had pushed, and pushes read off "
            "the checkpoints of before it overshoot"
        )
        lent = [Way("rewind", c.step) for c in trajectory.kept if 0 < c.step <= loan.corrected_at]
        barred = [way.amount for way in lent if brings_back(way, trajectory, predictor, caution)]
        if barred:
            found.append(
                f"no rewind to the restricted checkpoints up to step {max(barred)} that the pilots do not say to be "
                "enough for the earlier records too: it could bring back what was taken out"
            )
    return found
