"""Which way of forgetting leaves least for its cost, and does the planner choose well? METHOD claim.

    python benchmarks/pareto.py digits --json docs/adaptive.json      resumable
    python benchmarks/pareto.py --report docs/adaptive.json           the tables of docs/adaptive.md, and its plots

On the same forget sets for all methods: five originals, ten oracles a set. Sixty other sets calibrate the planner, on
two of the originals. Whether the planner beats fixed budgets of its own cost is `expunge reproduce adaptive`, with
oracles of every original's own: here are all published methods, cost* and other scores. Finished parts lie in --cache
under a hash of what they depend on.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from cached_parts import CachedParts
from evidence_worlds import World
from pareto_quality import TARGETS
from pareto_report import as_markdown, write_plots
from pareto_runs import (
    CALIBRATED,
    CALIBRATION_SETS,
    COSTS,
    DEAREST_UNROLLED,
    EVERY_PUBLISHED_COST,
    HARDEST_SETS,
    MEASURED_SETS,
    ORACLES,
    ORIGINALS,
    PUBLISHED,
    PUBLISHED_COSTS,
    RANDOM_SETS,
    SIZES,
    STRENGTHS,
    TRAINED,
    MethodRuns,
    Part,
    forget_sets,
    setting,
    workspace,
)
from pareto_runs import originals as train_originals
from pareto_summary import DIFFICULTY, Measured, summary
from world_options import work_through, world_parser

from expunge.evaluation.influence import model_influence
from expunge.privacy.difficulty import (
    average_gradient_norm,
    c_proxy,
    el2n,
    final_gradient_norm,
    random_difficulty,
)
from expunge.privacy.scores import PrivacyLosses
from expunge.privacy.trajectory_scores import score_trajectory
from expunge.reproduction.adaptive.planner import Ways
from expunge.training import predict
from expunge.unlearning.methods import METHODS, Method

RATES, TUNING_COST = (0.03, 0.1, 0.3, 1.0), 0.3
TUNED = ("fine_tune", "noisy_fine_tune")


def cached_parts(folder: Path, world: World, seed: int) -> CachedParts:
    sizes = [
        SIZES[world.name],
        ORIGINALS,
        CALIBRATED,
        ORACLES,
        COSTS,
        STRENGTHS,
        DEAREST_UNROLLED,
        EVERY_PUBLISHED_COST,
    ]
    sets = [CALIBRATION_SETS, MEASURED_SETS, RANDOM_SETS, HARDEST_SETS]
    return CachedParts(folder, "pareto", world, {"seed": seed, "sizes": sizes, "sets": sets, "trained": TRAINED})


def run(world: World, cache: Path, seed: int) -> dict[str, Any]:
    parts = cached_parts(cache, world, seed)
    few = world.name == "fashion-cnn"
    with workspace() as folder:
        given = setting(world, cache, seed)
        made = list(train_originals(given, Path(folder)))
        trajectories, losses = [t for t, _ in made], [own for _, own in made]
        sets = forget_sets(losses, given.world.forget, seed, few)
        runs, judged = MethodRuns(given, trajectories, sets), sets.judged

        def each(name: str, make: Callable[[int], Part], originals: int = ORIGINALS) -> list[Part]:
            return [parts.get(f"{name}-{k}", lambda k=k: make(k)) for k in range(originals)]

        base = parts.get("oracles", runs.oracles) | parts.get("originals", lambda: {"originals": runs.originals()})
        base |= parts.get("trained", lambda: {"trained": runs.also_trained("also trained", TRAINED)})
        base |= parts.get("scores", lambda: _scores(runs, losses))
        base["retrained"] = parts.get("retrained", lambda: {"models": runs.retrained("retrained", judged, ORIGINALS)})[
            "models"
        ]
        pilots = each("pilots", lambda k: runs.rewinds(k, sets.calibration), 0 if few else CALIBRATED)
        measured = each("rewinds", lambda k: runs.rewinds(k, judged))
        arms = {name: each(name, lambda k, name=name: runs.tuned(name, k, judged)) for name in TUNED}
        rates, costs = {}, PUBLISHED_COSTS.get(world.name, EVERY_PUBLISHED_COST)
        for name in () if few else PUBLISHED:
            rate = float(
                parts.get(f"{name}-rate", lambda name=name: best_rate(runs, sets.calibration, base, name))["rate"]
            )
            rates[name], method = rate, at_rate(name, rate)
            arms[name] = each(
                f"{name}-{rate:g}",
                lambda k, method=method: runs.published(method, k, judged, costs),
            )
        found = Measured(
            Ways(runs.procedure, runs.ways(), given.world.forget), sets, base, pilots, measured, arms, rates
        )
        if not few:
            for target in TARGETS:
                plans = found.plans(target)
                key = hashlib.sha256(repr(plans).encode()).hexdigest()[:8]
                name = f"planned-{target:g}-{key}"
                found.planned[target] = each(name, lambda k, plans=plans: runs.carried_out(k, plans[k]))
    return _rounded(summary(found))


def _rounded(value: Any) -> Any:
    """Five significant digits: the file is read by people too."""
    if isinstance(value, dict):
        return {str(key): _rounded(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(own) for own in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _scores(runs: MethodRuns, losses: list[PrivacyLosses]) -> Part:
    """Mean privacy loss of every set by original, and each difficulty score's mean over originals and records."""
    train, trajectories = runs.given.train, runs.trajectories
    norms = [score_trajectory(t, train) for t in trajectories]
    logits = [
        np.stack([predict(t.model_spec, t.state(c).model_state(), train) for c in t.checkpoints]) for t in trajectories
    ]
    scores = {
        "privacy loss": [own.select(train.record_ids).total for own in losses],
        "average gradient norm": [average_gradient_norm(own.select(train.record_ids).norms) for own in norms],
        "final gradient norm": [final_gradient_norm(own.select(train.record_ids).norms) for own in norms],
        "C-Proxy": [c_proxy(own, train.targets) for own in logits],
        # A tenth of the way: Paul et al. (2021) stop at 10 to 20 of 200 epochs.
        "EL2N": [el2n(own[len(own) // 10][None], train.targets) for own in logits],
        "random": [random_difficulty(len(train), runs.given.seed + k) for k in range(len(losses))],
    }
    rows = [train.rows(ids) for ids in runs.ids]
    means = {DIFFICULTY + n: np.array([np.mean([own[r].mean() for own in v]) for r in rows]) for n, v in scores.items()}
    return means | {"losses": np.array([[own.select(ids).total.mean() for ids in runs.ids] for own in losses])}


def at_rate(name: str, rate: float) -> Method:
    """A published method at a share of the training's last learning rate."""
    kind = type(METHODS[name])
    method: Method = type(kind.__name__, (kind,), {"rate_share": rate})()
    return method


def best_rate(runs: MethodRuns, fit: range, base: Part, name: str) -> Part:
    """The rate that leaves the smallest excess on four of the calibration sets, original 0, at a third of the cost."""
    numbers = fit[len(fit) // 4 - 1 :: max(1, len(fit) // 4)][:4]
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
    if options.report:
        write_plots(json.loads(options.report.read_text()), options.report.parent)


if __name__ == "__main__":
    main()
