"""The tables of docs/certified.md, from the results of benchmarks/certified.py."""

from __future__ import annotations

from typing import Any

import numpy as np

GOAL = 3.0


def as_markdown(results: dict[str, Any]) -> str:
    """One section a data set: what was chosen, k at every target, and the same k against what others ask."""
    return "\n\n".join(_world(name, world) for name, world in results.items()) + "\n\n" + _goal(results)


def _world(name: str, world: dict[str, Any]) -> str:
    lines = [f"### {name}", "", f"{world['records']} training records, {world['classes']} classes."]
    for found in world["settings"]:
        chosen, seeds = found["chosen"], found["seeds"]
        steps = _mean(seed["steps"] for seed in seeds)
        accuracy, forgot, again = (
            _mean(seed[key] for seed in seeds) for key in ("accuracy", "accuracy_unlearned", "accuracy_retrained")
        )
        lines += [
            "",
            f"**l2 {found['l2']:g}, sigma {found['sigma']:g}.** Training takes T = {steps:.0f} steps; held-out accuracy"
            f" {accuracy:.3f} (without noise {chosen['noiseless_accuracy']:.3f} on the split of seed 0, within a point"
            f" of that after {chosen['steps_to_accuracy']} steps); with the random 1 % unlearned {forgot:.3f},"
            f" retrained {again:.3f}.",
            "",
            "| target | k, deterministic | k, simulated | k/T | worst case, same proof | Langevin worst case |"
            " trajectory bound |",
            "|---|---|---|---|---|---|---|",
            *(_row(epsilon, seeds, steps) for epsilon in seeds[0]["targets"]),
        ]
    return "\n".join(lines)


def _row(epsilon: str, seeds: list[dict[str, Any]], steps: float) -> str:
    """Median, 90 % and hardest record, and the random 1 % together."""

    def values(bound: str, records: str = "records", together: str = "set") -> np.ndarray:
        chosen = [seed["targets"][epsilon] for seed in seeds]
        return np.mean([[*entry[records][bound], entry[together][bound][0]] for entry in chosen], axis=0)

    plain, simulated = values("certified"), values("certified", "records_simulated", "set_simulated")
    share = np.minimum(plain, simulated) / steps
    # all records have one worst case: the first value and the set's
    worst = [values(bound)[[0, 3]] for bound in ("worst_coupling", "worst_langevin")]
    cells = [_list(plain), _list(simulated), _list(share, 2), *map(_list, worst), _list(values("trajectory"))]
    return f"| ({epsilon}, 1e-5) | " + " | ".join(cells) + " |"


def _list(values: np.ndarray, digits: int = 0) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in values)


def _goal(results: dict[str, Any]) -> str:
    """Ratios for the median record at (1, 1e-5): against the published worst case, and one of the same proof."""
    lines = [
        f"### Goal: {GOAL:g} times fewer steps than the worst case, median record, (1, 1e-5)",
        "",
        "| data | l2 | sigma | k, each seed | steps to accuracy | Langevin worst case / k | simulated |"
        " worst case of the same proof / its k | simulated | Langevin worst case / k of the trajectory bound |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, world in results.items():
        for found in world["settings"]:
            seeds = [seed["targets"]["1"] for seed in found["seeds"]]

            def median(key: str, bound: str, seeds: list[dict[str, Any]] = seeds) -> np.ndarray:
                return np.array([seed[key][bound][0] for seed in seeds])

            langevin, coupling = median("records", "worst_langevin"), median("records", "worst_coupling")
            plain, simulated = median("records", "certified"), median("records_simulated", "certified")
            fewer = _ratio(langevin, plain)
            lines.append(
                f"| {name} | {found['l2']:g} | {found['sigma']:g} | {_list(plain)} |"
                f" {found['chosen']['steps_to_accuracy']} | {_said(fewer)} |"
                f" {_said(_ratio(langevin, simulated))} | {_said(_ratio(coupling, median('records', 'coupling')))} |"
                f" {_said(_ratio(coupling, median('records_simulated', 'coupling')))} |"
                f" {_said(_ratio(langevin, median('records', 'trajectory')))} |"
            )
    return "\n".join(lines)


def _ratio(worst: np.ndarray, own: np.ndarray) -> np.ndarray:
    """How many times fewer; nothing to compare (NaN) where the worst case asks for no step either."""
    return np.where(worst > 0, worst / np.maximum(own, 1), np.nan)


def _said(ratios: np.ndarray) -> str:
    """Mean and range over seeds."""
    if np.isnan(ratios).any():
        return "none needed"
    return f"{ratios.mean():.1f} ({ratios.min():.1f} to {ratios.max():.1f})"


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))
