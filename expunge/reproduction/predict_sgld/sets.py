"""Which sets are to be forgotten, so that time can be held against privacy loss over its whole range?

Blocks of consecutive records by mean rank of the loss: no two share a record, all originals forget the same ones. Most
records hold little to forget (METHOD section 6), so blocks lie closer where losses are high: spaced evenly, three
quarters of them would say "nothing" and the few others could not tell one law from another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.reproduction.originals import Original, label_matched, mean_rank
from expunge.reproduction.world import Rows, World

# by loss: of one level of difficulty. matched: random, of the labels of a hard set. random: drawn from all.
Kind = Literal["by loss", "matched", "random"]
# Gaps between blocks grow with this power of their place, from the hardest on.
SPACING = 1.5


@dataclass(frozen=True, eq=False)
class ForgetSet:
    """Rows of `world.train`, sorted, and where they come from; `place` orders sets of one kind, 0 the hardest."""

    rows: Rows
    kind: Kind
    place: int


def blocks(ranks: NDArray[np.float64], size: int, count: int) -> tuple[Rows, ...]:
    """`count` disjoint blocks of `size` records of consecutive rank, hardest first, the hardest and easiest among them.

    Raises:
        UsageError: fewer than `count` blocks in all.
    """
    most = len(ranks) // size
    if not 2 <= count <= most:
        raise UsageError(
            f"{count} sets of {size} records are wanted, and {len(ranks)} records hold {most}.",
            "Ask for fewer or smaller sets.",
        )
    order = np.argsort(-ranks, kind="stable")
    wanted = np.round((most - 1) * (np.arange(count) / (count - 1)) ** SPACING).astype(int)
    # Strictly increasing from the hardest on, and none beyond the easiest block.
    places = np.maximum.accumulate(wanted - np.arange(count)) + np.arange(count)
    places = np.minimum(places, most - count + np.arange(count))
    return tuple(np.sort(order[p * size : (p + 1) * size]) for p in places)


def sets_by_loss(
    world: World, originals: Sequence[Original], size: int, count: int, matched: int, random: int
) -> tuple[ForgetSet, ...]:
    """Blocks of every difficulty; sets of the labels of the `matched` hardest; sets drawn from all records."""
    chosen = blocks(mean_rank(tuple(originals)), size, count)
    found = [ForgetSet(rows, "by loss", place) for place, rows in enumerate(chosen)]
    for place in range(matched):
        rows = label_matched(world, chosen[place], world.seed_of("label-matched", place))
        found.append(ForgetSet(rows, "matched", place))
    for place in range(random):
        rng = np.random.default_rng(world.seed_of("random set", place))
        found.append(ForgetSet(np.sort(rng.choice(len(world.train), size, replace=False)), "random", place))
    return tuple(found)
