"""Which way of forgetting leaves least for its cost, and does the planner choose well? METHOD claim.

    python benchmarks/pareto.py digits --json docs/adaptive.json      resumable
    python benchmarks/pareto.py --report docs/adaptive.json           the tables of docs/adaptive.md

On disjoint forget sets of every difficulty, the same for all methods: five originals, ten oracles a set. Every second
set calibrates the planner, the others are measured. Finished parts lie in --cache under a hash of what they depend on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
from evidence_worlds import WORLDS, World
from pareto_runs import (
    COSTS,
    ORACLES,
    ORIGINALS,
    PUBLISHED,
    PUBLISHED_COSTS,
    SET_SIZE,
    Runs,
    forget_sets,
    setting,
    workspace,
)
from pareto_runs import originals as train_originals
from pareto_summary import as_markdown, summary

from expunge.evaluation.influence import model_influence
from expunge.privacy.difficulty import average_gradient_norm, final_gradient_norm, random_difficulty
from expunge.privacy.trajectory_scores import score_trajectory
from expunge.unlearning.methods import METHODS, Method
from expunge.unlearning.share_curve import shares_before

RATES, TUNING_COST = (0.03, 0.1, 0.3, 1.0), 0.3


class Cache:
    """Parts by name, each whole or absent."""

    def __init__(self, folder: Path, world: World, seed: int) -> None:
        own = {field.name: getattr(world, field.name) for field in fields(world) if field.name != "load"}
        depends = {"world": own, "seed": seed, "sizes": [ORIGINALS, ORACLES, SET_SIZE, COSTS, PUBLISHED_COSTS]}
        digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:12]
        self.folder = folder / world.name / f"pareto-{digest}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        file = self.folder / f"{name}.pickle"
        if not file.is_file():
            started = time.perf_counter()
            partial = file.with_suffix(".partial")
            partial.write_bytes(pickle.dumps(make()))
            partial.rename(file)
            print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
        return pickle.loads(file.read_bytes())  # noqa: S301  our own files


def run(world: World, cache: Path, seed: int) -> dict[str, Any]:
    parts = Cache(cache, world, seed)
    with workspace() as folder:
        given = setting(world, cache, seed)
        made = list(train_originals(given, Path(folder)))
        trajectories, losses = [t for t, _ in made], [own for _, own in made]
        sets = forget_sets(losses, seed)
        runs = Runs(given, trajectories, sets)
        rewinds = [parts.get(f"rewind-{k}", lambda k=k: runs.rewinds(k)) for k in range(ORIGINALS)]
        points = sorted(rewinds[0])

        def base() -> dict[str, Any]:
            retrained = runs.retrained()
            norms = [score_trajectory(t, given.train) for t in trajectories]
            scores = {
                "privacy loss": [own.total for own in losses],
                "average gradient norm": [average_gradient_norm(own.norms) for own in norms],
                "final gradient norm": [final_gradient_norm(own.norms) for own in norms],
                "random": [random_difficulty(len(given.train), seed + k) for k in range(ORIGINALS)],
            }
            place = {record: k for k, record in enumerate(norms[0].record_ids)}
            rows = [[place[record] for record in ids] for ids in sets]
            return {
                "total": world.steps, "fit": list(range(0, len(sets), 2)), "test": list(range(1, len(sets), 2)),
                "oracles": [own[:ORACLES] for own in retrained],
                "retrained": [own[ORACLES:] for own in retrained],
                "originals": [runs.of_originals(n) for n in range(len(sets))],
                "shares": np.array([[shares_before(own, ids, points) for ids in sets] for own in losses]),
                "losses": np.array([[own.select(ids).total.mean() for ids in sets] for own in losses]),
                "difficulty": {
                    name: np.array([np.mean([own[row].mean() for own in values]) for row in rows])
                    for name, values in scores.items()
                },
            }  # fmt: skip

        known = parts.get("base", base)
        found: dict[str, Any] = {"rewind": rewinds, "published": {}}
        for name in ("fine_tune", "noisy_fine_tune"):
            found[name] = [
                parts.get(f"{name}-{k}", lambda k=k, name=name: runs.tuned(name, k)) for k in range(ORIGINALS)
            ]
        tuned = {name: parts.get(f"{name}-rate", lambda name=name: best_rate(runs, known, name)) for name in PUBLISHED}
        found["rates"] = tuned
        for name in PUBLISHED:
            method = at_rate(name, tuned[name])
            found["published"][name] = [
                parts.get(
                    f"{name}-{tuned[name]:g}-{k}",
                    lambda k=k, method=method: runs.published(method, k, known["test"], PUBLISHED_COSTS),
                )
                for k in range(ORIGINALS)
            ]
    return summary(known, found)


def at_rate(name: str, rate: float) -> Method:
    """A published method at a share of the training's last learning rate."""
    kind = type(METHODS[name])
    method: Method = type(kind.__name__, (kind,), {"rate_share": rate})()
    return method


def best_rate(runs: Runs, known: dict[str, Any], name: str) -> float:
    """The rate that leaves the smallest excess on four of the planner's sets, original 0, at a third of the cost."""
    numbers = known["fit"][:: max(1, len(known["fit"]) // 4)][:4]
    excess = {}
    for rate in RATES:
        made = runs.published(at_rate(name, rate), 0, numbers, (TUNING_COST,))[TUNING_COST]
        left = [
            model_influence(u[:-1], known["oracles"][n][:, :-1], known["originals"][n][0, :-1])
            for n, u in zip(numbers, made, strict=True)
        ]
        excess[rate] = sum(one.energy_unlearned for one in left) / sum(one.energy for one in left)
    return min(excess, key=excess.__getitem__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", choices=[*WORLDS, []], default=[])
    parser.add_argument("--cache", type=Path, default=Path(".expunge/pareto"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=8000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", type=Path, help="print the tables of such a file as Markdown")
    options = parser.parse_args()
    if options.report:
        print(as_markdown(json.loads(options.report.read_text())))
        return
    torch.set_num_threads(options.threads)
    results = json.loads(options.json.read_text()) if options.json and options.json.is_file() else {}
    for name in options.worlds:
        results[name] = run(WORLDS[name], options.cache, options.seed)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
        print(as_markdown({name: results[name]}))


if __name__ == "__main__":
    main()
