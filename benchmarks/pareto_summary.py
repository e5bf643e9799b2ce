"""Influence, excess and utility by method and cost, pooled over forget sets; the planner's choices against the best."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr, t

from expunge.evaluation.influence import model_influence, residual_influence
from expunge.unlearning.predictor import MEASURABLE_ENERGY, PilotCandidate, PilotSet, fit_predictor

Array = NDArray[np.float64]
TARGET, CAUTION = 0.10, 0.25


def terms(u: Array, o: Array, x: Array) -> Array:
    """C, S_u and S_o of one set, summed over records: phi [runs, m] of unlearned, oracles, originals."""
    found = residual_influence(u, o, x)
    return found.records * np.array([found.cross, found.energy_unlearned, found.energy])


def pooled(u: list[Array], o: list[Array], x: list[Array]) -> dict[str, list[float]]:
    """Influence and excess over sets as ratios of sums, with 95 % intervals by the jackknife over originals."""
    runs = len(x[0])
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


def chosen_points(base: dict[str, Any], rewinds: list[dict[int, list[Array]]], fit: list[int]) -> NDArray[np.int64]:
    """Checkpoint that the shipped predictor chooses, by original and set [K, sets]; 0 is retraining.

    Calibrated for each original on the sets of `fit`, one run each, as `expunge calibrate` does.
    """
    total, points = base["total"], sorted(rewinds[0])
    chosen = np.zeros((len(rewinds), len(base["oracles"])), dtype=np.int64)
    for k, runs in enumerate(rewinds):
        pilots = []
        for number in fit:
            o, x = base["oracles"][number][:, :-1], base["originals"][number][k, :-1]
            left = {point: model_influence(runs[point][number][:-1], o, x) for point in points}
            spread = o.var(axis=0, ddof=1)
            energy = float(
                (((x - o.mean(0)) ** 2) / np.maximum(spread, 0.5 * np.median(spread))).mean() - 1 - 1 / len(o)
            )
            candidates = tuple(
                PilotCandidate(
                    method="rewind", amount=point, steps=total - point,
                    share_spent=float(base["shares"][k, number, at]),
                    excess=found.excess or 0.0, influence=found.influence or 0.0,
                )
                for at, (point, found) in enumerate(left.items())
            )  # fmt: skip
            pilots.append(
                PilotSet(
                    name=str(number), size=o.shape[1], mean_loss=float(base["losses"][k, number]), energy=energy,
                    candidates=candidates,
                )
            )  # fmt: skip
        safe = fit_predictor(pilots, TARGET, total).safe_share(CAUTION)
        for number in range(chosen.shape[1]):
            allowed = [p for at, p in enumerate(points) if safe is None or base["shares"][k, number, at] <= safe]
            chosen[k, number] = max(allowed, default=0)
    return chosen


def best_costs(base: dict[str, Any], rewinds: list[dict[int, list[Array]]], numbers: list[int]) -> Array:
    """cost* of each set: the cheapest rewind within the target, as are all dearer ones; 0: nothing to forget."""
    found = []
    for number in numbers:
        o, x = base["oracles"][number][:, :-1], base["originals"][number][:, :-1]
        best = 1.0
        for point in sorted(rewinds[0]):
            u = np.stack([runs[point][number][:-1] for runs in rewinds])
            cross, unlearned, energy = terms(u, o, x) / o.shape[1]
            if energy < MEASURABLE_ENERGY:
                best = 0.0
                break
            if max(cross, unlearned) / energy > TARGET:
                break
            best = 1 - point / base["total"]
        found.append(best)
    return np.array(found)


def summary(base: dict[str, Any], runs: dict[str, Any]) -> dict[str, Any]:
    """Everything for the tables, on the measured sets."""
    fit, test = base["fit"], base["test"]
    rewinds = runs["rewind"]
    total, numbers = base["total"], test
    o = [base["oracles"][n][:, :-1] for n in numbers]
    x = [base["originals"][n][:, :-1] for n in numbers]
    accuracy = float(np.mean([base["oracles"][n][:, -1].mean() for n in numbers]))

    def row(method: str, cost: float, models: list[Array]) -> dict[str, Any]:
        """models: [K, m + 1] by set."""
        made = pooled([m[:, :-1] for m in models], o, x)
        loss = accuracy - float(np.mean([m[:, -1].mean() for m in models]))
        return {"method": method, "cost": cost, **made, "accuracy_lost": loss}

    rows = [row("original", 0.0, [base["originals"][n] for n in numbers])]
    for point in sorted(rewinds[0], reverse=True):
        rows.append(row("rewind", 1 - point / total, [np.stack([r[point][n] for r in rewinds]) for n in numbers]))
    for name in ("fine_tune", "noisy_fine_tune"):
        for steps in sorted(runs[name][0]):
            models = [np.stack([r[steps][n] for r in runs[name]]) for n in numbers]
            rows.append(row(name, steps / total, models))
    for name, by_original in runs["published"].items():
        for cost in sorted(by_original[0]):
            models = [np.stack([r[cost][at] for r in by_original]) for at in range(len(numbers))]
            rows.append(row(name, cost, models))
    points = chosen_points(base, rewinds, fit)
    costs = 1 - points[:, numbers] / total
    models = [
        np.stack([rewinds[k][p][n] if (p := points[k, n]) else base["retrained"][n][k] for k in range(len(rewinds))])
        for n in numbers
    ]
    rows.append(row("planner", float(costs.mean()), models))
    best = best_costs(base, rewinds, numbers)
    spent = best > 0
    scores = {name: values[numbers] for name, values in base["difficulty"].items()}
    left = [terms(m[:, :-1], b, c) / b.shape[1] for m, b, c in zip(models, o, x, strict=True)]
    missed = [bool(max(c, u) / e > TARGET) if e >= MEASURABLE_ENERGY else False for c, u, e in left]
    return {
        "sets": len(numbers), "pilots": len(fit), "originals": len(rewinds), "oracles": len(base["oracles"][0]),
        "rows": rows, "rates": runs["rates"],
        "planner": {
            "mean_cost": float(costs.mean()),
            "mean_best": float(best.mean()),
            "nothing_to_forget": int((~spent).sum()),
            "spearman": _spearman(costs.mean(axis=0), best),
            "missed": sum(missed), "of": len(missed),
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
