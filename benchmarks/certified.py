"""How many steps certify that a convex head has forgotten a record, and how many does the worst case ask for?

    python benchmarks/certified.py --json docs/certified.json          ten minutes of one core; resumable
    python benchmarks/certified.py --report docs/certified.json        the tables of docs/certified.md

L2-regularised logistic regression on normalised features, full-batch noisy descent. For each penalty the noise is
the largest of a grid that costs at most a point of held-out accuracy on the split of seed 0, and a quarter of that; the
seeds reported come after it. Every record of a sample is certified by itself, and a random 1 % of the training set
together.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
from certified_tables import as_markdown
from evidence_worlds import WORLDS, World
from torch import nn
from world_options import work_through, world_parser

from expunge.data import RecordTable, load_records
from expunge.data.record_table import make_table
from expunge.unlearning.certified import (
    HeadBounds,
    HeadProblem,
    NoisyDescent,
    Simulations,
    TrainedHead,
    bounded_features,
    retrain_head,
    train_head,
    unlearn_head,
)
from expunge.unlearning.certified.bounds import UnitSteps
from expunge.unlearning.certified.descent import noiseless_step
from expunge.unlearning.certified.path import unit_of_set, units_of_records

TRAINED_ON = {"digits": 1400, "census": 7000, "fashion-features": 5000}
PENALTIES = (0.01, 0.001)
NOISES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04)
ACCURACY_GIVEN_UP = 0.01
TARGETS = ((1.0, 1e-5), (0.5, 1e-5), (0.1, 1e-5))
ORDERS = tuple(float(order) for order in np.unique(np.round(1 + np.geomspace(0.5, 1000.0, 24), 2)))
SEEDS = 3
SAMPLE = 300
SIMULATIONS = 4


def fashion_features(cache: Path) -> RecordTable:
    """The 6,000 images of `fashion` as a network trained on 20,000 other images sees them: [n, 64]."""
    whole = load_records("fashion_mnist", {"limit": 26_000})
    images = torch.from_numpy(whole.features.reshape(len(whole), -1).astype(np.float32))
    targets = torch.from_numpy(whole.targets)
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(images.shape[1], 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
    network = nn.Sequential(body, nn.Linear(64, whole.classes))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(10):
        for batch in (6000 + torch.randperm(20_000)).split(128):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(images[batch]), targets[batch]).backward()
            optimiser.step()
    with torch.no_grad():
        features = body(images[:6000]).numpy()
    return make_table(
        features=features, targets=whole.targets[:6000], record_ids=whole.record_ids[:6000],
        subject_ids=None, classes=whole.classes, name="fashion features",
    )  # fmt: skip


WORLDS["fashion-features"] = replace(WORLDS["fashion"], name="fashion-features", load=fashion_features)


class Split:
    """One split of a data set: the problem, and what it takes to judge a head on the records held out."""

    def __init__(self, world: World, table: RecordTable, l2: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        order, count = rng.permutation(len(table)), TRAINED_ON[world.name]
        features = bounded_features(table.features, way="normalise")
        self.held_out = features[order[count:]], table.targets[order[count:]]
        training = order[:count]
        self.problem = HeadProblem.classification(
            features[training], table.targets[training], classes=table.classes, l2=l2
        )
        self.sample = np.sort(rng.choice(count, SAMPLE, replace=False))
        self.share = np.sort(rng.choice(count, count // 100, replace=False))

    def descent(self, sigma: float) -> NoisyDescent:
        """A rate that was read off no record, and steps until what the start left is below 1 %."""
        rate = 2 / (self.problem.declared_smoothness + self.problem.strong_convexity)
        steps = math.ceil(math.log(0.01) / math.log(1 - rate * self.problem.l2))
        return NoisyDescent(steps=steps, learning_rate=rate, sigma=sigma)

    def accuracy(self, head: TrainedHead) -> float:
        outputs = head.outputs(self.held_out[0]).numpy()
        answers = (outputs[:, 0] > 0) if outputs.shape[1] == 1 else outputs.argmax(axis=1)
        return float((answers == self.held_out[1]).mean())

    def steps_to_accuracy(self, descent: NoisyDescent, last: float) -> int:
        """Steps of descent without noise from which held-out accuracy stays within a point of its last value."""
        weights, reached = torch.zeros(self.problem.weight_shape, dtype=torch.float64), 0
        for step in range(1, descent.steps + 1):
            total = self.problem.residuals(weights).T @ self.problem.features
            weights = noiseless_step(self.problem, descent.learning_rate, weights, total)
            if self.accuracy(TrainedHead(weights, step)) < last - ACCURACY_GIVEN_UP:
                reached = step
        return reached + 1


def choose(world: World, table: RecordTable, l2: float) -> dict[str, Any]:
    """On the split of seed 0: the noise, and what other noises would cost in accuracy."""
    split = Split(world, table, l2, 0)
    quiet = split.descent(1e-9)
    noiseless = split.accuracy(train_head(split.problem, quiet, 0))
    tried = {str(sigma): split.accuracy(train_head(split.problem, split.descent(sigma), seed=1)) for sigma in NOISES}
    good = [sigma for sigma in NOISES if tried[str(sigma)] >= noiseless - ACCURACY_GIVEN_UP]
    return {
        "sigma": max(good, default=NOISES[0]),
        "noiseless_accuracy": noiseless,
        "accuracy_by_sigma": tried,
        "steps_to_accuracy": split.steps_to_accuracy(quiet, noiseless),
    }


def measure(world: World, table: RecordTable, l2: float, sigma: float, seed: int) -> dict[str, Any]:
    """One seed: k of single records and of the random set at every target, and the heads that come of it."""
    split = Split(world, table, l2, seed)
    problem, descent = split.problem, split.descent(sigma)
    records = HeadBounds(problem, descent, units_of_records(problem, descent, split.sample), ORDERS)
    together = HeadBounds(problem, descent, unit_of_set(problem, descent, split.share.tolist()), ORDERS)
    head = train_head(problem, descent, seed)
    found: dict[str, Any] = {
        "steps": descent.steps,
        "learning_rate": descent.learning_rate,
        "accuracy": split.accuracy(head),
        "targets": {},
    }
    for epsilon, delta in TARGETS:
        simulations = Simulations(runs=SIMULATIONS, seed=seed)
        found["targets"][f"{epsilon:g}"] = {
            "records": _row(records.steps(epsilon, delta)),
            "records_simulated": _row(records.steps(epsilon, delta, simulations)),
            "set": _row(together.steps(epsilon, delta)),
            "set_simulated": _row(together.steps(epsilon, delta, simulations)),
        }
    steps = int(found["targets"]["1"]["set_simulated"]["certified"][0])
    forgot = unlearn_head(head, problem, descent, split.share.tolist(), steps, seed)
    again = retrain_head(problem, descent, split.share.tolist(), descent.steps + steps, seed)
    return {**found, "accuracy_unlearned": split.accuracy(forgot), "accuracy_retrained": split.accuracy(again)}


def _row(found: UnitSteps) -> dict[str, list[float]]:
    """Median, 90 % and hardest of each bound's k; a set has one."""

    def summary(steps: np.ndarray) -> list[float]:
        return [float(np.quantile(steps, share, method="higher")) for share in (0.5, 0.9, 1.0)]

    return {
        "certified": summary(found.certified),
        "coupling": summary(found.coupling.steps),
        "trajectory": summary(found.trajectory),
        "worst_coupling": summary(found.worst_coupling.steps),
        "worst_langevin": summary(found.worst_langevin.steps),
    }


def run(world: World, cache: Path, first: int) -> dict[str, Any]:
    folder = cache / world.name
    folder.mkdir(parents=True, exist_ok=True)
    table = world.load(cache)
    started, results = time.perf_counter(), []
    for l2 in PENALTIES:
        chosen = _kept(folder / f"{l2:g}.json", partial(choose, world, table, l2))
        for sigma in (chosen["sigma"], chosen["sigma"] / 4):
            seeds = []
            for seed in range(first, first + SEEDS):
                path = folder / f"{l2:g}-{sigma:g}-{seed}.json"
                seeds.append(_kept(path, partial(measure, world, table, l2, sigma, seed)))
                print(f"{world.name}: l2 {l2:g}, sigma {sigma:g}, {time.perf_counter() - started:.0f} s", flush=True)
            results.append({"l2": l2, "sigma": sigma, "chosen": chosen, "seeds": seeds})
    return {"records": TRAINED_ON[world.name], "classes": table.classes, "settings": results}


def _kept(path: Path, make: Any) -> dict[str, Any]:
    """From the file, or made and written there."""
    if not path.is_file():
        unfinished = path.with_suffix(".partial")
        unfinished.write_text(json.dumps(make()))
        unfinished.rename(path)
    return json.loads(path.read_text())


def main() -> None:
    parser = world_parser(__doc__, ".expunge/certified", 1)
    options = parser.parse_args()
    options.worlds = options.worlds or list(TRAINED_ON)
    if unknown := set(options.worlds) - set(TRAINED_ON):
        parser.error(f"no certified head on {', '.join(sorted(unknown))}; choose from {', '.join(TRAINED_ON)}")
    work_through(options, lambda world: run(world, options.cache, options.seed), as_markdown)


if __name__ == "__main__":
    main()
