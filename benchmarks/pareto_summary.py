"""Influence, excess and utility by method and cost, pooled over forget sets; the planner's choices against the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr, t

from expunge.evaluation.influence import model_influence, residual_influence
from expunge.unlearning.predictor import MEASURABLE_ENERGY, PilotCandidate, PilotSet, fit_predictor

Array = NDArray[np.float64]
TARGET, CAUTION = 0.10, 0.25
DIFFICULTY = "difficulty of "


def terms(u: Array, o: Array, x: Array) -> Array:
    """C, S_u and S_o of one set, summed over records: phi [runs, m] of unlearned, oracles, originals."""
    found = residual_influence(u, o, x)
    return found.records * np.array([found.cross, found.energy_unlearned, found.energy])


def pooled(u: Array, o: Array, x: Array) -> dict[str, list[float]]:
    """Influence and excess over sets as ratios of sums, with 95 % intervals by the jackknife over originals.

    u, x [sets, K, m], o [sets, oracles, m].
    """
    runs = x.shape[1]
    full = np.sum([terms(*arms) for arms in zip(u, o, x, strict=True)], axis=0)
    without = [
        np.sum([terms(np.delete(a, k, 0), b, np.delete(c, k, 0)) for a, b, c in zip(u, o, x, strict=True)], axis=0)
        for k in range(runs)
    ]
    found = {}
    for name, part in (("influence", 0), ("excess", 1)):
        values = np.array([one[part] / one[2] for one in without])
        error = np.sqrt((runs - 1) / runs * ((values - values.mean()) ** 2).sum())
        half = float(t.ppf(0.975, runs - 1) * error)
        ratio = float(full[part] / full[2])
        found[name] = [ratio, ratio - half, ratio + half]
    return found


def chosen_points(
    total: int, base: dict[str, Any], points: list[int], rewinds: Array, fit: Sequence[int]
) -> NDArray[np.int64]:
    """Place in `points` that the shipped predictor chooses, by original and set [K, sets]; -1 is retraining.

    rewinds: [K, P, sets, m + 1]. Calibrated for each original on the sets of `fit`, one run each.
    """
    chosen = np.zeros((len(rewinds), len(base["oracles"])), dtype=np.int64)
    for k, runs in enumerate(rewinds):
        pilots = []
        for number in fit:
            o, x = base["oracles"][number][:, :-1], base["originals"][number][k, :-1]
            left = [model_influence(own[number, :-1], o, x) for own in runs]
            candidates = tuple(
                PilotCandidate(
                    method="rewind", amount=point, steps=total - point, share_spent=float(share),
                    excess=found.excess or 0.0, influence=found.influence or 0.0,
                )
                for point, share, found in zip(points, base["shares"][k, number], left, strict=True)
            )  # fmt: skip
            pilots.append(
                PilotSet(
                    name=str(number), size=o.shape[1], mean_loss=float(base["losses"][k, number]),
                    energy=left[0].energy, candidates=candidates,
                )
            )  # fmt: skip
        safe = fit_predictor(pilots, TARGET, total).safe_share(CAUTION)
        # Shares grow with the step: the last point allowed is the cheapest.
        chosen[k] = (base["shares"][k] <= (1.0 if safe is None else safe)).sum(axis=1) - 1
    return chosen


def best_costs(total: int, points: list[int], rewinds: Array, o: Array, x: Array) -> Array:
    """cost* of each set: the cheapest rewind within the target, as are all dearer ones; 0: nothing to forget.

    rewinds: [K, P, sets, m]; o [sets, oracles, m]; x [sets, K, m].
    """
    found = []
    for number in range(len(o)):
        best = 1.0
        for at, point in enumerate(points):
            cross, unlearned, energy = terms(rewinds[:, at, number], o[number], x[number]) / o.shape[2]
            if energy < MEASURABLE_ENERGY:
                best = 0.0
                break
            if max(cross, unlearned) / energy > TARGET:
                break
            best = 1 - point / total
        found.append(best)
    return np.array(found)


def summary(
    total: int,
    base: dict[str, Any],
    runs: dict[str, Any],
    rates: dict[str, float],
    fit: Sequence[int],
    test: Sequence[int],
) -> dict[str, Any]:
    """Everything for the tables, on the measured sets. `runs`: each original's part by method (``pareto_runs``)."""
    numbers = list(test)
    judges, before = base["oracles"][numbers], base["originals"][numbers]
    o, x, accuracy = judges[..., :-1], before[..., :-1], float(judges[..., -1].mean())

    def row(method: str, cost: float, models: Array) -> dict[str, Any]:
        """models: [sets, K, m + 1]."""
        lost = accuracy - float(models[..., -1].mean())
        return {"method": method, "cost": cost, **pooled(models[..., :-1], o, x), "accuracy_lost": lost}

    rows = [row("original", 0.0, before)]
    for name, parts in runs.items():
        models = np.stack([part["models"] for part in parts])  # [K, P, sets, m + 1]
        measured = models if models.shape[2] == len(numbers) else models[:, :, numbers]
        cost = parts[0]["cost"]
        rows += [row(name, float(cost[at]), measured[:, at].swapaxes(0, 1)) for at in np.argsort(cost)]
    points = runs["rewind"][0]["points"].tolist()
    rewinds = np.stack([part["models"] for part in runs["rewind"]])
    chosen = chosen_points(total, base, points, rewinds, fit)[:, numbers]
    costs = np.where(chosen < 0, 1.0, 1 - np.array(points)[chosen] / total)
    planned = np.stack(
        [
            [rewinds[k, at, n] if (at := chosen[k, j]) >= 0 else base["retrained"][n, k] for k in range(len(rewinds))]
            for j, n in enumerate(numbers)
        ]
    )
    rows.append(row("planner", float(costs.mean()), planned))
    best = best_costs(total, points, rewinds[:, :, numbers, :-1], o, x)
    left = [terms(u, a, b) / o.shape[2] for u, a, b in zip(planned[..., :-1], o, x, strict=True)]
    missed = [bool(max(c, u) / e > TARGET) for c, u, e in left if e >= MEASURABLE_ENERGY]
    scores = {key.removeprefix(DIFFICULTY): own[numbers] for key, own in base.items() if key.startswith(DIFFICULTY)}
    return {
        "sets": len(numbers), "pilots": len(fit), "originals": len(rewinds), "oracles": judges.shape[1],
        "rows": rows, "rates": rates,
        "planner": {
            "mean_cost": float(costs.mean()),
            "mean_best": float(best.mean()),
            "nothing_to_forget": int((best == 0).sum()),
            "spearman": _spearman(costs.mean(axis=0), best),
            "missed": sum(missed), "of": len(numbers),
            "spearman_by_score": {name: _spearman(values, best) for name, values in scores.items()},
        },
        "cost_by_set": {"planned": costs.mean(axis=0).tolist(), "best": best.tolist()},
    }  # fmt: skip


def _spearman(a: Array, b: Array) -> float | None:
    return None if np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a, b).statistic)


def as_markdown(results: dict[str, Any]) -> str:
    lines: list[str] = []
    for name, found in results.items():
        plan = found["planner"]
        lines += [
            f"### {name}", "",
            f"{found['sets']} forget sets measured, {found['pilots']} for the planner's calibration; "
            f"{found['originals']} originals, {found['oracles']} oracles a set.", "",
            "Learning rates, as a share of the training's last: "
            + ", ".join(f"{key} {rate:g}" for key, rate in found["rates"].items())
            + ", chosen for each on four of the planner's sets.", "",
            "| method | cost | influence | excess | held-out accuracy lost, points |", "|---|---|---|---|---|",
        ]  # fmt: skip
        for row in found["rows"]:
            i, e = row["influence"], row["excess"]
            lines.append(
                f"| {row['method'].replace('_', ' ')} | {row['cost']:.2f} | {i[0]:.2f} [{i[1]:.2f}, {i[2]:.2f}] | "
                f"{e[0]:.2f} [{e[1]:.2f}, {e[2]:.2f}] | {100 * row['accuracy_lost']:+.1f} |"
            )
        orders = ", ".join(
            f"{key} {'undefined' if value is None else f'{value:.2f}'}"
            for key, value in plan["spearman_by_score"].items()
        )
        own = "undefined" if plan["spearman"] is None else f"{plan['spearman']:.2f}"
        lines += [
            "",
            f"Planner: mean cost {plan['mean_cost']:.2f}, the best possible (cost*) {plan['mean_best']:.2f}, "
            f"{plan['nothing_to_forget']} of {plan['of']} sets had nothing measurable to forget; target missed in "
            f"{plan['missed']} of {plan['of']}. Spearman of planned cost with cost*: {own}; of single scores: "
            f"{orders}.",
            "",
        ]
    return "\n".join(lines)
