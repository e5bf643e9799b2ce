"""What does a run on the retain set leave of a forget set, look by look, and what would retraining have left?

Every original forgets every set; each such run has oracles of its own (METHOD section 7: METHOD claim), so that runs
share nothing but the records. Of a model only outputs are kept: phi of its forget set and of records asked for beside
it. Models train in stacks, a part at a time, and a finished part is never trained again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from expunge.errors import UsageError
from expunge.evaluation.confidence import phi
from expunge.models import build_model
from expunge.reproduction.originals import Original
from expunge.reproduction.work import Part, Work
from expunge.reproduction.world import Rows, World
from expunge.training import ScheduleConfig, StackedJob, StackedModels, TrainingConfig, train_stacked
from expunge.training.schedule import learning_rate

Array = NDArray[np.float64]
# Models of one part, and of one stack: a part then takes seconds to a minute, and a stack's weights stay in the cache.
AT_ONCE = 32
# Held-out records that every model is asked about: enough to see a drift of phi, few enough to cost nothing.
HELD_OUT = 400
CHUNK = 512


@dataclass(frozen=True, eq=False)
class Seen:
    """Outputs of models [...] that forgot, or never saw, one set of m records.

    own: phi of the set [..., m]. beside: phi of the rows asked for [..., b]. held_out: mean phi of held-out records
    [...]. right: accuracy on them [...].
    """

    own: Array
    beside: Array
    held_out: Array
    right: Array


@dataclass(frozen=True, eq=False)
class Curves:
    """One forget set: unlearning runs [originals, L, ...] at `looks` steps, their oracles [originals, R, ...].

    looks[0] is 0: the original itself, so `original` [originals, ...] is `unlearned` at the first look.
    """

    looks: Rows
    unlearned: Seen
    oracles: Seen

    @property
    def original(self) -> Array:
        """phi of the set under each original, [originals, m]."""
        first: Array = self.unlearned.own[:, 0]
        return first


def fine_tuning(world: World, cap: int) -> TrainingConfig:
    """Going on from the last weights: the training's own noise, batches and last learning rate, `cap` steps more."""
    base = world.training
    last = learning_rate(base, base.steps - 1)
    changes = {"steps": base.steps + cap, "schedule": ScheduleConfig(), "learning_rate": last}
    return base.model_copy(update=changes)


def forget_curves(
    world: World,
    work: Work,
    name: str,
    originals: Sequence[Original],
    sets: Sequence[Rows],
    looks: Rows,
    oracles: int,
    *,
    start: int | None = None,
    config: TrainingConfig | None = None,
    beside: Rows | None = None,
) -> tuple[Curves, ...]:
    """Unlearn each set from each original, and retrain `oracles` models without it for each of them.

    Args:
        name: of these runs, in the names of parts and in their seeds. sets: rows of `world.train`, each [m_s].
        looks: steps of the run at which it is looked at, increasing, the first 0.
        start: checkpoint step that runs start from (a rewind); default: the last weights.
        config: of the run; default `fine_tuning` to the last look. A rewind that finishes training takes
            `world.training`.
        beside: rows of `world.train` whose phi is wanted of every model, too.

    Returns one Curves a set. Counts `units(...)` of work, to be expected by the caller.

    Raises:
        UsageError: looks that do not begin with 0 or do not increase, or that go beyond `config.steps`.
    """
    first = world.training.steps if start is None else start
    config = fine_tuning(world, int(looks[-1])) if config is None else config
    if looks[0] != 0 or not (np.diff(looks) > 0).all() or first + looks[-1] > config.steps:
        raise UsageError("Looks must begin with 0, increase, and end with the run.", f"They are {looks.tolist()}.")
    beside = np.zeros(0, dtype=np.int64) if beside is None else beside
    runs = [_unlearned(world, work, name, own, sets, looks, first, config, beside) for own in originals]
    retrained = oracle_phi(world, work, name, len(originals), sets, oracles, beside)
    return tuple(Curves(looks, stacked([run[s] for run in runs]), retrained[s]) for s in range(len(sets)))


def units(world: World, originals: int, sets: int, looks: Rows, oracles: int) -> int:
    """Work of `forget_curves`, in models trained for T steps."""
    chunks = [min(AT_ONCE, sets - begin) for begin in range(0, sets, AT_ONCE)]
    return originals * (sets * oracles + sum(_unlearning_units(world, chunk, looks) for chunk in chunks))


def _unlearning_units(world: World, sets: int, looks: Rows) -> int:
    return max(1, round(sets * int(looks[-1]) / world.training.steps))


def oracle_phi(
    world: World, work: Work, name: str, groups: int, sets: Sequence[Rows], count: int, beside: Rows | None = None
) -> tuple[Seen, ...]:
    """Models retrained without each set: `groups` groups of `count`, one Seen [groups, count, ...] a set."""
    beside = np.zeros(0, dtype=np.int64) if beside is None else beside
    wanted = [(s, g, r) for s in range(len(sets)) for g in range(groups) for r in range(count)]
    found: list[Seen] = []
    for number, begin in enumerate(range(0, len(wanted), AT_ONCE)):
        chunk = wanted[begin : begin + AT_ONCE]

        def part(chunk: list[tuple[int, int, int]] = chunk) -> Part:
            jobs = [StackedJob(_seed(world, name, "oracle", sets[s], g, r), world.retain(sets[s])) for s, g, r in chunk]
            models = _train(world, world.training, jobs, None, world.training.steps)
            return _parted([_seen(world, models, [sets[s] for s, _, _ in chunk], beside)])

        made = work.get(f"{world.name}-{name}-oracles-{number}", part, len(chunk))
        found += _split(made, [len(sets[s]) for s, _, _ in chunk])
    places = {place: k for k, place in enumerate(wanted)}
    return tuple(
        stacked([stacked([_first(found[places[s, g, r]]) for r in range(count)]) for g in range(groups)])
        for s in range(len(sets))
    )


def _unlearned(
    world: World, work: Work, name: str, own: Original, sets: Sequence[Rows], looks: Rows, first: int,
    config: TrainingConfig, beside: Rows,
) -> list[Seen]:  # fmt: skip
    """The runs of one original, one Seen [L, ...] a set."""
    found: list[Seen] = []
    for number, begin in enumerate(range(0, len(sets), AT_ONCE)):
        chunk = sets[begin : begin + AT_ONCE]

        def part(chunk: Sequence[Rows] = chunk) -> Part:
            jobs = [StackedJob(_seed(world, name, "run", rows, own.number), world.retain(rows)) for rows in chunk]
            state = own.trajectory.state(own.trajectory.at(first))
            models: StackedModels | None = None
            seen = []
            for before, after in zip([0, *looks[:-1].tolist()], looks.tolist(), strict=True):
                start = (first + before, state if models is None else models)
                models = _train(world, config, jobs, start, first + after)
                seen.append(_seen(world, models, chunk, beside))
            return _parted(seen)

        share = _unlearning_units(world, len(chunk), looks)
        made = work.get(f"{world.name}-{name}-runs-{own.number}-{number}", part, share)
        found += _split(made, [len(rows) for rows in chunk])
    return found


def _train(world: World, config: TrainingConfig, jobs, start, until: int) -> StackedModels:  # type: ignore[no-untyped-def]
    return train_stacked(
        world.spec, world.train, config, jobs, world.sampling_rate, start=start, until=until, device=world.device,
        at_once=AT_ONCE,
    )  # fmt: skip


def _seed(world: World, name: str, purpose: str, rows: Rows, *numbers: int) -> int:
    """Of a model: by the records it is to forget, so that the same set has the same models in any company."""
    digest = hashlib.sha256(np.sort(rows).tobytes()).hexdigest()[:16]
    return world.seed_of(name, purpose, digest, *numbers)


def _seen(world: World, models: StackedModels, sets: Sequence[Rows], beside: Rows) -> list[Seen]:
    """What each model says of its own set, of `beside` and of held-out records."""
    module = build_model(world.spec).to(world.device).eval()

    def answers(state: dict[str, Tensor], features: NDArray[Any]) -> NDArray[np.float32]:
        parts = torch.from_numpy(features).to(world.device).split(CHUNK)
        with torch.no_grad():
            return torch.cat([functional_call(module, state, (part,)).float().cpu() for part in parts]).numpy()

    features, targets = world.held_out.features[:HELD_OUT], world.held_out.targets[:HELD_OUT]
    found = []
    for state, rows in zip(models.states(), sets, strict=True):
        asked = np.concatenate([rows, beside])
        values = phi(answers(state, world.train.features[asked]), world.train.targets[asked])
        unseen = answers(state, features)
        drift, right = np.array(phi(unseen, targets).mean()), np.array((unseen.argmax(1) == targets).mean())
        found.append(Seen(values[: len(rows)], values[len(rows) :], drift, right))
    return found


def _parted(looks: list[list[Seen]]) -> Part:
    """Looks [L] of models [K] as arrays: own [L, all records of all sets], beside [L, K, b], held_out, right [L, K]."""
    return {
        "own": np.stack([np.concatenate([seen.own for seen in models]) for models in looks]),
        "beside": np.stack([np.stack([seen.beside for seen in models]) for models in looks]),
        "held_out": np.stack([np.stack([seen.held_out for seen in models]) for models in looks]),
        "right": np.stack([np.stack([seen.right for seen in models]) for models in looks]),
    }


def _split(part: Part, sizes: list[int]) -> list[Seen]:
    """The inverse: one Seen [L, ...] a model."""
    own = np.split(part["own"], np.cumsum(sizes)[:-1], axis=1)
    return [Seen(own[k], part["beside"][:, k], part["held_out"][:, k], part["right"][:, k]) for k in range(len(sizes))]


def _first(seen: Seen) -> Seen:
    return Seen(seen.own[0], seen.beside[0], seen.held_out[0], seen.right[0])


def stacked(parts: Sequence[Seen]) -> Seen:
    """Several of one set as one, with a new first axis."""
    return Seen(
        np.stack([p.own for p in parts]), np.stack([p.beside for p in parts]),
        np.stack([p.held_out for p in parts]), np.stack([p.right for p in parts]),
    )  # fmt: skip


def spaced_looks(cap: int, count: int) -> Rows:
    """0 and about `count` looks up to `cap`, denser early: steps grow as the square, so that both ends are resolved.

    METHOD section 7 looks every T/100 steps; quick forgetting needs finer looks than that, slow forgetting coarser.
    """
    wanted = cap * (np.arange(count + 1) / count) ** 2
    steps: Rows = np.unique(np.minimum(cap, np.maximum(np.ceil(wanted), np.arange(count + 1)))).astype(np.int64)
    return steps
