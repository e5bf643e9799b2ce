"""Influence, excess and utility by method and cost, pooled over forget sets; the planner's choices against the best."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pareto_energies import energies, jackknife, pooled, sharp
from pareto_quality import (
    CAUTION,
    TARGET,
    TARGETS,
    best_costs,
    chosen_among,
    coverage,
    measured_left,
    needs,
    quality,
)
from pareto_runs import COSTS, Sets
from scipy.stats import t

from expunge.reproduction.adaptive.planner import KEEP, RETRAIN, Ways, chosen, pilot_sets
from expunge.unlearning.pilot_energies import PilotReference
from expunge.unlearning.pilots import MEASURABLE_ENERGY, Way
from expunge.unlearning.predictor import BudgetPredictor, fit_predictor

Array = NDArray[np.float64]
Parts = list[dict[str, Any]]
DIFFICULTY = "difficulty of "
NOT_WORSE = 0.02


@dataclass
class Measured:
    """Everything that was trained for one data set, as arrays of phi with held-out accuracy behind (``pareto_runs``).

    `planned`: by target, what the planner's own runs gave, of each original.
    """

    ways: Ways
    sets: Sets
    base: dict[str, Any]
    pilots: Parts
    rewinds: Parts
    arms: dict[str, Parts]
    rates: dict[str, float]
    planned: dict[float, Parts] = field(default_factory=dict)

    @cached_property
    def references(self) -> list[PilotReference]:
        return [
            PilotReference.of(o[:, :-1], x[:, :-1])
            for o, x in zip(self.base["oracles"], self.base["trained"], strict=True)
        ]

    @property
    def judged(self) -> list[int]:
        return list(self.sets.judged)

    @cached_property
    def originals(self) -> Array:
        """[judged, K, m + 1]"""
        found: Array = self.base["originals"][self.judged]
        return found

    def predictor(self, scores: Array | None = None) -> BudgetPredictor:
        """Of the calibration sets; `scores` [sets] take the place of the mean privacy loss."""
        rows = list(self.sets.calibration)
        losses = self.base["losses"][: len(self.pilots), rows].mean(axis=0) if scores is None else scores[rows]
        pilots = [part["models"][..., :-1] for part in self.pilots]
        made = pilot_sets(self.ways, pilots, [self.references[n] for n in rows], losses)
        return fit_predictor(made, TARGET, self.ways.procedure.config.steps)

    def plans(self, target: float) -> list[dict[int, Way]]:
        """What is planned for each judged set, by original."""
        told = self.predictor().at(target)
        return [{n: chosen(told, float(own[n]), CAUTION) for n in self.judged} for own in self.base["losses"]]

    def parts(self, models: Array) -> Array:
        """Sums of energies [..., judged, 1 + K, 3] of models [K, ..., judged, m + 1]."""
        of_set = np.moveaxis(models[..., :-1], -2, 0)  # [judged, K, ..., m]
        found = [
            energies(np.moveaxis(own, 0, -2), self.base["oracles"][n][:, :-1], x[:, :-1])
            for n, own, x in zip(self.judged, of_set, self.originals, strict=True)
        ]
        return np.stack(found, axis=-3)

    def sharp(self, models: Array) -> Array:
        """The same from sharper references, so that a set can be looked at by itself: [..., judged, 1 + K, 3]."""
        of_set = np.moveaxis(models[..., :-1], -2, 0)
        found = [sharp(np.moveaxis(own, 0, -2), self.references[n]) for n, own in zip(self.judged, of_set, strict=True)]
        return np.stack(found, axis=-3)

    def accuracy_lost(self, models: Array) -> Array:
        """Held-out accuracy of the oracles less that of [K, ..., judged, m + 1], by set: [..., judged]."""
        oracles = self.base["oracles"][self.judged][..., -1].mean(axis=1)
        found: Array = oracles - models[..., -1].mean(axis=0)
        return found


def summary(found: Measured) -> dict[str, Any]:
    """Everything for the tables."""
    rewinds = np.stack([part["models"] for part in found.rewinds])  # [K, ways, judged, m + 1]
    originals = np.moveaxis(found.originals, 1, 0)
    retrained = np.moveaxis(found.base["retrained"], 1, 0)
    first = found.sets.judged.start
    every = [n - first for n in found.sets.measured]
    kinds = {
        "every difficulty": every,
        "remembered": [n for n in every if found.references[n + first].energy >= MEASURABLE_ENERGY],
        "random": [n - first for n in found.sets.random],
        "hardest": [n - first for n in found.sets.hardest],
    }
    arms: list[tuple[str, float | None, float, Array]] = [("original", None, 0.0, originals)]
    arms += [(way.method, way.strength, found.ways.cost(way), rewinds[:, k]) for k, way in enumerate(found.ways.ways)]
    arms.append(("retrain", None, 1.0, retrained))
    for name, own in found.arms.items():
        models = np.stack([part["models"] for part in own])
        arms += [(name, None, float(cost), models[:, k]) for k, cost in enumerate(own[0]["cost"])]
    measured = [(method, strength, cost, found.parts(models), found.sharp(models), found.accuracy_lost(models))
                for method, strength, cost, models in arms]  # fmt: skip
    rows = {
        kind: [
            _row(method, strength, cost, parts[own], sharper[own], lost[own])
            for method, strength, cost, parts, sharper, lost in measured
        ]
        for kind, own in kinds.items()
    }
    by_set = found.sharp(rewinds)[..., 0, :]  # [ways, judged, 3]
    best = best_costs(found.ways, by_set, found.ways.size)
    result = {
        "sets": {kind: len(own) for kind, own in kinds.items()},
        "size": found.ways.size, "originals": len(originals), "oracles": found.base["oracles"].shape[1],
        "rows": rows, "rates": found.rates,
        "energies": [float(found.references[n].energy) for n in found.judged], "best": best.tolist(),
        "null": _missed(found.sharp(retrained)[..., 0, :], found.ways.size),
    }  # fmt: skip
    if found.planned:
        result["planner"] = _planner(found, kinds, measured, by_set, best)
    return result


def _row(method: str, strength: float | None, cost: float, parts: Array, sharper: Array, lost: Array) -> dict[str, Any]:
    """One line of the tables. `claim`: from the five originals alone, as METHOD section 7 has it."""
    if not len(parts):
        return {"method": method, "strength": strength, "cost": cost}
    return {
        "method": method, "strength": strength, "cost": cost, **_left(sharper), "claim": _left(parts),
        "accuracy_lost": float(lost.mean()),
    }  # fmt: skip


def _missed(sharp: Array, size: int) -> dict[str, int]:
    flags = np.array([needs(one, size) for one in sharp])
    return {"missed": int(np.nansum(flags)), "of": int((~np.isnan(flags)).sum())}


def _planner(
    found: Measured, kinds: dict[str, list[int]], arms: list[Any], by_set: Array, best: Array
) -> dict[str, Any]:
    """The planner's own runs at every target; how well its costs agree; other scores in place of privacy loss."""
    told, every = found.predictor(), kinds["every difficulty"]
    size, first = found.ways.size, found.sets.judged.start
    losses = found.base["losses"].mean(axis=0)[found.judged]
    curve, at_target = {}, {}
    for target, own in found.planned.items():
        models = np.stack([part["models"] for part in own])
        plans = found.plans(target)
        costs = np.array([np.mean([found.ways.cost(plan[n]) for plan in plans]) for n in found.judged])
        parts, sharper, lost = found.parts(models), found.sharp(models), found.accuracy_lost(models)
        curve[target] = (float(costs[every].mean()), sharper[kinds["remembered"]])
        if target == TARGET:
            flags = np.array([needs(one, size) for one in sharper[:, 0]])
            at_target = {
                kind: _row("planner", None, float(costs[rows].mean()), parts[rows], sharper[rows], lost[rows])
                for kind, rows in kinds.items()
            }
            judged = quality(costs[every], best[every], flags[every], losses[every])
            chosen_ways = _counts(plans, every, first)
    return {
        "at_target": at_target, "quality": judged, "ways": chosen_ways, "nothing_below": told.nothing_below,
        "measurable_pilots": len(told.measurable), "pilots": len(told.pilots),
        "coverage": coverage(told, found.ways, losses[every], best[every]),
        "laws": [law.model_dump() for law in told.laws],
        "curve": [{"target": target, "cost": cost, **_left(parts)} for target, (cost, parts) in curve.items()],
        "against_fixed": _against_fixed(arms, curve, kinds["remembered"]),
        "scores": {
            key.removeprefix(DIFFICULTY): _by_score(found, values, by_set, best, every)
            for key, values in found.base.items()
            if key.startswith(DIFFICULTY)
        },
        "predicted": told.energy_at(float(np.median(losses))),
    }  # fmt: skip


def _counts(plans: list[dict[int, Way]], every: list[int], first: int) -> dict[str, int]:
    methods = [plan[n + first].method for plan in plans for n in every]
    return {method: methods.count(method) for method in sorted(set(methods))}


def _left(parts: Array) -> dict[str, Any]:
    left = pooled(parts)
    return {"influence": left.influence, "excess": left.excess}


def _worst(parts: Array) -> Array:
    """max(|influence|, excess) over sets: [1 + K], all originals and each left out."""
    sums = parts.sum(axis=0)
    return np.maximum(np.abs(sums[:, 0]), sums[:, 1]) / sums[:, 2]


def _against_fixed(arms: list[Any], curve: dict[float, tuple[float, Array]], rows: list[int]) -> list[dict[str, Any]]:
    """At every cost of the grid: the planner's dearest setting within it less the best fixed method within it.

    Costs are means over sets of every difficulty; what is left is that of those with something to forget.
    """
    found = []
    for cost in COSTS:
        fixed = [(_worst(sharper[rows]), method, strength) for method, strength, own, _, sharper, _ in arms
                 if own <= cost + 0.03 and method != "original"]  # fmt: skip
        value, method, strength = min(fixed, key=lambda one: one[0][0])
        within = [(own, target) for target, (own, _) in curve.items() if own <= cost + 0.03]
        if not within:
            continue
        planner = _worst(curve[max(within)[1]][1])
        difference, half = jackknife(planner - value)
        error = half / float(t.ppf(0.975, len(value) - 2))
        found.append(
            {"cost": cost, "planner": float(planner[0]), "target": max(within)[1], "fixed": float(value[0]),
             "method": method, "strength": strength, "difference": difference, "half": half,
             "p_worse": float(t.sf((NOT_WORSE - difference) / error, len(value) - 2)) if error else float("nan")}
        )  # fmt: skip
    return found


def _by_score(found: Measured, scores: Array, by_set: Array, best: Array, every: list[int]) -> dict[str, Any]:
    """The same planner going by another score, on the ways that were run: the nearest thing to the same runs."""
    told = found.predictor(scores)
    own = scores[found.judged]
    ways = [chosen_among(told, float(value), found.ways.ways) for value in own]
    costs = np.array([found.ways.cost(way) for way in ways])
    places = {way: k for k, way in enumerate(found.ways.ways)}
    original = found.sharp(np.moveaxis(found.originals, 1, 0))[..., 0, :]
    retrained = found.sharp(np.moveaxis(found.base["retrained"], 1, 0))[..., 0, :]
    parts = np.stack([
        original[n] if way == KEEP else retrained[n] if way == RETRAIN else by_set[places[way], n]
        for n, way in enumerate(ways)
    ])  # fmt: skip
    flags = np.array([needs(one, found.ways.size) for one in parts])
    sums = parts[every].sum(axis=0)
    return {
        **quality(costs[every], best[every], flags[every], own[every]),
        "left": float(max(abs(sums[0]), sums[1]) / sums[2]),
    }


__all__ = ["DIFFICULTY", "TARGETS", "Measured", "measured_left", "summary"]
