"""Twenty deletion requests, one after another, on one model: what do they cost in all, and what is left of them?

    python benchmarks/sequence.py digits --json docs/sequence.json      resumable
    python benchmarks/sequence.py --report docs/sequence.json           the tables of docs/sequence.md

Arms: a retraining for every request; one for every five; the planner for every request or every five, with the
checkpoints that a rewind leaves behind destroyed or kept until due. Each original is calibrated once and its predictor
used for all later versions. Finished parts lie in --cache under a hash of what they depend on. METHOD claim.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from cached_parts import CachedParts
from evidence_worlds import World
from pareto_runs import SIZES, Part, Setting, setting, workspace
from pareto_runs import originals as train_originals
from sequence_arms import Answer, Destroying, Keeping, Standing
from sequence_summary import as_markdown, summary
from world_options import work_through, world_parser

from expunge.evaluation.confidence import phi
from expunge.privacy.scores import PrivacyLosses
from expunge.training import StackedJob, Trajectory, predict, train_stacked
from expunge.training.randomness import derived_seed
from expunge.unlearning.calibration import CalibrationSettings, calibrate
from expunge.unlearning.methods import Procedure
from expunge.unlearning.predictor import BudgetPredictor

# One original is calibrated; the predictor is then asked about the others too: the same training, other seeds.
ORIGINALS, CALIBRATED, ORACLES = 5, 1, 20
REQUESTS, BATCH, SMALLEST, LARGEST = 20, 5, 8, 20
HARD, HARD_SHARE = 2, 0.1
TARGET = 0.10
# The first so many requests forgotten at once by the untouched originals: does a larger set take the same treatment?
TOGETHER, TOGETHER_ORACLES = (1, 5, 10, 20), 10
CALIBRATION = CalibrationSettings(
    bins=(0, 2, 5, 10, 15, 25, 40, 60, 100), set_size=16, oracles=10, runs=2,
    rewind_shares=(0.2, 0.35, 0.5, 0.6, 0.7, 0.8), strengths=(0.3, 0.6, 0.9), fine_tune_shares=(),
)  # fmt: skip
# Enough of them for a rank test at 5 %: without it the planner retrains for everything (`visible_size`).
PLANTED, PLANTED_HELD_BACK = 20, 4
ARMS = {
    "planner, destroy": (Destroying, 1),
    "planner, until due": (Keeping, 1),
    "planner weekly, destroy": (Destroying, BATCH),
    "planner weekly, until due": (Keeping, BATCH),
}


@dataclass(frozen=True)
class Requests:
    """Record ids by request, in the order of their arrival, and the places of the hard ones."""

    ids: list[tuple[str, ...]]
    hard: tuple[int, ...]

    @property
    def union(self) -> tuple[str, ...]:
        return tuple(record for own in self.ids for record in own)

    def batches(self, size: int) -> list[tuple[str, ...]]:
        return [
            tuple(r for own in self.ids[k : k + size] for r in own) for k in range(0, len(self.ids), size)
        ]  # fmt: skip


def draw_requests(losses: Sequence[PrivacyLosses], seed: int) -> Requests:
    """Disjoint requests of random sizes: HARD of them from the hardest records by mean rank, the others from all."""
    ids = losses[0].record_ids
    ranks = np.mean([np.argsort(np.argsort(own.select(ids).total)) for own in losses], axis=0)
    order = np.argsort(-ranks, kind="stable")
    rng = np.random.default_rng(derived_seed(seed, "requests"))
    sizes = rng.integers(SMALLEST, LARGEST + 1, REQUESTS)
    hard = tuple(sorted(int(k) for k in rng.choice(REQUESTS, HARD, replace=False)))
    rows: dict[int, list[int]] = {}
    free = order[: int(HARD_SHARE * len(order))]
    for group in (hard, [k for k in range(REQUESTS) if k not in hard]):
        for k in group:
            rows[k] = sorted(int(row) for row in rng.choice(free, sizes[k], replace=False))
            free = free[~np.isin(free, rows[k])]
        free = order[~np.isin(order, [row for own in rows.values() for row in own])]
    return Requests([tuple(ids[row] for row in rows[k]) for k in range(REQUESTS)], hard)


def cached_parts(folder: Path, world: World, seed: int) -> CachedParts:
    numbers = [ORIGINALS, ORACLES, REQUESTS, BATCH, SMALLEST, LARGEST, HARD, HARD_SHARE, TARGET, PLANTED]
    depends = [seed, SIZES[world.name], numbers, CALIBRATION.model_dump()]
    return CachedParts(folder, "sequence", world, depends)


def run(world: World, cache: Path, seed: int) -> dict[str, Any]:
    parts = cached_parts(cache, world, seed)
    with workspace() as folder:
        given = setting(world, cache, seed)
        made = list(islice(train_originals(given, Path(folder)), ORIGINALS))
        trajectories, losses = [t for t, _ in made], [own for _, own in made]
        requests = draw_requests(losses, seed)
        models = parts.get("models", lambda: _reference_models(given, trajectories, requests))
        calibrations = [
            parts.get(f"calibration-{k}", lambda k=k: _calibrated(given, trajectories[k], losses[k], seed + k))
            for k in range(CALIBRATED)
        ]
        told = [BudgetPredictor.model_validate_json(str(one["predictor"])) for one in calibrations]
        arms: dict[str, list[Part]] = {name: [] for name in ARMS}
        for k, trajectory in enumerate(trajectories):
            start, by = Standing.of(trajectory, given.train), k % CALIBRATED
            for name, (kind, size) in ARMS.items():
                own_seed, own_folder = derived_seed(seed, name, k), Path(folder) / f"{name}-{k}"
                arm, batches = kind(start, told[by], own_folder, own_seed), requests.batches(size)
                label = name.replace(",", "").replace(" ", "-")
                arms[name].append(
                    parts.get(
                        f"{label}-{k}-told-by-{by}",
                        lambda arm=arm, batches=batches: _answered(given, arm, batches, requests.union),
                    )
                )
        starts = [Standing.of(t, given.train) for t in trajectories]
        once = {
            count: parts.get(
                f"together-{count}", lambda count=count: _together(given, starts, told, requests, count, Path(folder))
            )
            for count in TOGETHER
        }
    sizes = [len(own) for own in requests.ids]
    return summary(sizes, requests.hard, BATCH, models, arms, told, once)


def _seen(given: Setting, logits: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """[..., m + 1]: phi on the records `ids`, then held-out accuracy, from logits [..., n, K] on `given.both`."""
    table = given.both
    rows, unseen = table.rows(ids), table.rows(given.held_out.record_ids)
    right = logits[..., unseen, :].argmax(axis=-1) == table.targets[unseen]
    return np.concatenate(
        [phi(logits[..., rows, :], table.targets[rows]), right.mean(axis=-1)[..., None]], axis=-1
    )  # fmt: skip


def _logits(given: Setting, trajectory: Trajectory) -> np.ndarray:
    return predict(trajectory.model_spec, trajectory.state(trajectory.final).model_state(), given.both)


def _reference_models(given: Setting, trajectories: Sequence[Trajectory], requests: Requests) -> Part:
    """oracles [ORACLES, m + 1], retrained [ORIGINALS, m + 1] (what retraining leaves), originals [ORIGINALS, m + 1]."""
    procedure, table = Procedure.of(trajectories[0]), given.both
    retain = np.setdiff1d(table.rows(given.train.record_ids), table.rows(requests.union))
    jobs = [StackedJob(derived_seed(given.seed, "sequence oracle", i), retain) for i in range(ORACLES + ORIGINALS)]
    logits = train_stacked(procedure.spec, table, procedure.config, jobs, procedure.sampling_rate).logits(table)
    own = [_logits(given, t) for t in trajectories]
    seen = _seen(given, logits, requests.union)
    return {"oracles": seen[:ORACLES], "retrained": seen[ORACLES:],
            "originals": _seen(given, np.stack(own), requests.union)}  # fmt: skip


def _calibrated(given: Setting, trajectory: Trajectory, losses: PrivacyLosses, seed: int) -> Part:
    """The predictor as JSON. It is asked about later versions of this model, so the records it names are struck out.

    The library refuses a calibration of other records, and every version after a deletion has other records.
    """
    predictor, _ = calibrate(
        trajectory, given.train, losses, CALIBRATION, target=TARGET, planted_oracles=PLANTED,
        planted_held_back=PLANTED_HELD_BACK, seed=seed,
    )  # fmt: skip
    return {"predictor": np.array(predictor.model_copy(update={"data_fingerprint": None}).model_dump_json())}


def _answered(given: Setting, arm: Any, batches: Sequence[Sequence[str]], union: Sequence[str]) -> Part:
    """Every batch answered in turn: arrays over batches, and the last model's phi [m + 1] on all of them."""
    for ids in batches:
        arm.ask(ids)
    answers: list[Answer] = arm.answers
    logits = _logits(given, arm.now.trajectory)
    return {
        "cost": np.array([one.cost for one in answers]), "scoring": np.array([one.scoring for one in answers]),
        "method": np.array([one.way.method for one in answers]),
        "amount": np.array([one.way.amount for one in answers]),
        "strength": np.array([one.way.strength or 0.0 for one in answers]),
        "records": np.array([one.records for one in answers]), "why": np.array([one.why for one in answers]),
        "model": _seen(given, logits, union),
    }  # fmt: skip


def _together(
    given: Setting,
    starts: Sequence[Standing],
    told: Sequence[BudgetPredictor],
    requests: Requests,
    count: int,
    folder: Path,
) -> Part:
    """The first `count` requests in one plan, by every original: models, oracles and originals as phi, and the ways."""
    ids, procedure = [r for own in requests.ids[:count] for r in own], Procedure.of(starts[0].trajectory)
    retain = np.setdiff1d(given.both.rows(given.train.record_ids), given.both.rows(ids))
    jobs = [StackedJob(derived_seed(given.seed, f"together {count}", i), retain) for i in range(TOGETHER_ORACLES)]
    oracles = train_stacked(procedure.spec, given.both, procedure.config, jobs, procedure.sampling_rate)
    arms = []
    for k, start in enumerate(starts):
        arms.append(Destroying(start, told[k % len(told)], folder / f"together-{count}-{k}", given.seed + k))
        arms[-1].ask(ids)
    models = np.stack([_logits(given, arm.now.trajectory) for arm in arms])
    originals = np.stack([_logits(given, start.trajectory) for start in starts])
    found = {"oracles": oracles.logits(given.both), "models": models, "originals": originals}
    answers = [arm.answers[0] for arm in arms]
    return {name: _seen(given, logits, ids) for name, logits in found.items()} | {
        "method": np.array([one.way.method for one in answers]),
        "amount": np.array([one.way.amount for one in answers]),
        "strength": np.array([one.way.strength or 0.0 for one in answers]),
        "cost": np.array([one.cost for one in answers]),
    }


def main() -> None:
    options = world_parser(__doc__, ".expunge/sequence", 8000).parse_args()
    work_through(options, lambda world: run(world, options.cache, options.seed), as_markdown)


if __name__ == "__main__":
    main()
