"""What do the barriers look like? Figures and tables of one data set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.loss_paths import GROUPS
from expunge.reproduction.barriers.estimates import MEASURES, WITH_CHANCE, Heights, interval_of
from expunge.reproduction.barriers.heights import ENDS, FIGURES
from expunge.reproduction.barriers.models import COUPLINGS
from expunge.reproduction.findings import Cell, Estimate, Figure, Kind, Series, Table

Array = NDArray[np.float64]
WHAT = {
    "retain barrier": "Barrier on the retain loss (above the chord)",
    "forget barrier": "Barrier on the forget loss (above the chord)",
    "forget rise": "Rise of the forget loss (above the mean of the ends)",
}
LOSS = "mean privacy loss of the set (nats, order 8, one run)"


def figures_of(found: Heights, looks: list[int]) -> tuple[Figure, ...]:
    """Against privacy loss and along the run, for every measure; with and without alignment."""
    against = [_against_loss(found, measure) for measure in MEASURES]
    along = [_along_run(found, measure, looks) for measure in ("retain barrier", "forget rise")]
    aligned = [_alignment(found)] if found.judged == "aligned" else []
    return (*against, *along, *aligned)


def _against_loss(found: Heights, measure: str) -> Figure:
    sets, nulls = slice(0, found.quantiles), slice(found.quantiles, None)
    series = []
    for coupling in COUPLINGS:
        before = found.of("before", measure, coupling)
        series.append(_series(f"original to oracle, {coupling}", found.loss[:, sets], before[:, sets], "points"))
        if coupling in WITH_CHANCE:
            baseline = found.of("baseline", measure, coupling)[:, sets]
            series.append(_series(f"oracle to oracle, {coupling}", found.loss[:, sets], baseline, "line"))
        name = f"label-matched random sets, {coupling}"
        series.append(_series(name, found.loss[:, nulls], before[:, nulls], "null"))
    return Figure(
        name=f"{found.world}-{measure.replace(' ', '-')}-against-loss",
        title=f"{found.world}: {measure} against privacy loss",
        caption=(
            f"{WHAT[measure]} on the line from the original to oracles of each forget set, mean over"
            f" {found.originals} originals with 95 % intervals, {_units(found)}. Lines: between two oracles of the same"
            " set, which never saw its records. Grey: label-matched random sets. A barrier speaks of the records where"
            " the points leave the line and the grey."
        ),
        x_label=LOSS, y_label="nats", x_log=True, series=tuple(series),
    )  # fmt: skip


def _along_run(found: Heights, measure: str, looks: list[int]) -> Figure:
    hard = slice(found.quantiles - found.hardest, found.quantiles)
    nulls = slice(found.quantiles, None)
    series = []
    for coupling in WITH_CHANCE:
        before = found.of("before", measure, coupling)[..., None]

        def along(what: str, sets: slice, coupling: str = coupling, before: Array = before) -> Array:
            run = np.concatenate([before, found.of(what, measure, coupling)], axis=2)
            averaged: Array = run[:, sets].mean(axis=1)
            return averaged

        steps = np.tile(np.array([0.0, *looks]), (found.originals, 1))
        baseline = np.tile(found.hard("baseline", measure, coupling)[:, None], (1, len(looks) + 1))
        series += [
            _series(f"hardest, unlearned, {coupling}", steps, along("looks", hard), "points"),
            _series(f"hardest, trained on with all records, {coupling}", steps, along("trained_on", hard), "line"),
            _series(f"hardest, oracle to oracle, {coupling}", steps, baseline, "line"),
            _series(f"label-matched random sets, unlearned, {coupling}", steps, along("looks", nulls), "null"),
        ]
    return Figure(
        name=f"{found.world}-{measure.replace(' ', '-')}-along-the-run",
        title=f"{found.world}: {measure} along unlearning",
        caption=(
            f"{WHAT[measure]} from the model to the oracles of the {found.hardest} hardest sets while the final model"
            f" is fine-tuned on the retain set, {_units(found)}; beside it the same training on all records, which"
            " forgets nothing, and the height between two oracles. Mean over originals, 95 % intervals."
        ),
        x_label="steps of fine-tuning", y_label="nats", series=tuple(series),
    )  # fmt: skip


def _alignment(found: Heights) -> Figure:
    measure, sets, nulls = "retain barrier", slice(0, found.quantiles), slice(found.quantiles, None)
    series = []
    for way, words in (("plain", "as they are"), ("aligned", "hidden units aligned")):
        before, baseline = (found.of(what, measure, "own seed", way) for what in ("before", "baseline"))
        series += [
            _series(f"original to oracle, {words}", found.loss[:, sets], before[:, sets], "points"),
            _series(f"oracle to oracle, {words}", found.loss[:, sets], baseline[:, sets], "line"),
            _series(f"label-matched random sets, {words}", found.loss[:, nulls], before[:, nulls], "null"),
        ]
    return Figure(
        name=f"{found.world}-alignment",
        title=f"{found.world}: retain barrier with and without permutation alignment",
        caption=(
            f"{WHAT[measure]} between models of their own seeds, as they are and with the hidden units of one reordered"
            " to resemble the other's by weight matching. Mean over originals, 95 % intervals."
        ),
        x_label=LOSS, y_label="nats", x_log=True, y_log=True, series=tuple(series),
    )  # fmt: skip


def _series(name: str, x: Array, y: Array, kind: Kind) -> Series:
    """Means over originals of x and y [originals, points], y with its interval."""
    ends = [interval_of(column) for column in y.T]
    value, low, high = (tuple(own[k] for own in ends) for k in range(3))
    return Series(name=name, x=tuple(x.mean(axis=0).tolist()), y=value, low=low, high=high, kind=kind)


def _units(found: Heights) -> str:
    return "hidden units aligned" if found.judged == "aligned" else "hidden units as they are"


def tables_of(found: Heights, made: dict[str, Estimate]) -> tuple[Table, ...]:
    """The sets and their losses; heights and estimates of every measure and coupling; how much the grid matters."""
    return (_sets(found), _heights(found), _estimated(found, made))


def _names(found: Heights) -> list[str]:
    count = found.loss.shape[1]
    blocks = [f"block {k + 1}" for k in range(found.quantiles)]
    blocks[0], blocks[-1] = f"{blocks[0]}, easiest", f"{blocks[-1]}, hardest"
    return [*blocks, *(f"label-matched {k + 1}" for k in range(count - found.quantiles))]


def _sets(found: Heights) -> Table:
    ends = found.arrays["ends"].mean(axis=0)[..., GROUPS.index("forget")]
    rows: list[tuple[Cell, ...]] = [
        (name, float(loss), *(float(value) for value in own))
        for name, loss, own in zip(_names(found), found.loss.mean(axis=0), ends, strict=True)
    ]
    return Table(
        title=f"{found.world}: the forget sets",
        heads=("set", "mean privacy loss", *(f"forget loss, {name}" for name in ENDS)),
        rows=tuple(rows),
        note="Means over originals; losses in nats.",
    )


def _heights(found: Heights) -> Table:
    easy, null = slice(0, found.hardest), slice(found.quantiles, None)
    rows: list[tuple[Cell, ...]] = []
    for measure in MEASURES:
        for coupling in COUPLINGS:
            before = found.of("before", measure, coupling)
            cells = [
                before[:, easy].mean(axis=1), before[:, null].mean(axis=1), found.hard("before", measure, coupling),
                found.hard("baseline", measure, coupling), found.hard("looks", measure, coupling)[:, -1],
                found.hard("trained_on", measure, coupling)[:, -1], found.hard("rewound", measure, coupling),
            ]  # fmt: skip
            rows.append((measure, coupling, *(_with_interval(cell) for cell in cells)))
    return Table(
        title=f"{found.world}: heights, nats",
        heads=(
            "measure", "oracles", "easiest sets", "label-matched", "hardest sets", "oracle to oracle",
            "after fine-tuning", "after training on all", "after the rewind",
        ),
        rows=tuple(rows),
        note=(
            f"Means over originals with 95 % intervals, {_units(found)}. From the fifth column on: of the hardest sets."
            f" Two oracles of the same draws are one model. Every second point alone gives heights at most"
            f" {grid_gap(found):.1g} nats lower."
        ),
    )  # fmt: skip


def _with_interval(values: Array) -> str:
    value, low, high = interval_of(values)
    return f"{value:.3g}" if low == high else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def grid_gap(found: Heights) -> float:
    """The most by which a barrier read off every second point is lower, nats; over all sets, originals and ways."""
    height, coarse = (FIGURES.index(name) for name in ("height", "coarse"))
    gaps = [own[..., height] - own[..., coarse] for own in (found.arrays["before"], found.arrays["baseline"])]
    return float(np.nanmax(gaps))


def _estimated(found: Heights, made: dict[str, Estimate]) -> Table:
    kinds = (
        "growth",
        "growth beyond the baseline",
        "slope",
        "excess over the baseline",
        "fall",
        "fall beyond the control",
    )
    rows: list[tuple[Cell, ...]] = []
    for measure in MEASURES:
        for coupling in COUPLINGS:
            own = [made.get(f"{found.world}: {kind} of the {measure}, {coupling}") for kind in kinds]
            baseline = found.of("baseline", measure, coupling)[:, : found.quantiles]
            rows.append((measure, coupling, *(None if e is None else said(e) for e in own), float(baseline.mean())))
    return Table(
        title=f"{found.world}: growth with privacy loss, and fall with unlearning",
        heads=(
            "measure", "oracles", "growth (Spearman)", "growth of the excess over two oracles", "slope, nats an e-fold",
            "excess of the hardest, nats", "fall of the hardest", "fall beyond more training on all",
            "mean height between oracles, nats",
        ),
        rows=tuple(rows),
        note=f"Over {found.originals} originals, with 95 % intervals. Empty: no such figure, or nothing to divide by.",
    )  # fmt: skip


def said(estimate: Estimate) -> str:
    """The value with its 95 % interval."""
    low, high = estimate.interval()
    return f"{estimate.value:.2g} [{low:.2g}, {high:.2g}]"
