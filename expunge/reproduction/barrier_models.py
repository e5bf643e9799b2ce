"""Which models do lines join? Oracles coupled to an original in three ways, and what unlearning makes of it.

Two models of different seeds lie in different basins whatever they were trained on, so a barrier between an original
and an oracle says something of the records only next to what the seed alone does. Hence three couplings:

* ``own seed``: initialisation, batches and noise of its own. Original and oracle differ by chance and by the records;
  two oracles by chance alone.
* ``shared start``: the original's initialisation, batches and noise of its own: less chance, the same records.
* ``same draws``: the original's initialisation, batches and noise, with the records left out of every batch: no chance.
  There is one such oracle, and what label-matched random records do to it is the null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field, model_validator
from torch import Tensor

from expunge.reproduction.originals import Original
from expunge.reproduction.world import Rows, World
from expunge.training import StackedJob, StackedModels, train_stacked
from expunge.training.config import Strict
from expunge.unlearning.methods import METHODS

State = Mapping[str, Tensor]
COUPLINGS = ("own seed", "shared start", "same draws")
FINE_TUNE = METHODS["noisy_fine_tune"]
REWIND = METHODS["rewind"]


class Options(Strict):
    """Sizes of the scenario.

    Attributes:
        sets: forget sets, blocks of the ranks by privacy loss, easiest to hardest. forget: records of each.
        hardest: how many of the sets, from the hardest down, speak of unlearning. nulls: label-matched random sets.
        oracles: of each original, set and coupling with chance. looks: along fine-tuning, in shares of retraining.
        rewind: where the rewind goes back to, a share of training. points: on each line, an odd number. evaluated:
            retain records that the loss is a mean over.
    """

    sets: int = Field(default=8, ge=3)
    forget: int = Field(default=100, ge=2)
    hardest: int = Field(default=2, ge=1)
    nulls: int = Field(default=2, ge=1)
    oracles: int = Field(default=3, ge=2)
    looks: tuple[float, ...] = Field(default=(0.05, 0.2, 0.5, 1.0), min_length=1)
    rewind: float = Field(default=0.3, ge=0, lt=1)
    points: int = Field(default=25, ge=5)
    evaluated: int = Field(default=500, ge=2)

    @model_validator(mode="after")
    def _go_together(self) -> Options:
        if self.hardest > self.sets:
            raise ValueError(f"hardest is {self.hardest}, but there are {self.sets} sets")
        if not self.points % 2:
            raise ValueError(f"points is {self.points}: an odd number has a point half way")
        if min(self.looks) <= 0:
            raise ValueError(f"looks are shares of retraining above 0, not {min(self.looks):g}")
        return self

    def models(self) -> int:
        """Trained for each original."""
        return (self.sets + self.nulls) * (2 * self.oracles + 3) + 1


@dataclass(frozen=True)
class Models:
    """All models of one original.

    oracles: [set][coupling] -> models. unlearned: [look][set], fine-tuned on the retain set. trained_on: [look], as
    long, on all records: the control, for more training moves barriers too. rewound: [set].
    """

    original: State
    oracles: tuple[tuple[tuple[State, ...], ...], ...]
    unlearned: tuple[tuple[State, ...], ...]
    trained_on: tuple[State, ...]
    rewound: tuple[State, ...]


def train_models(world: World, original: Original, sets: Sequence[Rows], options: Options) -> Models:
    """Train them, in stacks."""
    unlearned, trained_on = _fine_tuned(world, original, sets, options)
    return Models(
        original=_final(original), oracles=_oracles(world, original, sets, options.oracles),
        unlearned=unlearned, trained_on=trained_on, rewound=_rewound(world, original, sets, options.rewind),
    )  # fmt: skip


def look_steps(world: World, options: Options) -> list[int]:
    """Steps of fine-tuning at the looks, increasing."""
    return sorted({max(1, round(share * world.training.steps)) for share in options.looks})


def rewind_step(original: Original, share: float) -> int:
    """The checkpoint nearest to this share of training."""
    trajectory = original.trajectory
    wanted = share * trajectory.total_steps
    return min((own.step for own in trajectory.kept), key=lambda step: abs(step - wanted))


def _final(original: Original) -> State:
    return original.trajectory.state(original.trajectory.final).model_state()


def _oracles(
    world: World, original: Original, sets: Sequence[Rows], count: int
) -> tuple[tuple[tuple[State, ...], ...], ...]:
    trajectory, k = original.trajectory, original.number
    numbered = [(number, rows) for number, rows in enumerate(sets) for _ in range(count)]

    def jobs(purpose: str) -> list[StackedJob]:
        seeds = [world.seed_of(purpose, k, number, place % count) for place, (number, _) in enumerate(numbered)]
        return [StackedJob(seed, world.retain(rows)) for seed, (_, rows) in zip(seeds, numbered, strict=True)]

    everyone = np.arange(len(world.train))
    same = [StackedJob(trajectory.config.seed, everyone, rows) for rows in sets]
    start = (0, trajectory.state(trajectory.at(0)))
    stacks = [_train(world, jobs("own seed")), _train(world, jobs("shared start"), start), _train(world, same)]
    own, shared, drawn = (list(stack.states()) for stack in stacks)

    def of_set(number: int) -> tuple[tuple[State, ...], ...]:
        mine = slice(number * count, (number + 1) * count)
        return (tuple(own[mine]), tuple(shared[mine]), (drawn[number],))

    return tuple(of_set(number) for number in range(len(sets)))


def _train(world: World, jobs: list[StackedJob], start=None) -> StackedModels:  # type: ignore[no-untyped-def]
    return train_stacked(
        world.spec, world.train, world.training, jobs, world.sampling_rate, start=start, device=world.device
    )


def _fine_tuned(
    world: World, original: Original, sets: Sequence[Rows], options: Options
) -> tuple[tuple[tuple[State, ...], ...], tuple[State, ...]]:
    """([look][set], [look] for all records), in one run each that stops at the looks."""
    steps = look_steps(world, options)
    made = FINE_TUNE.continuation(original.trajectory, steps[-1], world.seed_of("unlearn", original.number))
    assert made.start is not None
    jobs = [
        StackedJob(world.seed_of("unlearn", original.number, number), world.retain(rows))
        for number, rows in enumerate(sets)
    ]
    jobs.append(StackedJob(world.seed_of("train on", original.number), np.arange(len(world.train))))
    first, at = made.start[0], made.start
    looks: list[list[State]] = []
    for step in steps:
        stack = train_stacked(
            world.spec, world.train, made.config, jobs, world.sampling_rate, start=at, until=first + step,
            device=world.device,
        )  # fmt: skip
        looks.append([dict(state) for state in stack.states()])
        at = (first + step, stack)  # type: ignore[assignment]
    return tuple(tuple(look[:-1]) for look in looks), tuple(look[-1] for look in looks)


def _rewound(world: World, original: Original, sets: Sequence[Rows], share: float) -> tuple[State, ...]:
    step = rewind_step(original, share)
    made = REWIND.continuation(original.trajectory, step, world.seed_of("rewind", original.number))
    jobs = [
        StackedJob(world.seed_of("rewind", original.number, number), world.retain(rows))
        for number, rows in enumerate(sets)
    ]
    stack = train_stacked(
        world.spec, world.train, made.config, jobs, world.sampling_rate, start=made.start, device=world.device
    )
    return tuple(stack.states())
