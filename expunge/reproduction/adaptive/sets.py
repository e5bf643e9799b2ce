"""Which records are to be forgotten? Two disjoint draws of sets of every difficulty, and the null's: random records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.reproduction.originals import label_matched
from expunge.reproduction.world import Rows, World

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ForgetSets:
    """Rows of `world.train` of each set, all of one size; the other fields are places in `rows`.

    calibration: what the planner learns from. measured: what it is judged on. matched: random records with the labels
    of the hardest of those, as many sets as that.
    """

    rows: tuple[Rows, ...]
    calibration: range
    measured: range
    matched: range

    @property
    def size(self) -> int:
        """Records of a set."""
        return len(self.rows[0])

    @property
    def judged(self) -> range:
        """All but those that calibrate."""
        return range(self.measured.start, self.matched.stop)


def draw_sets(world: World, difficulty: Array, size: int, calibration: int, measured: int, matched: int) -> ForgetSets:
    """Sets of `size` records by `difficulty` [n]; calibration and measured sets share no record.

    Raises:
        UsageError: more records than there are, or more matched sets than measured ones.
    """
    order = np.argsort(difficulty, kind="stable")
    if (calibration + measured) * size > len(order):
        raise UsageError(
            f"{world.name}: {calibration} and {measured} sets of {size} records are more than the {len(order)} that"
            " there are.",
            "Lower set_share, calibration_sets or measured_sets.",
        )
    if matched > measured:
        raise UsageError(f"{matched} sets cannot be matched to {measured} measured ones.", "Lower matched_sets.")
    first = strata(order, size, calibration, world.seed_of("calibration sets"))
    rest = order[~np.isin(order, np.concatenate(first))]
    second = strata(rest, size, measured, world.seed_of("measured sets"))
    hardest = range(measured - matched, measured)
    null = [label_matched(world, second[k], world.seed_of("matched set", k)) for k in hardest]
    ends = np.cumsum([0, calibration, measured, matched]).tolist()
    return ForgetSets((*first, *second, *null), range(*ends[:2]), range(*ends[1:3]), range(*ends[2:]))


def strata(order: Rows, size: int, count: int, seed: int) -> list[Rows]:
    """`count` disjoint sets, one from each of as many strata of difficulty, easiest first; `order` has that order."""
    rng = np.random.default_rng(seed)
    return [np.sort(rng.choice(part, size, replace=False)) for part in np.array_split(order, count)] if count else []
