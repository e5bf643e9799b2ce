"""What is decided before a run, and what is on record after it: the plan, its alternatives, and the run."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MethodName = Literal[
    "fine_tune", "noisy_fine_tune", "l1_sparse", "rewind", "unrolled_rewind", "keep", "retrain", "neggrad_plus", "scrub"
]


# They start from an earlier checkpoint.
REWINDS: tuple[MethodName, ...] = ("rewind", "unrolled_rewind")
# What they do is settled beforehand: no look on the way can change it.
WITHOUT_LOOKS: tuple[MethodName, ...] = ("retrain", "keep")


class Document(BaseModel):
    """Base of what is written as JSON: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Candidate(Document):
    """One way to forget, with what it is predicted to cost and to leave.

    Attributes:
        rewind_step: rewinds only: the checkpoint to restart from. strength: of an unrolled rewind.
        steps: training steps it takes. cost: examples trained on, as a share of retraining.
        predicted_left: share of the original's distance from the oracles that is left (METHOD section 7);
            None when the calibration cannot tell. left_interval: its 90 % interval, None with too few pilots.
        allowed: whether the prediction meets the target; `why` says so in words.
    """

    method: MethodName
    rewind_step: int | None = None
    strength: float | None = None
    steps: int
    cost: float
    share_spent: float | None = None
    predicted_left: float | None = None
    left_interval: tuple[float, float] | None = None
    allowed: bool
    why: str


class RequestDifficulty(Document):
    """One request's records: how many are in the training set, and how hard they are among all of it (percent).

    `spent`: the request's own loss curve, over the steps of the plan's; empty where the plan answers one request only,
    and beyond the 12 largest. `alone_cost`: of a run for it alone, at least; None where the plan answers one only.
    """

    request_id: str
    records: int
    percentile: float
    loss: float
    spent: tuple[float, ...] = ()
    alone_cost: float | None = None


class LossCurve(Document):
    """When the original's training spent the privacy loss of the forget set, and of all records beside it.

    Attributes:
        steps: the scored checkpoints, and the end. forget, everyone: share in 0..1 spent before each of them, the
            records' losses summed. A request's own curve is with its difficulty.
    """

    steps: tuple[int, ...]
    forget: tuple[float, ...]
    everyone: tuple[float, ...]

    @model_validator(mode="after")
    def _one_share_a_step(self) -> Self:
        if {len(self.forget), len(self.everyone)} != {len(self.steps)}:
            raise ValueError("a curve needs one share a step")
        return self


class UnlearningPlan(Document):
    """Method, budget, predicted cost and the reason; holds request ids and numbers, never features or record ids."""

    format: Literal["expunge.plan/1"] = "expunge.plan/1"
    model_version: str
    requests: tuple[RequestDifficulty, ...]
    forget_records: int
    retain_records: int
    set_kind: str
    set_loss: float | None
    method: MethodName
    rewind_step: int | None = None
    strength: float | None = Field(default=None, description="unrolled_rewind: share of the push taken back")
    predicted_steps: int
    predicted_interval: tuple[int, int]
    interval_note: str
    budget_steps: int = Field(description="never more than this; retraining takes `retrain_steps`")
    retrain_steps: int
    predicted_cost: float
    predicted_left: float | None = Field(default=None, description="share of the original's distance; None: unknown")
    left_interval: tuple[float, float] | None = Field(default=None, description="90 %, conformal over pilot sets")
    attempts: tuple[int, ...] = Field(default=(), description="rewinds: checkpoints to try, latest first")
    strengths: tuple[float, ...] = Field(default=(), description="unrolled_rewind: one for each attempt")
    target: float
    reason: str
    fallback_reason: str | None = None
    warnings: tuple[str, ...] = ()
    one_by_one_cost: float | None = Field(default=None, description="of a run for each request; None for one request")
    alternatives: tuple[Candidate, ...] = ()
    loss_curve: LossCurve | None = Field(default=None, description="None in plans of before it was recorded")


def retrained_instead(plan: UnlearningPlan, others: int) -> UnlearningPlan:
    """The plan as a retraining, where `others` more records are quarantined: nothing cheaper forgets those too."""
    if plan.method == "retrain":
        return plan
    reason = f"retrain: {others} records of other requests are quarantined, and nothing cheaper was planned for them"
    return plan.model_copy(
        update={"method": "retrain", "rewind_step": None, "strength": None, "attempts": (), "strengths": (),
                "predicted_steps": plan.retrain_steps, "budget_steps": plan.retrain_steps, "predicted_cost": 1.0,
                "predicted_interval": (plan.retrain_steps, plan.retrain_steps), "interval_note": "known in advance",
                "predicted_left": 0.0, "left_interval": None, "reason": reason, "fallback_reason": reason}
    )  # fmt: skip


class Look(Document):
    """One stopping look: after how many steps, what was measured against the look oracles, and the decision.

    p_staying: the place on records that stay. remembered: records farther on the original's side than with any look
    oracle, and how many would be by chance; standing_out: requests of which that is so as a whole.
    """

    steps_spent: int
    start_step: int
    influence: float | None = None
    excess: float | None
    p_value: float
    p_staying: float | None = None
    remembered: int | None = None
    remembered_by_chance: float | None = None
    standing_out: tuple[str, ...] = ()
    passed: bool
    words: str


class UnlearningRun(Document):
    """What was spent and why it stopped. Costs are shares of one retraining (examples through forward+backward)."""

    format: Literal["expunge.run/1"] = "expunge.run/1"
    method: MethodName
    rewind_step: int | None
    strength: float | None = None
    steps_spent: int
    stop_reason: str
    looks: tuple[Look, ...]
    seeds: dict[str, int | list[int]]
    cost: dict[str, float]
    guarantee: Literal["exact", "empirical"]
    seconds: float | None = None

    @property
    def amount(self) -> int:
        """What the method takes to do the same again: the checkpoint it went on from, the steps it added, nothing."""
        if self.method in WITHOUT_LOOKS:
            return 0
        return self.steps_spent if self.rewind_step is None else self.rewind_step
