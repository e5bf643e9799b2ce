"""The tables of docs/certified.md, from the results of benchmarks/certified.py."""

from __future__ import annotations

from typing import Any

import numpy as np

GOAL = 3.0
UNITS = ("median record", "90 % record", "hardest record")


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
            "| target | forgotten | k, deterministic | k, simulated | k/T | worst case, same proof |"
            " Langevin worst case | Langevin / k | trajectory bound |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for epsilon in seeds[0]["targets"]:
            for place, unit in enumerate((*UNITS, "random 1 %")):
                lines.append(_row(epsilon, unit, place, seeds, steps))
    return "\n".join(lines)


def _row(epsilon: str, unit: str, place: int, seeds: list[dict[str, Any]], steps: float) -> str:
    own, at = ("set", 0) if place == len(UNITS) else ("records", place)

    def value(key: str, bound: str) -> float:
        return _mean(seed["targets"][epsilon][key][bound][at] for seed in seeds)

    plain, simulated = value(own, "certified"), value(f"{own}_simulated", "certified")
    best = min(plain, simulated)
    langevin = value(own, "worst_langevin")
    return (
        f"| ({epsilon}, 1e-5) | {unit} | {plain:.0f} | {simulated:.0f} | {best / steps:.2f} |"
        f" {value(own, 'worst_coupling'):.0f} | {langevin:.0f} | {langevin / max(best, 1):.1f} |"
        f" {value(own, 'trajectory'):.0f} |"
    )


def _goal(results: dict[str, Any]) -> str:
    """Ratios for the median record at (1, 1e-5): against the published worst case, and one of the same proof."""
    lines = [
        f"### Goal: {GOAL:g} times fewer steps than the worst case, median record, (1, 1e-5)",
        "",
        "| data | l2 | sigma | Langevin worst case / k | range over seeds | simulated |"
        " worst case of the same proof / k | simulated | Langevin worst case / k of the trajectory bound |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, world in results.items():
        for found in world["settings"]:
            seeds = [seed["targets"]["1"] for seed in found["seeds"]]

            def ratios(key: str, worst: str, bound: str, seeds: list[dict[str, Any]] = seeds) -> np.ndarray:
                return np.array([seed[key][worst][0] / max(seed[key][bound][0], 1) for seed in seeds])

            langevin = ratios("records", "worst_langevin", "certified")
            lines.append(
                f"| {name} | {found['l2']:g} | {found['sigma']:g} | {langevin.mean():.1f} | {langevin.min():.1f} to"
                f" {langevin.max():.1f} | {ratios('records_simulated', 'worst_langevin', 'certified').mean():.1f} |"
                f" {ratios('records', 'worst_coupling', 'coupling').mean():.2f} |"
                f" {ratios('records_simulated', 'worst_coupling', 'coupling').mean():.2f} |"
                f" {ratios('records', 'worst_langevin', 'trajectory').mean():.2f} |"
            )
    return "\n".join(lines)


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))
