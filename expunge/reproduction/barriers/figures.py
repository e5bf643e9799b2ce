"""What do the barriers look like? Figures against privacy loss, along unlearning, and with alignment."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from expunge.reproduction.barriers.estimates import Heights, interval_of
from expunge.reproduction.findings import Figure, Kind, Series

Array = NDArray[np.float64]
WHAT = {
    "retain barrier": "Barrier on the retain loss (above the chord)",
    "forget barrier": "Barrier on the forget loss (above the chord)",
    "forget rise": "Rise of the forget loss (above the mean of the ends)",
}
HOW = {
    "own seed": "whose initialisation, batches and noise are their own",
    "shared start": "which share its initialisation and nothing else",
}
LOSS = "mean privacy loss of the set (nats, order 8, one run)"


# Which figures of a world are drawn; the rest is in its tables.
DRAWN = (
    ("retain barrier", "own seed"),
    ("retain barrier", "shared start"),
    ("forget barrier", "shared start"),
    ("forget rise", "shared start"),
)


def figures_of(found: Heights, looks: list[int]) -> tuple[Figure, ...]:
    """Heights against privacy loss, and along the run."""
    return (*(_against_loss(found, measure, coupling) for measure, coupling in DRAWN), _along_run(found, looks))


def _against_loss(found: Heights, measure: str, coupling: str) -> Figure:
    sets, nulls = slice(0, found.quantiles), slice(found.quantiles, None)
    before, baseline = (found.of(what, measure, coupling) for what in ("before", "baseline"))
    series = [
        _series("original to oracle", found.loss[:, sets], before[:, sets], "points"),
        _series("oracle to oracle", found.loss[:, sets], baseline[:, sets], "line"),
        _series("original to oracle, label-matched random sets", found.loss[:, nulls], before[:, nulls], "null"),
    ]
    more = ""
    if coupling == "shared start":
        drawn = found.of("before", measure, "same draws")
        series += [
            _series("original to oracle of the same draws", found.loss[:, sets], drawn[:, sets], "points"),
            _series("the same, label-matched random sets", found.loss[:, nulls], drawn[:, nulls], "null"),
        ]
        more = " The oracle of the same draws differs from the original by the records alone."
    return Figure(
        name=f"{found.world}-{measure}-{coupling}".replace(" ", "-"),
        title=f"{found.world}: {measure} against privacy loss, {coupling}",
        caption=(
            f"{WHAT[measure]} on the line from the original to oracles of each forget set, {HOW[coupling]}; mean over"
            f" {found.originals} originals with 95 % intervals, {units(found)}. Line: between two oracles of the same"
            " set, which never saw its records. Grey: label-matched random sets. Only what leaves both speaks of the"
            f" records.{more}"
        ),
        x_label=LOSS, y_label="nats", x_log=True, series=tuple(series),
    )  # fmt: skip


def _along_run(found: Heights, looks: list[int]) -> Figure:
    coupling = "shared start"
    steps = np.tile(np.array([0.0, *looks]), (found.originals, 1))

    def along(what: str, measure: str, of: Callable[[str, str, str], Array]) -> Array:
        """[originals, looks], the untouched original first."""
        return np.column_stack([of("before", measure, coupling), of(what, measure, coupling)])

    series = []
    for measure in ("forget rise", "retain barrier"):
        series += [
            _series(f"{measure}, unlearned", steps, along("looks", measure, found.hard), "points"),
            _series(f"{measure}, trained on with all records", steps, along("trained_on", measure, found.hard), "line"),
            _series(f"{measure}, label-matched sets unlearned", steps, along("looks", measure, found.null), "null"),
        ]
    return Figure(
        name=f"{found.world}-along-the-run",
        title=f"{found.world}: along unlearning",
        caption=(
            f"From the model to oracles of the {found.hardest} hardest sets while the final model is fine-tuned on the"
            f" retain set ({coupling}, {units(found)}), and while it is trained on with all records, which forgets"
            " nothing. Mean over originals, 95 % intervals."
        ),
        x_label="steps of fine-tuning", y_label="nats", series=tuple(series),
    )  # fmt: skip


def alignment_figure(worlds: Sequence[Heights]) -> Figure:
    """The barrier on the retain loss between models of unlike seeds, with and without reordering hidden units."""
    series = []
    for way, words in (("plain", "as they are"), ("aligned", "hidden units aligned")):
        for what, name, kind in (
            ("before", "original to oracle", "points"), ("baseline", "oracle to oracle", "points"),
            ("before", "original to oracle, label-matched", "null"),
        ):  # fmt: skip
            columns = []
            for place, found in enumerate(worlds):
                sets = slice(found.quantiles, None) if kind == "null" else slice(0, found.quantiles)
                heights = found.of(what, "retain barrier", "own seed", way)[:, sets].mean(axis=1)
                if np.isfinite(heights).all():
                    columns.append((float(place), *interval_of(heights)))
            if columns:
                x, y, low, high = zip(*columns, strict=True)
                chosen: Kind = "null" if kind == "null" else "points"
                series.append(Series(name=f"{name}, {words}", x=x, y=y, low=low, high=high, kind=chosen))
    return Figure(
        name="alignment",
        title="Retain barrier with and without permutation alignment, own seed",
        caption=(
            f"{WHAT['retain barrier']} between models of unlike seeds, as they are and with the hidden units of one"
            " reordered to resemble the other's by weight matching. Means over sets and originals, 95 % intervals."
        ),
        x_label="data set", y_label="nats", y_log=True, series=tuple(series),
        x_names=tuple(found.world for found in worlds),
    )  # fmt: skip


def _series(name: str, x: Array, y: Array, kind: Kind) -> Series:
    """Means over originals of x and y [originals, points], y with its interval."""
    ends = [interval_of(column) for column in y.T]
    value, low, high = (tuple(own[k] for own in ends) for k in range(3))
    return Series(name=name, x=tuple(x.mean(axis=0).tolist()), y=value, low=low, high=high, kind=kind)


def units(found: Heights) -> str:
    """How the models' hidden units are ordered, in words."""
    return "hidden units aligned" if found.judged == "aligned" else "hidden units as they are"
