"""Tables and figures of the groups: each set's losses and difficulty, the sizes of the bounds, and who ranks best."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from expunge.reproduction.findings import Cell, Estimate, Figure, Series, Table, jackknife
from expunge.reproduction.group.estimates import SCOPES, spearman_name
from expunge.reproduction.group.measured import ENERGY, LEFT, TARGETS, TIME, Measured
from expunge.reproduction.group.predictors import PREDICTORS
from expunge.reproduction.group.sets import KINDS, Kind
from expunge.reproduction.times import LEAST_ENERGY

Array = NDArray[np.float64]
# Smallest energy on a logarithmic axis.
_LEAST_SHOWN = 0.03
# Series of the figures: six colours, so the two kinds whose gradients add up share one.
_SHOWN: dict[str, tuple[Kind, ...]] = {
    "ordinary": ("ordinary",),
    "aligned or one class": ("aligned", "one class"),
    "cancelling": ("cancelling",),
    "duplicates": ("duplicates",),
    "opposite labels": ("opposite labels",),
    "wrong labels": ("wrong labels",),
    "random or label-matched (null)": ("null",),
}
_AXES = {"set-level": "set-level loss, norm of the sum (nats)", "mean": "mean of the records' losses (nats)"}


def tables(own: Measured, found: Mapping[str, Estimate]) -> tuple[Table, ...]:
    """All tables of a world."""
    return _ranking(own, found), _sets(own), _bounds(own)


def _ranking(own: Measured, found: Mapping[str, Estimate]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for predictor, words in PREDICTORS.items():
        row: list[Cell] = [predictor]
        for target in TARGETS:
            for scope in SCOPES:
                estimate = found.get(spearman_name(own.name, predictor, target, scope))
                row.append(None if estimate is None else estimate.told(".2f"))
        rows.append((*row, words))
    heads = tuple(f"{target}, {scope}" for target in TARGETS for scope in SCOPES)
    return Table(
        title=f"{own.name}: Spearman's rank correlation of each predictor with difficulty",
        heads=("predictor", *heads, "what it is"), rows=tuple(rows),
        note="95 % intervals over originals; the groups are fixed. "
        + " ".join(f"{name.capitalize()}: {words}." for name, words in TARGETS.items()),
    )  # fmt: skip


def _sets(own: Measured) -> Table:
    runs = np.arange(own.seeds)
    losses = {name: own.predicted(name, runs) for name in PREDICTORS}
    energy, left, times = (own.difficulty(target, runs) for target in (ENERGY, LEFT, TIME))
    censored = own.times(runs).censored
    rows = []
    for k in np.argsort(-energy, kind="stable").tolist():
        steps = f"> {times[k]:.0f}" if censored[k] else f"{times[k]:.0f}"
        rows.append((
            own.sets[k].name, own.sets[k].kind, *(_short(losses[name][k]) for name in PREDICTORS),
            _short(energy[k]), _short(left[k]), _influence(own, k), steps,
        ))  # fmt: skip
    size = len(own.sets[0].rows)
    return Table(
        title=f"{own.name}: groups of {size} records, hardest first",
        heads=("group", "kind", *PREDICTORS, "S_o/m", "S_u/m left", "influence left", "steps to unlearn"),
        rows=tuple(rows),
        note=f"Losses in nats at order {own.order:g}, means over {own.seeds} originals. S_u/m and influence"
        f" C/S_o (only where the lower bound of S_o/m is over {LEAST_ENERGY:g}) are those after"
        f" {own.looks[own.budget]} steps of fine-tuning; steps to unlearn are those until S_u/m stays within"
        f" {own.margin:g}.",
    )  # fmt: skip


def _influence(own: Measured, k: int) -> float | None:
    """C/S_o after the fixed budget, where dividing is allowed (METHOD section 7)."""
    each = own.energies[k]
    if not each.measurable:
        return None
    return _short(float(each.influence(np.arange(own.seeds))[own.budget]))


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def bounds_by_kind(own: Measured) -> dict[Kind, dict[str, float]]:
    """For each kind of set: the loss by each way over that which was sampled (exact at full batch), original 0.

    Geometric means over sets, of sums over the checkpoints at which it was estimated; `effective` is the smallest, and
    `missing` the share of steps not estimated. `classic` is over all checkpoints, set against the set-level loss that
    the others give there: its order of magnitude.
    """
    found: dict[Kind, dict[str, float]] = {}
    for kind in KINDS:
        chosen = [k for k, each in enumerate(own.sets) if each.kind == kind]
        if not chosen:
            continue
        logs: dict[str, list[float]] = {"leading": [], "simple": [], "upper": [], "classic": []}
        sizes, missing = [], []
        for k in chosen:
            check = own.checks[k]
            known = np.isfinite(check["sampled"])
            missing.append(1 - known.mean())
            sizes += check["effective"][np.isfinite(check["effective"])].tolist()
            exact = float(check["sampled"][known].sum())
            if not exact > 0:
                continue
            for way in ("leading", "simple", "upper"):
                logs[way].append(_log_of(float(check[way][known].sum()) / exact))
            better = own.predictors["worst subset"][0, k] * exact / float(check["simple"][known].sum())
            logs["classic"].append(_log_of(own.predictors["classic"][0, k] / better))
        means = {way: math.exp(float(np.mean(values))) if values else math.nan for way, values in logs.items()}
        extra = {"effective": min(sizes, default=math.nan), "missing": float(np.mean(missing))}
        found[kind] = means | extra
    return found


def _log_of(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf


def _bounds(own: Measured) -> Table:
    exact = "exact" if own.full_batch else "by importance sampling"
    rows: list[tuple[Cell, ...]] = [
        (
            kind, _short(way["leading"]), _short(way["simple"]), _short(way["upper"]), _short(way["classic"]),
            None if math.isnan(way["effective"]) else round(way["effective"]), f"{way['missing']:.0%}",
        )
        for kind, way in bounds_by_kind(own).items()
    ]  # fmt: skip
    return Table(
        title=f"{own.name}: how large each bound or approximation is, as a multiple of the set-level loss {exact}",
        heads=("kind", "norm of the sum", "worst subset", "rigorous upper bound", "classic group bound",
               "smallest effective sample size", "steps not estimated"),
        rows=tuple(rows),
        note=f"Geometric means over sets of one original, at {len(own.checks[0]['leading'])} of its checkpoints. An"
        " effective sample size under 1,000 is not trusted, and the step then counts as not estimated.",
    )  # fmt: skip


def figures(own: Measured) -> tuple[Figure, ...]:
    """Energy and time against the set-level loss and against the mean loss: the same points in both."""
    return tuple(_figure(own, target, predictor) for target in (ENERGY, TIME) for predictor in _AXES)


def _figure(own: Measured, target: str, predictor: str) -> Figure:
    runs = np.arange(own.seeds)
    x, y = own.predicted(predictor, runs), own.difficulty(target, runs)
    low = high = y
    censored = np.zeros(len(y), dtype=bool)
    if target == ENERGY:
        intervals = [jackknife(each.energy, own.seeds).interval() for each in own.energies]
        low, high = (np.array(ends).clip(min=_LEAST_SHOWN) for ends in zip(*intervals, strict=True))
        y = y.clip(min=_LEAST_SHOWN)
    else:
        censored = own.times(runs).censored
    series = []
    for name, kinds in _SHOWN.items():
        at = [k for k, each in enumerate(own.sets) if each.kind in kinds]
        if not at:
            continue
        series.append(Series(
            name=name, kind="null" if kinds == ("null",) else "points",
            x=_picked(x, at), y=_picked(y, at), names=tuple(own.sets[k].name for k in at),
            low=_picked(low, at) if target == ENERGY else (), high=_picked(high, at) if target == ENERGY else (),
            censored=tuple(bool(censored[k]) for k in at) if censored.any() else (),
        ))  # fmt: skip
    label = "S_o/m (oracles' variances)" if target == ENERGY else "steps of fine-tuning to unlearn"
    how = (
        f"Intervals (95 %) over originals; what is under {_LEAST_SHOWN:g}, where chance around 0 takes estimates below"
        f" it, stands at {_LEAST_SHOWN:g}."
        if target == ENERGY
        else "Hollow: not unlearned by the last step."
    )
    return Figure(
        name=f"{own.name}-{target}-{predictor}".replace(" ", "-"),
        title=f"{own.name}: {target} against the {'set-level' if predictor == 'set-level' else 'mean'} loss",
        caption="One point a group, all of the same size. If this loss decided, the kinds would lie on one rising"
        f" curve. {how}",
        x_label=_AXES[predictor], y_label=label, series=tuple(series), x_log=True, y_log=target == ENERGY,
    )  # fmt: skip


def _picked(values: Array, at: list[int]) -> tuple[float, ...]:
    return tuple(float(values[k]) for k in at)
