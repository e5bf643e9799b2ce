"""How high are the barriers of one original? Heights between it, what unlearning made of it, and its oracles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from expunge.data import RecordTable
from expunge.evaluation.loss_paths import GROUPS, barrier_height
from expunge.models import ModelSpec
from expunge.reproduction.barriers.models import COUPLINGS, Models, Options, State, train_models
from expunge.reproduction.originals import Original
from expunge.reproduction.work import Part
from expunge.reproduction.world import Rows, World
from expunge.training.alignment import align
from expunge.training.interpolation import loss_along

Array = NDArray[np.float64]
# plain: the models as they are. aligned: hidden units of the first in the order that resembles the second's most.
WAYS = ("plain", "aligned")
# height: METHOD section 7's B, above the chord. coarse: B from every second point. rise: the highest loss less the mean
# of the two ends (Frankle et al. 2020, arXiv 1912.05671, equation 1). Where the ends are as high as each other the two
# are the same; where they are not, the rise is at least half of their difference, and B is 0 on a convex line.
FIGURES = ("height", "coarse", "rise")
# What becomes of the original, in the order of `ends`.
ENDS = ("original", "fine-tuned", "rewound", "oracle")


def measure_heights(world: World, original: Original, sets: Sequence[Rows], options: Options) -> Part:
    """Means over pairs of models, in nats; C couplings, G groups, W ways, F figures as named above.

    before, baseline [sets, C, G, W, F]: lines to the oracles of each coupling from the original, and from another of
    these oracles. Of the sets that are unlearned, the last ones: rewound [U, C, G, W, F], the same from the rewound
    model; looks, trained_on [U, L, C, G, W, F], from the model at the looks of fine-tuning on the retain set, and on
    all records. ends [sets, 4, G]: mean losses of the models named in ENDS, oracles of their own seed; NaN where no
    such model was made.

    Original and oracles of a coupling with chance play the same part: were the original an oracle too, its mean height
    over them would have the expectation of the mean over pairs of them.
    """
    models = train_models(world, original, sets, options)
    first = len(sets) - options.unlearned
    found = [_of_set(world, models, number, rows, options, number - first) for number, rows in enumerate(sets)]
    return {key: np.stack([part[key] for part in found if key in part]) for key in found[-1]}


def _of_set(world: World, models: Models, number: int, rows: Rows, options: Options, unlearned: int) -> Part:
    """`unlearned`: the set's place among those that are; below 0, it is not."""
    line = Lines(world.spec, _tables(world, number, rows, options.evaluated), options.points, world.device)
    oracles = models.oracles[number]

    def to_oracles(state: State) -> Array:
        return np.stack([line.joined((state, oracle) for oracle in own) for own in oracles])

    def loss(state: State) -> Array:
        """[groups]; a line from a model to itself is flat."""
        return line.losses(state, state)[:, 0]

    made = {
        "before": to_oracles(models.original),
        # Two oracles of the same draws are one model: no line, no barrier.
        "baseline": np.stack([line.joined(combinations(each, 2)) for each in oracles]),
    }
    became = np.full((2, len(line.tables)), np.nan)
    if unlearned >= 0:
        looks = [look[unlearned] for look in models.unlearned]
        rewound = models.rewound[unlearned]
        became = np.stack([loss(looks[-1]), loss(rewound)])
        made |= {
            "rewound": to_oracles(rewound), "looks": np.stack([to_oracles(state) for state in looks]),
            "trained_on": np.stack([to_oracles(state) for state in models.trained_on]),
        }  # fmt: skip
    own = np.mean([loss(oracle) for oracle in oracles[COUPLINGS.index("own seed")]], axis=0)
    return made | {"ends": np.stack([loss(models.original), *became, own])}


class Lines:
    """Losses along lines between models of one architecture on tables of records, one for each group."""

    def __init__(self, spec: ModelSpec, tables: Sequence[RecordTable], points: int, device: str = "cpu") -> None:
        self.spec, self.tables, self.points, self.device = spec, tables, points, device

    def joined(self, pairs: Iterable[tuple[State, State]]) -> Array:
        """FIGURES, means over pairs [groups, ways, figures]; zeros without a pair.

        Those of models whose units cannot be reordered are NaN when aligned.
        """
        found = [figures(self._both_ways(first, second)) for first, second in pairs]
        return np.mean(found, axis=0) if found else np.zeros((len(self.tables), len(WAYS), len(FIGURES)))

    def losses(self, first: State, second: State) -> Array:
        """Mean losses [groups, points], nats."""
        return loss_along(self.spec, first, second, self.tables, self.points, device=self.device)

    def _both_ways(self, first: State, second: State) -> Array:
        plain = self.losses(first, second)
        moved = align(self.spec, second, first)
        if moved.state is None or moved.orders is None:
            return np.stack([plain, np.full_like(plain, np.nan)], axis=1)
        unmoved = all(np.array_equal(order, np.arange(len(order))) for order in moved.orders.values())
        return np.stack([plain, plain if unmoved else self.losses(moved.state, second)], axis=1)


def figures(losses: Array) -> Array:
    """FIGURES of losses at an odd number of even points, [..., points] -> [..., 3], nats; NaN where a loss is."""
    known = np.isfinite(losses).all(axis=-1, keepdims=True)
    safe = np.where(known, losses, 0.0)
    rise = safe.max(axis=-1) - (safe[..., 0] + safe[..., -1]) / 2
    found = np.stack([barrier_height(safe), barrier_height(safe[..., ::2]), rise], axis=-1)
    return np.where(known, found, np.nan)


def _tables(world: World, number: int, rows: Rows, most: int) -> list[RecordTable]:
    """Records of GROUPS: a sample of the retain set, the same for all originals, and the whole forget set."""
    assert GROUPS == ("retain", "forget")
    retain = world.retain(rows)
    rng = np.random.default_rng(world.seed_of("evaluated", number))
    sample = np.sort(rng.choice(retain, min(most, len(retain)), replace=False))
    return [world.records(sample), world.records(rows)]
