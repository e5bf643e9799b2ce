"""Which way of forgetting leaves least for its cost, and does the planner choose well? METHOD claim.

    python benchmarks/pareto.py digits --json docs/adaptive.json      resumable
    python benchmarks/pareto.py --report docs/adaptive.json           the tables of docs/adaptive.md

On disjoint forget sets of every difficulty, the same for all methods: five originals, ten oracles a set. Every second
set calibrates the planner, the others are measured. Finished parts lie in --cache under a hash of what they depend on.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from evidence_worlds import World
from pareto_runs import (
    COSTS,
    ORACLES,
    ORIGINALS,
    PUBLISHED,
    PUBLISHED_COSTS,
    SET_SIZE,
    Part,
    Runs,
    forget_sets,
    setting,
    workspace,
)
from pareto_runs import originals as train_originals
from pareto_summary import DIFFICULTY, as_markdown, summary
from world_options import work_through, world_parser

from expunge.evaluation.influence import model_influence
from expunge.privacy.difficulty import average_gradient_norm, final_gradient_norm, random_difficulty
from expunge.privacy.scores import PrivacyLosses
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

    def get(self, name: str, make: Callable[[], Part]) -> Part:
        file = self.folder / f"{name}.npz"
        if not file.is_file():
            started = time.perf_counter()
            partial = self.folder / f"{name}.partial.npz"
            np.savez(partial, **make())
            partial.rename(file)
            print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
        with np.load(file, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}


def run(world: World, cache: Path, seed: int) -> dict[str, Any]:
    parts = Cache(cache, world, seed)
    with workspace() as folder:
        given = setting(world, cache, seed)
        made = list(train_originals(given, Path(folder)))
        trajectories, losses = [t for t, _ in made], [own for _, own in made]
        sets = forget_sets(losses, seed)
        runs, fit, test = Runs(given, trajectories, sets), range(0, len(sets), 2), range(1, len(sets), 2)
        found = {"rewind": [parts.get(f"rewind-{k}", lambda k=k: runs.rewinds(k)) for k in range(ORIGINALS)]}
        points = found["rewind"][0]["points"].tolist()
        base = parts.get("base", lambda: runs.retrained() | runs.of_originals() | _scores(runs, losses, points))
        for name in ("fine_tune", "noisy_fine_tune"):
            found[name] = [
                parts.get(f"{name}-{k}", lambda k=k, name=name: runs.tuned(name, k)) for k in range(ORIGINALS)
            ]
        rates = {}
        for name in PUBLISHED:
            rate = float(parts.get(f"{name}-rate", lambda name=name: best_rate(runs, base, fit, name))["rate"])
            rates[name], method = rate, at_rate(name, rate)
            found[name] = [
                parts.get(
                    f"{name}-{rate:g}-{k}", lambda k=k, method=method: runs.published(method, k, test, PUBLISHED_COSTS)
                )
                for k in range(ORIGINALS)
            ]
    return summary(world.steps, base, found, rates, fit, test)


def _scores(runs: Runs, losses: list[PrivacyLosses], points: list[int]) -> Part:
    """Privacy losses of the sets: shares spent before each point, means; and each difficulty score's mean by set."""
    train = runs.given.train
    norms = [score_trajectory(t, train) for t in runs.trajectories]
    scores = {
        "privacy loss": [own.total for own in losses],
        "average gradient norm": [average_gradient_norm(own.norms) for own in norms],
        "final gradient norm": [final_gradient_norm(own.norms) for own in norms],
        "random": [random_difficulty(len(train), runs.given.seed + k) for k in range(len(losses))],
    }
    place = {record: k for k, record in enumerate(norms[0].record_ids)}
    rows = [[place[record] for record in ids] for ids in runs.sets]
    means = {DIFFICULTY + n: np.array([np.mean([own[r].mean() for own in v]) for r in rows]) for n, v in scores.items()}
    return means | {
        "shares": np.array([[shares_before(own, ids, points) for ids in runs.sets] for own in losses]),
        "losses": np.array([[own.select(ids).total.mean() for ids in runs.sets] for own in losses]),
    }


def at_rate(name: str, rate: float) -> Method:
    """A published method at a share of the training's last learning rate."""
    kind = type(METHODS[name])
    method: Method = type(kind.__name__, (kind,), {"rate_share": rate})()
    return method


def best_rate(runs: Runs, base: Part, fit: Sequence[int], name: str) -> Part:
    """The rate that leaves the smallest excess on four of the planner's sets, original 0, at a third of the cost."""
    numbers = fit[:: max(1, len(fit) // 4)][:4]
    excess = {}
    for rate in RATES:
        models = runs.published(at_rate(name, rate), 0, numbers, (TUNING_COST,))["models"][0]
        left = [
            model_influence(u[:-1], base["oracles"][n][:, :-1], base["originals"][n][0, :-1])
            for n, u in zip(numbers, models, strict=True)
        ]
        excess[rate] = sum(one.energy_unlearned for one in left) / sum(one.energy for one in left)
    return {"rate": np.array(min(excess, key=excess.__getitem__))}


def main() -> None:
    options = world_parser(__doc__, ".expunge/pareto", 8000).parse_args()
    work_through(options, lambda world: run(world, options.cache, options.seed), as_markdown)


if __name__ == "__main__":
    main()
