"""How are the sizes of this noise shown? Tables, figures and sentences of one data set, made from its estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from expunge.reproduction.findings import Cell, Figure, Findings, Kind, Series, Table, over_seeds
from expunge.reproduction.implicit_noise.character import MEASURES
from expunge.reproduction.implicit_noise.estimates import JUDGED, OF_A_WAY, Found, Measured
from expunge.reproduction.implicit_noise.words import answer, sentences, stated

Array = NDArray[np.float64]
KINDS = {
    "repeat": "the same settings", "float32": "float32", "bfloat16": "bfloat16", "float64": "float64",
    "chance": "bfloat16, rounded by coin", "gpu": "GPU", "known": "control",
    "record": "one record fewer",
}  # fmt: skip
# Injected sizes that the figure of divergences shows: every other one.
SHOWN = 2


def report(measured: Measured, found: Found, nats: Sequence[float]) -> Findings:
    """Everything about one data set."""
    return Findings(
        estimates=found.numbers,
        not_estimable=found.without,
        tables=(_ways(measured, found, nats), _character(measured, found), _needed(measured, found, nats)),
        figures=(_divergence(measured), _equivalent(measured, found, nats), _price(measured, found, nats)),
        answer=(answer(measured, found, nats),),
        words=sentences(measured, found, nats),
    )


def _ways(measured: Measured, found: Found, nats: Sequence[float]) -> Table:
    prefix, count = measured.world.name, len(measured.originals)
    rows: list[tuple[Cell, ...]] = []
    for name, kind in measured.kinds.items():
        way = measured.ways[name]
        last = way["divergence"][:, -1]
        far = float(np.exp(np.log(last).mean())) if (last > 0).all() else float(last.mean())
        cells = [_cell(found, f"{prefix}: {name}: {figure}") for figure in OF_A_WAY]
        rows.append((name, KINDS[kind], f"{int(way['same'].sum())} of {count}", f"{far:.2g}", *cells))
    for place, name in enumerate(("other batches", "other start and batches")):
        far = float(np.exp(np.log(measured.seeds[:, place, -1]).mean()))
        rows.append((name, "another seed", f"0 of {count}", f"{far:.2g}", None, None, None, None))
    return Table(
        title=f"{prefix}: runs that differ in their arithmetic alone, and by their seed",
        heads=("way", "kind", "equal bit for bit", "distance at the end", *OF_A_WAY),
        rows=tuple(rows),
        note="Distance: root mean square over the weights, geometric mean over originals. s: deviation per coordinate"
        " of Gaussian noise on the sum of a batch's gradients; none: no difference. Intervals: 95 %, over"
        " originals. Loss: of the median"
        f" record at order 8, if the larger s were that of Gaussian noise; {nats[0]:g} nats are {np.log10(nats[0]):g}.",
    )


def _cell(found: Found, name: str) -> Cell:
    """A number, "none" where there is no difference, nothing where it was not asked."""
    if name in found.numbers:
        return stated(found, name)
    return "none" if name in found.without else None


def _character(measured: Measured, found: Found) -> Table:
    prefix = measured.world.name
    rows = [
        (name, *(stated(found, f"{prefix}: {name}: {measure}") for measure in MEASURES)) for name in measured.measures
    ]
    return Table(
        title=f"{prefix}: what the rounding error of the gradient sum is like",
        heads=("way", *MEASURES),
        rows=(*rows, ("isotropic Gaussian noise", "1", "0", "0", "0", "1", "0")),
        note="dimension: share of the weights' directions over which errors spread. untouched: share of weights that no"
        " batch's error touched. seen through: share of records with a part of their gradient in such weights."
        " kurtosis: excess over a Gaussian's. along: mean square along a record's gradient, over that per weight."
        " mean: squared mean error over the mean squared error.",
    )


def _needed(measured: Measured, found: Found, nats: Sequence[float]) -> Table:
    prefix = measured.world.name
    gaps = [kind for kind in JUDGED if f"{prefix}: {kind}: log10 s" in found.numbers]
    rows: list[tuple[Cell, ...]] = [
        (
            f"{each:g} nats", stated(found, f"{prefix}: noise for {each:g} nats: log10 s"),
            stated(found, f"{prefix}: noise for {each:g} nats: accuracy lost"),
            *(stated(found, f"{prefix}: {kind}: log10 gap to {each:g} nats") for kind in gaps),
        )
        for each in nats
    ]  # fmt: skip
    return Table(
        title=f"{prefix}: the noise that a loss needs",
        heads=("loss of the median record", "log10 s", "held-out accuracy lost", *(f"log10 gap, {k}" for k in gaps)),
        rows=tuple(rows),
        note="Gap: the s that is needed over the largest of that precision. Held-out accuracy without noise:"
        f" {stated(found, f'{prefix}: accuracy without noise')}.",
    )


def _divergence(measured: Measured) -> Figure:
    prefix, scales = measured.world.name, measured.injected["scales"][0]
    series = [
        _curve(f"noise of s = {scales[k]:.0e}", measured.looks, measured.injected["divergence"][:, k], "null line")
        for k in range(0, len(scales) - 1, SHOWN)
    ]
    equal: list[str] = []
    for kind in ("float32", "bfloat16", "chance", "float64", "gpu", "record"):
        apart = {name: measured.ways[name]["divergence"] for name in measured.of_kind(kind)}
        equal += [name for name, own in apart.items() if not (own > 0).all(axis=0).any()]
        parted = {name: own for name, own in apart.items() if name not in equal}
        if parted:
            furthest = max(parted, key=lambda name: float(parted[name][:, -1].mean()))
            said = furthest if len(parted) == 1 else f"{furthest} (furthest of {len(parted)}: {KINDS[kind]})"
            series.append(_curve(said, measured.looks, parted[furthest]))
    series.append(_curve("other batches", measured.looks, measured.seeds[:, 0]))
    without = f" Not shown, for they never differ from the plain run: {', '.join(equal)}." if equal else ""
    return Figure(
        name=f"{prefix}-divergence",
        title=f"{prefix}: how far runs part",
        caption="Distance from the plain run along training (root mean square), geometric mean over originals; of each"
        f" kind of arithmetic the way that parts furthest. Greyed: the same with known Gaussian noise.{without}",
        x_label="step", y_label="distance per weight", x_log=True, y_log=True, series=tuple(series),
    )  # fmt: skip


def _curve(name: str, looks: Array, divergence: Array, kind: Kind = "line") -> Series:
    """Geometric mean over all but looks, [..., L], where nothing is zero."""
    runs = divergence.reshape(-1, len(looks))
    shown = (runs > 0).all(axis=0)
    mean = np.exp(np.log(runs[:, shown]).mean(axis=0))
    return Series(name=name, x=tuple(looks[shown].tolist()), y=tuple(mean.tolist()), kind=kind)


def _equivalent(measured: Measured, found: Found, nats: Sequence[float]) -> Figure:
    prefix = measured.world.name
    names = [
        name for name in measured.of_kind("float32", "bfloat16", "chance", "float64", "gpu") if measured.parted(name)
    ]
    places = tuple(float(k) for k in range(len(names)))
    series = []
    for figure in ("in one step", "over the run"):
        estimates = [found.numbers.get(f"{prefix}: {name}: log10 s {figure}") for name in names]
        shown = [(x, e) for x, e in zip(places, estimates, strict=True) if e is not None]
        ends = [e.interval() for _, e in shown]
        series.append(
            Series(
                name=figure, x=tuple(x for x, _ in shown), y=tuple(e.value for _, e in shown),
                low=tuple(low for low, _ in ends), high=tuple(high for _, high in ends),
                names=tuple(names[int(x)] for x, _ in shown),
            )
        )  # fmt: skip
    for each in nats:
        level = found.numbers[f"{prefix}: noise for {each:g} nats: log10 s"].value
        series.append(Series(name=f"needed for {each:g} nats", x=places, y=(level,) * len(places), kind="null"))
    return Figure(
        name=f"{prefix}-equivalent-noise",
        title=f"{prefix}: the noise that arithmetic amounts to",
        caption="log10 of the s of Gaussian noise on the sum of a batch's gradients, with 95 % intervals over"
        " originals; greyed: what a loss of so many nats needs for the median record.",
        x_label="arithmetic", y_label="log10 s", x_names=tuple(names), series=tuple(series),
    )  # fmt: skip


def _price(measured: Measured, found: Found, nats: Sequence[float]) -> Figure:
    prefix, injected = measured.world.name, measured.injected
    count = injected["scales"].shape[1] - len(nats)
    accuracy = [over_seeds(injected["accuracy"][:, place].mean(axis=1)) for place in range(count)]
    ends = [each.interval() for each in accuracy]
    sizes = tuple(np.log10(injected["scales"][0, :count]).tolist())
    plain = found.numbers[f"{prefix}: accuracy without noise"].value
    marks: Mapping[str, float] = {
        **{f"largest of {kind}": found.numbers[f"{prefix}: {kind}: log10 s"].value
           for kind in JUDGED if f"{prefix}: {kind}: log10 s" in found.numbers},
        **{f"needed for {each:g} nats": found.numbers[f"{prefix}: noise for {each:g} nats: log10 s"].value
           for each in nats},
    }  # fmt: skip
    heights = np.interp(list(marks.values()), sizes, [each.value for each in accuracy])
    return Figure(
        name=f"{prefix}-price",
        title=f"{prefix}: what noise costs",
        caption="Held-out accuracy of runs with Gaussian noise, with 95 % intervals over originals; greyed: without"
        " noise. Marked: what arithmetic amounts to, and what a loss needs.",
        x_label="log10 s", y_label="held-out accuracy",
        series=(
            Series(
                name="Gaussian noise", x=sizes, y=tuple(each.value for each in accuracy),
                low=tuple(low for low, _ in ends), high=tuple(high for _, high in ends), kind="line",
            ),
            Series(name="no noise", x=sizes, y=(plain,) * len(sizes), kind="null"),
            Series(
                name="sizes to compare", x=tuple(marks.values()), y=tuple(heights.tolist()), names=tuple(marks),
            ),
        ),
    )  # fmt: skip
