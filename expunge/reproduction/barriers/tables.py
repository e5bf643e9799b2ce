"""What are the numbers? Tables of one data set: its forget sets, heights, growth with privacy loss, falls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.loss_paths import GROUPS
from expunge.reproduction.barriers.estimates import FALLS, MEASURES, Heights, interval_of
from expunge.reproduction.barriers.figures import units
from expunge.reproduction.barriers.heights import ENDS, FIGURES
from expunge.reproduction.barriers.models import COUPLINGS
from expunge.reproduction.findings import Cell, Estimate, Table

Array = NDArray[np.float64]
Made = Mapping[str, Estimate]


def tables_of(found: Heights, made: Made) -> tuple[Table, ...]:
    """The sets and their losses; heights, growth and falls of every measure and coupling."""
    return (_sets(found), _heights(found), _growth(found, made), _falls(found, made))


def _names(found: Heights) -> list[str]:
    count = found.loss.shape[1]
    blocks = [f"block {k + 1}" for k in range(found.quantiles)]
    blocks[0], blocks[-1] = f"{blocks[0]}, easiest", f"{blocks[-1]}, hardest"
    return [*blocks, *(f"label-matched {k + 1}" for k in range(count - found.quantiles))]


def _sets(found: Heights) -> Table:
    ends = found.arrays["ends"].mean(axis=0)[..., GROUPS.index("forget")]
    rows: list[tuple[Cell, ...]] = [
        (name, float(loss), *(None if np.isnan(value) else float(value) for value in own))
        for name, loss, own in zip(_names(found), found.loss.mean(axis=0), ends, strict=True)
    ]
    return Table(
        title=f"{found.world}: the forget sets",
        heads=("set", "mean privacy loss", *(f"forget loss, {name}" for name in ENDS)),
        rows=tuple(rows),
        note="Means over originals; losses in nats.",
    )


def _heights(found: Heights) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for measure in MEASURES:
        for coupling in COUPLINGS:
            easiest = found.of("before", measure, coupling)[:, : found.hardest].mean(axis=1)
            cells = [
                easiest, found.null("before", measure, coupling), found.hard("before", measure, coupling),
                found.hard("baseline", measure, coupling), found.hard("looks", measure, coupling)[:, -1],
                found.hard("trained_on", measure, coupling)[:, -1], found.hard("rewound", measure, coupling),
            ]  # fmt: skip
            rows.append((measure, coupling, *(with_interval(cell) for cell in cells)))
    return Table(
        title=f"{found.world}: heights, nats",
        heads=(
            "measure", "oracles", "easiest sets", "label-matched", "hardest sets", "oracle to oracle",
            "after fine-tuning", "after training on all", "after the rewind",
        ),
        rows=tuple(rows),
        note=(
            f"Means over originals with 95 % intervals, {units(found)}. From the fifth column on: of the hardest sets."
            f" Two oracles of the same draws are one model. Every second point alone gives heights at most"
            f" {grid_gap(found):.1g} nats lower."
        ),
    )  # fmt: skip


def with_interval(values: Array) -> str:
    """Mean over originals with its interval, where there is one."""
    value, low, high = interval_of(values)
    return f"{value:.3g}" if low == high else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def grid_gap(found: Heights) -> float:
    """The most by which a barrier read off every second point is lower, nats; over all sets, originals and ways."""
    height, coarse = (FIGURES.index(name) for name in ("height", "coarse"))
    gaps = [own[..., height] - own[..., coarse] for own in (found.arrays["before"], found.arrays["baseline"])]
    return float(np.nanmax(gaps))


def _growth(found: Heights, made: Made) -> Table:
    kinds = ("growth", "growth beyond the baseline", "slope", "slope beyond the baseline", "excess over the baseline")
    return Table(
        title=f"{found.world}: growth with privacy loss",
        heads=(
            "measure", "oracles", "Spearman", "Spearman, of the excess over two oracles", "slope, nats an e-fold",
            "slope of the excess", "excess of the hardest, nats",
        ),
        rows=_estimated(found, made, kinds),
        note=f"Over {found.originals} originals, with 95 % intervals. Two oracles of the same draws are one model.",
    )  # fmt: skip


def _falls(found: Heights, made: Made) -> Table:
    return Table(
        title=f"{found.world}: fall with unlearning, shares of the height of the hardest sets before",
        heads=("measure", "oracles", "fine-tuning", "fine-tuning beyond training on all records", "rewind"),
        rows=_estimated(found, made, FALLS),
        note=f"Over {found.originals} originals, with 95 % intervals. Empty: no height shown to be above zero.",
    )


def _estimated(found: Heights, made: Made, kinds: Sequence[str]) -> tuple[tuple[Cell, ...], ...]:
    rows: list[tuple[Cell, ...]] = []
    for measure in MEASURES:
        for coupling in COUPLINGS:
            own = [made.get(f"{found.world}: {kind} of the {measure}, {coupling}") for kind in kinds]
            rows.append((measure, coupling, *(None if e is None else e.told(".2g") for e in own)))
    return tuple(rows)
