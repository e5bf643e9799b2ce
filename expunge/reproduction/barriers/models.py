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
from expunge.training import StackedJob, StackedModels, TrainingConfig, train_stacked
from expunge.training.config import Strict
from expunge.training.stacked import Start
from expunge.unlearning.methods import METHODS

State = Mapping[str, Tensor]
COUPLINGS = ("own seed", "shared start", "same draws")
FINE_TUNE = METHODS["noisy_fine_tune"]
REWIND = METHODS["rewind"]


class Options(Strict):
    """Sizes of the scenario.

    Attributes:
        sets: forget sets, blocks of the ranks by privacy loss, easiest to hardest. forget: records of each.
        nulls: label-matched random sets. hardest: how many of the sets, from the hardest down, are unlearned; the nulls
            are too.
        oracles: of each original, set and coupling with chance. looks: along fine-tuning, in shares of retraining.
        rewind: where the rewind goes back to, a share of training. points: on each line, an odd number. evaluated:
            retain records that the loss is a mean over. together: as for `train_stacked`; None: by the model's layers.
    """

    sets: int = Field(default=8, ge=3)
    forget: int = Field(default=100, ge=2)
    hardest: int = Field(default=2, ge=1)
    nulls: int = Field(default=2, ge=1)
    oracles: int = Field(default=3, ge=2)
    looks: tuple[float, ...] = Field(default=(0.1, 0.4, 1.0), min_length=1)
    rewind: float = Field(default=0.3, ge=0, lt=1)
    points: int = Field(default=25, ge=5)
    evaluated: int = Field(default=400, ge=2)
    together: bool | None = None

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
        return (self.sets + self.nulls) * (2 * self.oracles + 1) + 2 * self.unlearned + 1

    @property
    def unlearned(self) -> int:
        """How many sets, the last ones, are unlearned."""
        return self.hardest + self.nulls


@dataclass(frozen=True)
class Models:
    """All models of one original.

    oracles: [set][coupling] -> models. unlearned: [look][set that is unlearned], fine-tuned on the retain set.
    trained_on: [look], as long, on all records: the control, for more training moves barriers too. rewound: [set that
    is unlearned].
    """

    original: State
    oracles: tuple[tuple[tuple[State, ...], ...], ...]
    unlearned: tuple[tuple[State, ...], ...]
    trained_on: tuple[State, ...]
    rewound: tuple[State, ...]


def train_models(world: World, original: Original, sets: Sequence[Rows], options: Options) -> Models:
    """Train them, in stacks."""
    last = sets[-options.unlearned :]
    unlearned, trained_on = _fine_tuned(world, original, last, options)
    return Models(
        original=_final(original), oracles=_oracles(world, original, sets, options), unlearned=unlearned,
        trained_on=trained_on, rewound=_rewound(world, original, last, options),
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
    world: World, original: Original, sets: Sequence[Rows], options: Options
) -> tuple[tuple[tuple[State, ...], ...], ...]:
    trajectory, count = original.trajectory, options.oracles
    places = [(number, repeat) for number in range(len(sets)) for repeat in range(count)]

    def of_chance(purpose: str, start: Start | None) -> list[State]:
        """[set and repeat], seeds of their own."""
        jobs = [
            StackedJob(world.seed_of(purpose, original.number, *place), world.retain(sets[place[0]]))
            for place in places
        ]
        return list(_train(world, world.training, jobs, options, start).states())

    everyone = np.arange(len(world.train))
    own = of_chance("own seed", None)
    shared = of_chance("shared start", (0, trajectory.state(trajectory.at(0))))
    same = [StackedJob(trajectory.config.seed, everyone, absent=rows) for rows in sets]
    drawn = list(_train(world, world.training, same, options).states())
    of_set = [slice(number * count, (number + 1) * count) for number in range(len(sets))]
    return tuple((tuple(own[mine]), tuple(shared[mine]), (drawn[k],)) for k, mine in enumerate(of_set))


def _train(
    world: World,
    config: TrainingConfig,
    jobs: list[StackedJob],
    options: Options,
    start: Start | None = None,
    until: int | None = None,
) -> StackedModels:
    return train_stacked(
        world.spec, world.train, config, jobs, world.sampling_rate, start=start, until=until, device=world.device,
        together=options.together,
    )  # fmt: skip


def _unlearning_jobs(world: World, original: Original, sets: Sequence[Rows], method: str) -> list[StackedJob]:
    return [
        StackedJob(world.seed_of(method, original.number, number), world.retain(rows))
        for number, rows in enumerate(sets)
    ]


def _fine_tuned(
    world: World, original: Original, sets: Sequence[Rows], options: Options
) -> tuple[tuple[tuple[State, ...], ...], tuple[State, ...]]:
    """([look][set], [look] on all records), in one run each that stops at the looks."""
    steps = look_steps(world, options)
    made = FINE_TUNE.continuation(original.trajectory, steps[-1], seed=0)  # the jobs have seeds of their own
    jobs = _unlearning_jobs(world, original, sets, "fine-tune")
    jobs.append(StackedJob(world.seed_of("train on", original.number), np.arange(len(world.train))))
    at: Start | None = made.start
    looks: list[list[State]] = []
    for step in steps:
        stack = _train(world, made.config, jobs, options, at, original.trajectory.total_steps + step)
        looks.append(list(stack.states()))
        at = (original.trajectory.total_steps + step, stack)
    return tuple(tuple(look[:-1]) for look in looks), tuple(look[-1] for look in looks)


def _rewound(world: World, original: Original, sets: Sequence[Rows], options: Options) -> tuple[State, ...]:
    made = REWIND.continuation(original.trajectory, rewind_step(original, options.rewind), seed=0)
    jobs = _unlearning_jobs(world, original, sets, "rewind")
    return tuple(_train(world, made.config, jobs, options, made.start).states())
