"""A model that is asked to forget again and again: what each request costs when its predecessors left their traces.

Under `destroy` a rewind's start and all before it are gone; the library plans and runs. Under `until_due` they stay as
rewind starts, which is only measured here. A kept checkpoint saw the records of every request made since its segment
was written, so going back to it must forget them all again, though only the newest request's records still exist.
What is assumed to be stored until the due date beside the checkpoints, and destroyed with them: what each request's
records had pushed into the weights by each of them, one set of weights a checkpoint, and the records' losses.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from expunge.data import RecordTable
from expunge.privacy.forget_sets import build_forget_set
from expunge.privacy.scores import GradientNorms, PrivacyLosses
from expunge.privacy.trajectory_scores import score_trajectory, trajectory_losses
from expunge.training import Trajectory
from expunge.training.randomness import derived_seed
from expunge.unlearning.candidates import PlanningSettings
from expunge.unlearning.methods import METHODS, Continuation, Procedure, UnrolledRewind, apply, method_of
from expunge.unlearning.pilots import Way
from expunge.unlearning.planner import make_plan
from expunge.unlearning.predictor import BudgetPredictor
from expunge.unlearning.unrolling import Tensors, pushed, without

ORDER, FLOOR = 8, 1.0
KEEP, RETRAIN = Way("keep", 0), Way("retrain", 0)


@dataclass(frozen=True)
class Answer:
    """How one request (or batch) was answered. cost, scoring: in retrainings; scoring: of the new checkpoints.

    records: how many had to be forgotten together; under `until_due` earlier requests' are among them.
    """

    way: Way
    cost: float
    scoring: float
    records: int
    why: str


@dataclass(frozen=True)
class Standing:
    """A model as it stands: its trajectory, the norms and losses of its records, and those records."""

    trajectory: Trajectory
    norms: GradientNorms
    losses: PrivacyLosses
    table: RecordTable

    @classmethod
    def of(cls, trajectory: Trajectory, table: RecordTable) -> Standing:
        norms = score_trajectory(trajectory, table)
        return cls(trajectory, norms, trajectory_losses(norms, trajectory, ORDER, FLOOR), table)

    def after(self, new: Trajectory, table: RecordTable, scored_from: int) -> tuple[Standing, float]:
        """Scored again from step `scored_from` on, norms before it taken over; and what that cost, in retrainings."""
        known = replace(new, checkpoints=tuple(replace(c, destroyed=c.step < scored_from) for c in new.checkpoints))
        fresh = sum(not c.destroyed for c in known.checkpoints)
        norms = score_trajectory(known, table, self.norms if fresh < len(known.checkpoints) else None)
        config = Procedure.of(new).config
        cost = fresh * len(table) / (config.batch_size * config.steps)
        return Standing(new, norms, trajectory_losses(norms, new, ORDER, FLOOR), table), cost


class Destroying:
    """Policy `destroy`: the planner and the runs of the library, request after request.

    The plan's first choice is carried out once: no look oracles, no gate, no second attempt.
    """

    def __init__(self, standing: Standing, predictor: BudgetPredictor, folder: Path, seed: int) -> None:
        self.now, self.predictor, self.folder, self.seed = standing, predictor, folder, seed
        self.settings, self.answers = PlanningSettings(), list[Answer]()

    def ask(self, ids: Sequence[str]) -> None:
        now, number = self.now, len(self.answers)
        forget = build_forget_set("records", now.losses, record_ids=ids)
        plan = make_plan(
            forget, {}, now.losses, now.trajectory, self.predictor, self.settings, model_version=f"{number}"
        )
        way = Way(plan.method, plan.rewind_step or 0, plan.strength)
        retain = now.table.without(ids)
        new = apply(
            method_of(way.method, way.strength), now.trajectory, retain, way.amount,
            derived_seed(self.seed, "answer", number), self.folder / f"{number}", {}, forget=now.table.select(ids),
        )  # fmt: skip
        first = 0
        if way != RETRAIN:
            first = int(new.run["start_step"]) + 1
            new = new.following(now.trajectory, first)
        self.now, scoring = now.after(new, retain, first)
        self.answers.append(Answer(way, plan.predicted_cost, scoring, len(ids), plan.reason))


class CorrectedRewind(UnrolledRewind):
    """A rewind whose start is corrected by what was worked out before: pushes of records that are gone are in it."""

    def __init__(self, correction: Tensors) -> None:
        super().__init__(1.0)
        self.correction = correction

    def prepared(
        self, made: Continuation, trajectory: Trajectory, forget: RecordTable | None, device: str
    ) -> Continuation:
        assert made.start is not None
        return Continuation(made.config, (made.start[0], without(made.start[1], self.correction, 1.0)))


def added_up(parts: Sequence[tuple[float, Tensors]]) -> Tensors:
    """Tensors of the same names, each times its factor, added up; nothing for nothing."""
    names = parts[0][1] if parts else {}
    return {name: torch.stack([factor * own[name] for factor, own in parts]).sum(dim=0) for name in names}


@dataclass
class _Past:
    """What is stored of earlier requests: pushes by request and step, and the loss of each of their records.

    taken: what a run added to the weights of the checkpoint that it started from, by step.
    """

    pushes: dict[int, dict[int, Tensors]] = field(default_factory=dict)
    taken: dict[int, Tensors] = field(default_factory=dict)
    losses: dict[int, np.ndarray] = field(default_factory=dict)


class Keeping:
    """Policy `until_due`, no due date passing meanwhile: every checkpoint up to the last rewind's start stays a start.

    `without[t]`: the requests that checkpoint t needs not forget, since the run that wrote it already did. A run's
    start counts as written by it: going on from there again, with what was taken back then, leaves of those requests
    what that run left. It is stored as it was before that: right after a push is taken back every record's gradient is
    large for a few steps, and the trapezoid rule would count it for the whole gap (weights became infinite).
    """

    def __init__(self, standing: Standing, predictor: BudgetPredictor, folder: Path, seed: int) -> None:
        self.now, self.predictor, self.folder, self.seed = standing, predictor, folder, seed
        self.settings, self.answers, self.past = PlanningSettings(), list[Answer](), _Past()
        self.without: dict[int, frozenset[int]] = {c.step: frozenset() for c in standing.trajectory.checkpoints}
        self.final: frozenset[int] = frozenset()

    def ask(self, ids: Sequence[str]) -> None:
        now, number = self.now, len(self.answers)
        self.past.losses[number] = now.losses.select(ids).total
        way, cost, why = self._choose(len(ids))
        retain = now.table.without(ids)
        if way != RETRAIN:
            last = max(self.without) if way == KEEP else way.amount
            steps = [step for step in self.without if step <= last]
            self.past.pushes[number] = pushed(now.trajectory, now.table.select(ids), steps)
        due = self._due(self.final if way == KEEP else self.without.get(way.amount, frozenset()))
        method, everyone, correction = METHODS[way.method], frozenset(range(number + 1)), Tensors()
        if way.goes_back:
            before = [(1.0, self.past.taken[way.amount])] if way.amount in self.past.taken else []
            now_known = [(way.strength, self.past.pushes[one][way.amount]) for one in due] if way.strength else []
            correction = added_up([*before, *now_known])
            method = CorrectedRewind(correction)
        new = apply(
            method, now.trajectory, retain, way.amount, derived_seed(self.seed, "answer", number),
            self.folder / f"{number}", {},
        )  # fmt: skip
        first = 0
        if way == RETRAIN:
            self.without, self.final, self.past.taken = {c.step: everyone for c in new.checkpoints}, everyone, {}
        else:
            first = (new.total_steps if way == KEEP else way.amount) + 1
            new = self._joined(new, first)
        if way.goes_back:
            self.without |= {c.step: everyone for c in new.checkpoints if c.step >= way.amount}
            self.past.taken = {step: own for step, own in self.past.taken.items() if step < way.amount}
            self.past.taken |= {way.amount: correction} if correction else {}
            self.final = everyone
        self.now, scoring = now.after(new, retain, first)
        records = sum(len(self.past.losses[one]) for one in due)
        self.answers.append(Answer(way, cost, scoring, records, why))

    def _due(self, done: frozenset[int]) -> list[int]:
        """Requests, the newest included, that a start must forget which has done with `done`."""
        return [one for one in self.past.losses if one not in done]

    def _choose(self, size: int) -> tuple[Way, float, str]:
        """As the planner chooses, but for every start with the records that it must forget: (way, cost, why)."""
        procedure, predictor, target = Procedure.of(self.now.trajectory), self.predictor, self.settings.target
        if predictor.visible_size is None or size < predictor.visible_size:
            return RETRAIN, 1.0, "retrain: too few records to see"
        total = procedure.config.steps
        found = [(1.0, 0.0, RETRAIN)]

        def cost(steps: int) -> float:
            # Its records are read at every checkpoint, for the requests to come, even where nothing is taken back.
            return METHODS["unrolled_rewind"].cost(procedure, steps, size)

        if self._mean_loss(self.final) <= predictor.nothing_below:
            found.append((cost(0), 0.0, KEEP))
        for way in predictor.at(target).ways:
            if way.goes_back and way.amount in self.without:
                mean_loss = self._mean_loss(self.without[way.amount])
                expected = predictor.expected(way, mean_loss, self.settings.caution)
                if expected is not None and predictor.meets(way, expected, mean_loss):
                    found.append((cost(total - way.amount), expected.value, way))
        cheapest, _, way = min(found, key=lambda one: one[:2])
        why = "nothing cheaper is predicted to meet the target" if way == RETRAIN else "the cheapest predicted to do so"
        return way, cheapest, why

    def _mean_loss(self, done: frozenset[int]) -> float:
        return float(np.mean(np.concatenate([self.past.losses[one] for one in self._due(done)])))

    def _joined(self, new: Trajectory, first: int) -> Trajectory:
        """The new run with the old checkpoints before step `first`, in one folder."""
        old = self.now.trajectory
        before = tuple(c for c in old.checkpoints if c.step < first)
        assert old.directory is not None and new.directory is not None
        for checkpoint in before:
            (new.directory / checkpoint.file).unlink(missing_ok=True)
            os.link(old.directory / checkpoint.file, new.directory / checkpoint.file)
        return replace(new, checkpoints=(*before, *(c for c in new.checkpoints if c.step >= first)))
