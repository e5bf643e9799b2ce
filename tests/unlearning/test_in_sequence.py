"""Requests one after another: two in sequence end where both at once do, and what a plan may offer after the first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expunge.data import RecordTable, load_records
from expunge.errors import NotFoundError, UsageError
from expunge.evaluation.confidence import phi
from expunge.evaluation.influence_estimate import floored_variance
from expunge.evaluation.settings import EvaluationSettings
from expunge.models import ModelSpec
from expunge.privacy.forget_sets import build_forget_set
from expunge.privacy.scores import GradientNorms
from expunge.privacy.trajectory_scores import score_trajectory, trajectory_losses
from expunge.training import StackedJob, TrainingConfig, Trajectory, predict, train, train_stacked
from expunge.training.randomness import derived_seed
from expunge.unlearning.candidates import PlanningSettings
from expunge.unlearning.forgetting import forget
from expunge.unlearning.methods import METHODS, Procedure, UnrolledRewind, apply
from expunge.unlearning.pilots import PilotCandidate, PilotSet
from expunge.unlearning.plan import UnlearningPlan
from expunge.unlearning.planner import make_plan
from expunge.unlearning.predictor import BudgetPredictor, fit_predictor
from expunge.unlearning.unrolling import pushed

STEPS, ORIGINALS, ORACLES, SIZE = 161, 6, 24, 10
# Checkpoints every 10 steps. The second request goes back to one inside the segment that the first one's run wrote.
EARLY, LATER, STRENGTH = 40, 60, 0.7
CONFIG = TrainingConfig.model_validate(
    {"steps": STEPS, "batch_size": 32, "learning_rate": 0.5, "checkpoints": 17,
     "noise": {"convention": "mean_gradient", "sigma": 0.005}}
)  # fmt: skip
FIRST, SECOND, BOTH = slice(0, SIZE), slice(SIZE, 2 * SIZE), slice(0, 2 * SIZE)


@dataclass(frozen=True)
class Sequence:
    """Originals with two requests of their hardest records; what becomes of them, as phi on both requests' records."""

    table: RecordTable
    spec: ModelSpec
    originals: list[Trajectory]
    first: tuple[str, ...]
    second: tuple[str, ...]
    folder: Path

    @property
    def both(self) -> tuple[str, ...]:
        return (*self.first, *self.second)

    def seen(self, logits: np.ndarray) -> np.ndarray:
        """phi [..., 2 SIZE], the first request's records before the second's, from logits [..., n, K]."""
        rows = self.table.rows(self.both)
        return phi(logits[..., rows, :], self.table.targets[rows])

    def of(self, trajectories: list[Trajectory]) -> np.ndarray:
        return self.seen(
            np.stack([predict(self.spec, t.state(t.final).model_state(), self.table) for t in trajectories])
        )

    @cached_property
    def oracles(self) -> np.ndarray:
        """[ORACLES + ORIGINALS, 2 SIZE]: the last ORIGINALS are held back, as models to be judged."""
        retain = np.setdiff1d(np.arange(len(self.table)), self.table.rows(self.both))
        jobs = [StackedJob(derived_seed(5, "oracle", i), retain) for i in range(ORACLES + ORIGINALS)]
        q = Procedure.of(self.originals[0]).sampling_rate
        return self.seen(train_stacked(self.spec, self.table, CONFIG, jobs, q).logits(self.table))

    @cached_property
    def after_first(self) -> list[Trajectory]:
        """Each original rewound and unrolled for the first request, what its start had seen destroyed."""
        return [self._rewound(t, self.table, self.first, EARLY, STRENGTH, k) for k, t in enumerate(self.originals)]

    @cached_property
    def in_sequence(self) -> list[Trajectory]:
        left = self.table.without(self.first)
        return [self._rewound(t, left, self.second, LATER, None, k) for k, t in enumerate(self.after_first)]

    @cached_property
    def at_once(self) -> list[Trajectory]:
        return [self._rewound(t, self.table, self.both, EARLY, STRENGTH, k) for k, t in enumerate(self.originals)]

    def _rewound(
        self, old: Trajectory, table: RecordTable, ids: tuple[str, ...], step: int, strength: float | None, k: int
    ) -> Trajectory:
        method = METHODS["rewind"] if strength is None else UnrolledRewind(strength)
        name = f"{step}-{len(table)}-{len(ids)}-{k}"
        new = apply(
            method, old, table.without(ids), step, derived_seed(7, name), self.folder / name, {},
            forget=table.select(ids),
        )  # fmt: skip
        return new.following(old, step + 1)

    def energy(self, models: np.ndarray, part: slice) -> float:
        return energy(models[:, part], self.oracles[:ORACLES, part])

    def null(self, part: slice) -> float:
        """The same for as many oracles, drawn from all again and again against those left: 99 % are below it."""
        rng, found = np.random.default_rng(1), []
        for _ in range(200):
            own = self.oracles[rng.permutation(len(self.oracles)), part]
            found.append(energy(own[:ORIGINALS], own[ORIGINALS:]))
        return float(np.quantile(found, 0.99))


def energy(models: np.ndarray, oracles: np.ndarray) -> float:
    """How far the mean phi of models [K, m] lies from that of oracles [R, m]: squared, in oracle variances a record.

    Less what so few models and oracles show by themselves, so that oracles read 0 on average.
    """
    noise = models.var(axis=0, ddof=1) / len(models) + oracles.var(axis=0, ddof=1) / len(oracles)
    distance = (models.mean(axis=0) - oracles.mean(axis=0)) ** 2 - noise
    return float((distance / floored_variance(oracles, EvaluationSettings().variance_floor)[0]).mean())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Sequence:
    whole, folder = load_records("digits"), tmp_path_factory.mktemp("sequence")
    table = whole.select(whole.record_ids[:400])
    spec = ModelSpec("mlp", tuple(table.features.shape[1:]), table.classes, options={"hidden": [24]})
    originals = [
        train(spec, table, CONFIG.model_copy(update={"seed": derived_seed(3, "original", k)}), folder / f"{k}")
        for k in range(ORIGINALS)
    ]
    losses = trajectory_losses(score_trajectory(originals[0], table), originals[0], 8, 1.0)
    hard = [record for record, _ in losses.hardest(2 * SIZE)]
    return Sequence(table, spec, originals, tuple(hard[::2]), tuple(hard[1::2]), folder)


def test_two_in_sequence_end_where_both_at_once_do(world: Sequence) -> None:
    ways = {"in sequence": world.of(world.in_sequence), "at once": world.of(world.at_once)}
    original = world.of(world.originals)
    for part in (BOTH, FIRST, SECOND):
        null = world.null(part)
        assert world.energy(original, part) > 8 * null  # there was something to forget, and it is seen
        for name, models in ways.items():
            assert abs(world.energy(models, part)) < null, (name, part)


def test_forgetting_only_the_first_is_seen(world: Sequence) -> None:
    """The negative control: the second request's records stay as well known as they were."""
    only, original = world.of(world.after_first), world.of(world.originals)
    assert world.energy(only, SECOND) > 0.7 * world.energy(original, SECOND) > world.null(SECOND)
    assert world.energy(only, BOTH) > 4 * world.null(BOTH)


def test_what_the_first_rewind_destroyed_is_not_there_for_the_second(world: Sequence) -> None:
    for new in world.after_first:
        assert [c.step for c in new.checkpoints if c.destroyed] == [0, 10, 20, 30, 40]
        assert min(c.step for c in new.kept) > EARLY
        with pytest.raises(NotFoundError, match=f"before step {LATER} cannot be told"):
            pushed(new, world.table.select(world.second), [LATER])


def left_of(point: int) -> float:
    """What a plain rewind leaves in the pilots below: the less, the more training follows."""
    return -0.3 * float(np.log((STEPS - point) / STEPS))


def predictor(trajectory: Trajectory) -> BudgetPredictor:
    """Pilots that tell: of them a rewind leaves `left_of`, an unrolled one a third of it."""
    points = [c.step for c in trajectory.checkpoints if 0 < c.step < STEPS]
    candidates = tuple(
        PilotCandidate(
            method="rewind" if strength is None else "unrolled_rewind", amount=point, strength=strength,
            steps=STEPS - point, cost=1 - point / STEPS + (0.02 if strength else 0.0), excess=0.0,
            influence=left_of(point) / (3 if strength else 1),
        )
        for strength in (None, STRENGTH) for point in points
    )  # fmt: skip
    pilots = [PilotSet(name=f"{k}", size=SIZE, mean_loss=10.0**k, energy=2.0, candidates=candidates) for k in range(12)]
    return fit_predictor(pilots, 0.1, STEPS, visible_size=1)


@dataclass(frozen=True)
class Answered:
    """The first request planned and carried out by the library, and what the second is planned on."""

    first: UnlearningPlan
    norms: GradientNorms
    trajectory: Trajectory
    table: RecordTable
    told: BudgetPredictor

    def plan(self, world: Sequence, **settings: Any) -> UnlearningPlan:
        norms = score_trajectory(self.trajectory, self.table, self.norms)
        losses = trajectory_losses(norms, self.trajectory, 8, 1.0)
        chosen = build_forget_set("records", losses, record_ids=world.second)
        return make_plan(
            chosen, {}, losses, self.trajectory, self.told, PlanningSettings(**settings), model_version="m 2"
        )


@pytest.fixture(scope="module")
def answered(world: Sequence, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Answered]:
    original, table = world.originals[0], world.table
    norms = score_trajectory(original, table)
    losses, told = trajectory_losses(norms, original, 8, 1.0), predictor(original)

    def answer(**settings: Any) -> Answered:
        chosen = build_forget_set("records", losses, record_ids=world.first)
        plan = make_plan(chosen, {}, losses, original, told, PlanningSettings(**settings), model_version="m 1")
        plan = plan.model_copy(update={"attempts": plan.attempts[:1], "strengths": plan.strengths[:1]})
        retain = table.without(world.first)
        _, new = forget(
            plan, original, table, retain, world.first, tmp_path_factory.mktemp("answered"), look_oracles=4,
            level=0.05, seed=3, facts={},
        )  # fmt: skip
        return Answered(plan, norms, new, retain, told)

    return answer


def test_after_a_deletion_only_the_new_segment_is_offered_and_at_its_price(
    world: Sequence, answered: Callable[..., Answered]
) -> None:
    made = answered()
    start = made.first.rewind_step
    assert made.first.method == "unrolled_rewind" and start is not None
    second = made.plan(world, target=0.5)
    offered = [c for c in second.alternatives if c.rewind_step is not None]
    assert second.method == "rewind" and second.rewind_step is not None and second.rewind_step > start
    assert {c.method for c in offered} == {"rewind"} and all(c.rewind_step > start for c in offered)
    for step, cost, left in [
        (second.rewind_step, second.predicted_cost, second.predicted_left),
        *((c.rewind_step, c.cost, c.predicted_left) for c in offered),
    ]:
        assert cost == pytest.approx((STEPS - step) / STEPS) and left == pytest.approx(left_of(step), abs=1e-6)
    with pytest.raises(UsageError, match="'unrolled_rewind' is not possible here"):
        made.plan(world, method="unrolled_rewind")


def test_after_a_deletion_it_falls_back_to_retraining_with_a_reason(
    world: Sequence, answered: Callable[..., Answered]
) -> None:
    """At the target that an unrolled rewind met, the plain ones that are left are not enough."""
    second = answered().plan(world)
    assert second.method == "retrain" and second.predicted_cost == 1
    assert "nothing cheaper is predicted to meet the target of 10%" in second.reason
    # Keeping the model destroys all: each of its checkpoints saw the records.
    kept = answered(method="keep")
    assert not kept.trajectory.kept
    nothing_left = kept.plan(world)
    assert nothing_left.method == "retrain" and "earlier deletions destroyed them" in nothing_left.reason


def test_a_retraining_makes_unrolled_rewinds_possible_again(world: Sequence, answered: Callable[..., Answered]) -> None:
    made = answered(method="retrain")
    second = made.plan(world)
    assert second.method == "unrolled_rewind" and not any(c.destroyed for c in made.trajectory.checkpoints)
    assert (second.rewind_step, second.strength) == (answered().first.rewind_step, STRENGTH)
