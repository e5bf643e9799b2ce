"""What is to be seen of time against privacy loss? Figures and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from expunge.reproduction.findings import Cell, Figure, Findings, Kind, Series, Table, jackknife
from expunge.reproduction.predict_sgld.estimates import (
    IN_WORDS,
    WITH_LAWS,
)
from expunge.reproduction.predict_sgld.forgetting import MEASURES, Forgetting, Measure
from expunge.reproduction.predict_sgld.laws import LAWS, why_not

Index = NDArray[np.int64]


def pictured(found: Sequence[Forgetting]) -> Findings:
    """Two figures a regime, a table of groups of sets and one of laws a world."""
    worlds = list(dict.fromkeys(own.world for own in found))
    tables = []
    for world in worlds:
        here = [own for own in found if own.world == world]
        tables += [_groups_table(world, here), _laws_table(world, here)]
    figures = [figure for own in found for figure in (_times_figure(own), _curves_figure(own))]
    return Findings(estimates={}, tables=tuple(tables), figures=tuple(figures))


def _groups(own: Forgetting) -> Mapping[str, Index]:
    """The sets by loss in four groups of equal number, hardest first, and the null sets."""
    names = ("hardest quarter", "second quarter", "third quarter", "easiest quarter")
    groups = dict(zip(names, np.array_split(own.of_kind("by loss"), len(names)), strict=True))
    groups["label-matched"] = own.of_kind("matched")
    if len(own.of_kind("random")):
        groups["random"] = own.of_kind("random")
    return groups


def _times_figure(own: Forgetting) -> Figure:
    by_loss = own.of_kind("by loss")
    series = [
        _points(own, f"by loss, {IN_WORDS['gap']}", "gap", by_loss),
        _points(own, f"by loss, {IN_WORDS['entry']}", "entry", by_loss, whiskers=False),
        _points(own, f"label-matched, {IN_WORDS['gap']}", "gap", own.of_kind("matched"), "null"),
    ]
    if len(own.of_kind("random")):
        series.append(_points(own, f"random, {IN_WORDS['gap']}", "gap", own.of_kind("random"), "null"))
    if not why_not(own.observed("gap", own.everyone)):
        law = own.law("gap", own.everyone)
        x = np.exp(np.linspace(np.log(own.loss.min()), np.log(own.loss.max()), 60))
        line = np.clip(law.line(x), 0, own.cap)
        series.append(Series(name=f"logarithmic law, {IN_WORDS['gap']}", x=_t(x), y=_t(line), kind="line"))
    return Figure(
        name=f"{own.world} {own.regime} times", title=f"{own.world}, {own.regime}: time to unlearn by privacy loss",
        caption=f"A point is a set of {len(own.sets[0].rows)} records: mean privacy loss, and steps of fine-tuning"
        f" until it is forgotten, over {len(own.everyone)} originals; 0: there was nothing to forget; hollow: not by"
        f" the cap of {own.cap:.0f} steps. Bars: 95 % jackknife intervals over originals.",
        x_label="mean privacy loss, nats", y_label="steps to unlearn", series=tuple(series), x_log=True,
    )  # fmt: skip


def _points(
    own: Forgetting, name: str, measure: Measure, numbers: Index, kind: Kind = "points", whiskers: bool = True
) -> Series:
    steps = own.steps(measure, numbers, own.everyone)
    half = np.array([_half_width(own, measure, numbers[place : place + 1]) for place in range(len(numbers))])
    shown = whiskers and bool(np.isfinite(half).all())
    return Series(
        name=name, x=_t(own.mean_loss(numbers, own.everyone)), y=_t(steps), kind=kind,
        low=_t(np.clip(steps - half, 0, own.cap)) if shown else (),
        high=_t(np.clip(steps + half, 0, own.cap)) if shown else (),
        censored=tuple(bool(share > 0.5) for share in own.censored(measure, numbers, own.everyone)),
        names=tuple(f"{own.sets[k].kind} {own.sets[k].place}" for k in numbers),
    )  # fmt: skip


def _half_width(own: Forgetting, measure: Measure, number: Index) -> float:
    """Of the 95 % interval of one set's time."""
    low, high = jackknife(lambda runs: float(own.steps(measure, number, runs)[0]), len(own.everyone)).interval()
    return (high - low) / 2


def _curves_figure(own: Forgetting) -> Figure:
    series = []
    for name, numbers in _groups(own).items():
        left = np.mean([own.means[k].energy_left(own.everyone) for k in numbers], axis=0)
        null = name in ("label-matched", "random")
        series.append(Series(name=name, x=_t(own.looks), y=_t(left), kind="null line" if null else "line"))
    return Figure(
        name=f"{own.world} {own.regime} curves", title=f"{own.world}, {own.regime}: what is left along fine-tuning",
        caption="Squared distance of the set's mean of phi from the oracles', in their variance of it; mean over the"
        f" sets of a group and all pairs of originals. A set counts as forgotten at {own.gap:g}. Unbiased, so it may be"
        " below 0.",
        x_label="steps of fine-tuning", y_label="gap of means, squared", series=tuple(series),
    )  # fmt: skip


def _groups_table(world: str, found: Sequence[Forgetting]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for own in found:
        for name, numbers in _groups(own).items():
            runs = own.everyone
            energy = float(np.mean([own.energies[k].energy(runs) for k in numbers]))
            gap = float(np.mean([own.means[k].energy(runs) for k in numbers]))
            margin = [own.margin_time(int(k), runs) for k in numbers]
            rows.append((
                own.regime, name, _round(own.mean_loss(numbers, runs).mean()), _round(gap), _round(energy),
                *(_round(own.steps(measure, numbers, runs).mean()) for measure in MEASURES),
                *(_share(own.censored(measure, numbers, runs).mean()) for measure in MEASURES),
                f"{sum(bool(one.censored) for one in margin)} of {len(margin)}",
                _round(np.mean([own.curves[k].unlearned.held_out[:, -1].mean() for k in numbers])
                       - np.mean([own.curves[k].oracles.held_out.mean() for k in numbers])),
            ))  # fmt: skip
    return Table(
        title=f"{world}: steps to unlearn by group of forget sets",
        heads=(
            "noise", "sets", "mean loss", "gap before", "S_o/m", *(f"steps, {IN_WORDS[one]}" for one in MEASURES),
            *(f"beyond the cap, {IN_WORDS[one]}" for one in MEASURES), "not within the margin by the cap",
            "held-out phi at the cap minus the oracles'",
        ),
        rows=tuple(rows),
        note="Steps count 0 where there is nothing to forget and the cap where it is not reached.",
    )  # fmt: skip


def _laws_table(world: str, found: Sequence[Forgetting]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for own in found:
        for measure in WITH_LAWS:
            seen = own.observed(measure, own.everyone)
            reason = why_not(seen)
            scores = {} if reason else own.scores(measure, own.everyone)
            rows.append((
                own.regime, IN_WORDS[measure], _share(seen.nothing.mean()), _share(seen.censored.mean()),
                *(_round(scores[name]) if name in scores else None for name in LAWS), reason or None,
            ))  # fmt: skip
    return Table(
        title=f"{world}: held-out log score of each law, nats a set",
        heads=("noise", "measure", "nothing to forget", "beyond the cap", *LAWS, "why not"),
        rows=tuple(rows),
        note="Tobit regressions of steps on the set's mean privacy loss, every set left out in turn; larger is better.",
    )


def _round(value: float | np.floating) -> float:
    """Three digits: more would be noise in a table."""
    return float(f"{float(value):.3g}")


def _share(value: float | np.floating) -> str:
    return f"{float(value):.0%}"


def _t(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
