"""How are the results of `rank-sgd` shown? Tables and figures of one data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.reproduction.findings import Cell, Estimate, Figure, Kind, Series, Table, jackknife
from expunge.reproduction.rank_sgd.estimates import BEST, PROXIES, after, checkpoints_name, models_name, noise_name
from expunge.reproduction.rank_sgd.hardness import Gathered
from expunge.reproduction.rank_sgd.measured import MATCHED, NULLS, SETS, Measured
from expunge.reproduction.rank_sgd.sets import AVERAGE_NORM, FINAL_NORM, PRIVACY_LOSS, SCORES, overlap
from expunge.reproduction.rank_sgd.shadow_aucs import null_aucs

Array = NDArray[np.float64]
Index = NDArray[np.int64]
MINUS = "privacy loss minus"
# Under an axis there is little room.
SHORT = {AVERAGE_NORM: "average norm", FINAL_NORM: "final norm", MATCHED: "label-matched"}


def figures(found: Measured, numbers: Gathered) -> tuple[Figure, ...]:
    """Influence left, absolute and as a share; agreement by fewer checkpoints; the attack on each set."""
    return (_left(found), _share(found), _checkpoints(found, numbers), _attack(found, numbers))


def tables(found: Measured, numbers: Gathered) -> tuple[Table, ...]:
    """The sets; the contrasts; the stability of the rankings."""
    return (_sets(found, numbers), _compared(found, numbers), _fewer(found, numbers), _between(found, numbers))


def shown(numbers: Gathered, name: str) -> Cell:
    """An estimate with its 95 % interval, as text; None where there is none."""
    estimate = numbers.estimates.get(name)
    return None if estimate is None else estimate.told()


def _left(found: Measured) -> Figure:
    series = []
    for name in SETS:
        own = found.unlearned[name]
        kind: Kind = "null line" if name in NULLS else "line"
        series.append(_curve(name, kind, own.looks, own.left, found.originals, name in (PRIVACY_LOSS, MATCHED)))
    return Figure(
        name=f"{found.world.name}-left",
        title=f"{found.world.name}: influence left of each score's hardest {len(found.sets[PRIVACY_LOSS])} records",
        caption=(
            "What is left per record, in variances of the oracles (C/m, mean over pairs of originals), along"
            " fine-tuning on the retain set; grey: random records. Bands: 95 % over originals, of privacy loss and of"
            " the label-matched random set."
        ),
        x_label="fine-tuning, in trainings",
        y_label="influence left, C/m",
        series=tuple(series),
    )


def _share(found: Measured) -> Figure:
    """Only of sets with something measurable; the null is an oracle in the place of the runs."""
    own = found.unlearned[PRIVACY_LOSS]
    held = {name: found.unlearned[name] for name in SCORES if found.unlearned[name].energies.measurable}
    series = [
        _curve(name, "line", one.looks, one.energies.influence, found.originals, name == PRIVACY_LOSS)
        for name, one in held.items()
    ]
    if PRIVACY_LOSS in held:
        name = "null: a retrained model in the place of the run"

        def flat(some: Index) -> Array:
            return np.repeat(own.null.influence(some), 2)

        series.append(_curve(name, "null line", own.looks[[0, -1]], flat, found.originals, True))
    return Figure(
        name=f"{found.world.name}-share",
        title=f"{found.world.name}: share of the influence left of each score's hardest records",
        caption=(
            "C/S_o: 1 as the original, 0 as retrained; below 0 forgotten beyond it. Bands: 95 % over originals, of"
            " privacy loss and of the null, which is of its set. Sets without measurable influence are left out."
        ),
        x_label="fine-tuning, in trainings",
        y_label="influence left, share",
        series=tuple(series),
    )


def _checkpoints(found: Measured, numbers: Gathered) -> Figure:
    series = []
    counts = found.options.fewer
    for what in ("Spearman", "hardest shared"):
        for spacing in ("even", "log"):
            own = [numbers.estimates[f"{checkpoints_name(found, spacing, count)}, {what}"] for count in counts]
            series.append(_line(f"{what}, {spacing} spacing", [float(count) for count in counts], own))
    chance = len(found.sets[PRIVACY_LOSS]) / len(found.world.train)
    ends = (float(counts[0]), float(counts[-1]))
    name = "null: another order at random, hardest shared"
    series.append(Series(name=name, x=ends, y=(chance, chance), kind="null line"))
    return Figure(
        name=f"{found.world.name}-checkpoints",
        title=f"{found.world.name}: does privacy loss from fewer checkpoints rank as from {found.recorded}?",
        caption=(
            "Spearman over all records, and share of the hardest that stays among them; bands: 95 % over originals."
        ),
        x_label="checkpoints",
        y_label=f"agreement with {found.recorded}",
        series=tuple(series),
        x_log=True,
    )


def _attack(found: Measured, numbers: Gathered) -> Figure:
    world, costs = found.world.name, (0.0, found.options.costs[0], found.options.costs[-1])
    series = []
    for shift, cost in zip((-0.22, 0.0, 0.22), dict.fromkeys(costs), strict=False):
        own = [numbers.estimates[f"{world}: AUC {after(cost)}, {name}"] for name in SETS]
        label = f"{after(cost)} trainings of fine-tuning" if cost else "before fine-tuning"
        series.append(_points(label, [k + shift for k in range(len(SETS))], own))
    seed = found.world.seed_of("attack null")
    chance = [null_aucs(found.shadows, len(found.shadows.costs) - 1, found.sets[name], seed) for name in SETS]
    low, high = (np.quantile(chance, level, axis=1).astype(np.float64) for level in (0.05, 0.95))
    series.append(
        Series(
            name="null: permuted memberships, mean and 5 to 95 %", x=_floats(np.arange(len(SETS)) + 0.36),
            y=_floats(np.stack(chance).mean(axis=1)), low=_floats(low), high=_floats(high), kind="null",
        )
    )  # fmt: skip
    return Figure(
        name=f"{world}-u-lira",
        title=f"{world}: can an attacker with {found.options.shadows} shadow models tell what had been trained on?",
        caption=(
            "AUC of U-LiRA on each score's hardest records, one attack for all sets; whiskers: 95 % over shadow models."
            " The shadows forgot the halves of all sets at once."
        ),
        x_label="forget set",
        y_label="AUC",
        series=tuple(series),
        x_names=tuple(SHORT.get(name, name) for name in SETS),
    )


def _sets(found: Measured, numbers: Gathered) -> Table:
    world, margin, costs = found.world.name, found.options.margin, found.options.costs
    rows: list[tuple[Cell, ...]] = []
    for name in SETS:
        own = found.unlearned[name]
        late = ", censored" if own.influence_censored(margin) else ""
        inside = numbers.estimates[f"{world}: influence time, {name}"].value
        rows.append(
            (
                name,
                f"{overlap(found.sets[PRIVACY_LOSS], found.sets[name]):.0%}",
                shown(numbers, f"{world}: remembered, {name}"),
                *(shown(numbers, f"{world}: share left at {cost:g}, {name}") for cost in costs),
                shown(numbers, f"{world}: left, {name}"),
                f"{shown(numbers, f'{world}: band time, {name}')}, {own.censored:.0%} censored",
                f"{inside:.3g}{late}" if own.energies.measurable else "nothing to forget",
                shown(numbers, f"{world}: AUC before, {name}"),
                shown(numbers, f"{world}: AUC {after(costs[-1])}, {name}"),
            )
        )
    return Table(
        title=f"{world}: the hardest {len(found.sets[PRIVACY_LOSS])} of {len(found.world.train)} records by each score",
        heads=(
            "set", "shared with privacy loss", "remembered, S_o/m", *(f"influence after {c:g}" for c in costs),
            "left, mean C/m", "band time", "influence time", "AUC before", f"AUC after {costs[-1]:g}",
        ),
        rows=tuple(rows),
        note=(
            "Costs and times in trainings; a censored time counts as the cap. Influence has no figure where nothing"
            " measurable was remembered. Intervals: 95 % over originals, of AUC over shadow models."
        ),
    )  # fmt: skip


def _compared(found: Measured, numbers: Gathered) -> Table:
    world, last = found.world.name, found.options.costs[-1]
    rows = tuple(
        (
            name,
            shown(numbers, f"{world}: left, privacy loss over {name}"),
            shown(numbers, f"{world}: share left, {MINUS} {name}"),
            shown(numbers, f"{world}: band time, {MINUS} {name}"),
            shown(numbers, f"{world}: influence time, {MINUS} {name}"),
            shown(numbers, f"{world}: AUC before, {MINUS} {name}"),
            shown(numbers, f"{world}: AUC {after(last)}, {MINUS} {name}"),
        )
        for name in (*PROXIES, BEST)
    )
    return Table(
        title=f"{world}: the set by privacy loss against the set by each proxy",
        heads=(
            "proxy", "left, ln of the ratio", "share left", "band time", "influence time", "AUC before",
            f"AUC after {last:g}",
        ),
        rows=rows,
        note="Differences unless said otherwise; above 0: the set by privacy loss is the harder one. 95 % intervals.",
    )  # fmt: skip


def _fewer(found: Measured, numbers: Gathered) -> Table:
    names = {f"r0 {a:g} against {b:g}": noise_name(found, (a, b)) for a, b in found.noise}
    for spacing, count in found.checkpoints:
        key = f"{count} checkpoints, {spacing} spacing, against {found.recorded}"
        names[key] = checkpoints_name(found, spacing, count)
    return _agreement(found, numbers, f"{found.world.name}: stability of the ranking by privacy loss", names)


def _between(found: Measured, numbers: Gathered) -> Table:
    names = {score: models_name(found, score) for score in SCORES}
    title = f"{found.world.name}: do two models rank the records alike? Scores of one model each"
    return _agreement(found, numbers, title, names)


def _agreement(found: Measured, numbers: Gathered, title: str, names: dict[str, str]) -> Table:
    size = len(found.sets[PRIVACY_LOSS])
    return Table(
        title=title,
        heads=("rankings", "Spearman", f"share of the hardest {size} in common"),
        rows=tuple(
            (key, shown(numbers, f"{name}, Spearman"), shown(numbers, f"{name}, hardest shared"))
            for key, name in names.items()
        ),
    )


def _curve(name: str, kind: Kind, x: Array, curve: Callable[[Index], Array], originals: int, banded: bool) -> Series:
    """A curve [len(x)] of several originals, with its 95 % jackknife intervals where it is to be banded."""
    ends: list[tuple[float, float]] = []
    for k in range(len(x) if banded else 0):

        def at(some: Index, k: int = k) -> float:
            return float(curve(some)[k])

        ends.append(jackknife(at, originals).interval())
    return Series(
        name=name, x=_floats(x), y=_floats(curve(np.arange(originals))), kind=kind,
        low=tuple(low for low, _ in ends), high=tuple(high for _, high in ends),
    )  # fmt: skip


def _line(name: str, x: Sequence[float], own: Sequence[Estimate]) -> Series:
    return _points(name, x, own).model_copy(update={"kind": "line"})


def _points(name: str, x: Sequence[float], own: Sequence[Estimate]) -> Series:
    ends = [one.interval() for one in own]
    return Series(
        name=name, x=tuple(x), y=tuple(one.value for one in own), low=tuple(low for low, _ in ends),
        high=tuple(high for _, high in ends),
    )  # fmt: skip


def _floats(values: NDArray[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
