"""Is a stack of models faster than one after the other? (expunge.training.train_stacked)

    python benchmarks/stacked_training.py                     the table, about 3 minutes on 2 cores
    python benchmarks/stacked_training.py --cases cnn --rounds 9 --json results.json

Every round runs each way once, one after the other, and ratios are taken within a round, so that a busy machine hits
all alike; the median over the rounds is printed, with the quartiles. One by one is a loop of `train_step` in this
process, with one thread and with all: the faster one of a round counts. "2 processes" are two workers with such a loop
and one thread each. Convolutions are stacked here by force: the program trains them one by one. The data are random
numbers of the data sets' sizes: the time of a step does not depend on them. Idle threads sleep, as in the program.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

# Before torch is imported, as in adapters.bootstrap.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import numpy as np
import torch

from expunge.data.record_table import RecordTable, make_table
from expunge.models import ModelSpec, build_model
from expunge.training import StackedJob, TrainingConfig, train_stacked
from expunge.training.state import TrainingState
from expunge.training.trainer import train_step

GAUSSIAN = {"convention": "mean_gradient", "sigma": 0.01}
CLIPPED = {"convention": "dp_sgd", "noise_multiplier": 0.5, "clip": 1.0}
ONE_THREAD, ALL_THREADS = "one by one, 1 thread", "one by one, all threads"
PROCESSES, STACKED = "2 processes", "stacked"


@dataclass(frozen=True)
class Case:
    """A model, the size of its data, its batches, and the steps of one round: of the stack, and of one model alone."""

    what: str
    model: str
    shape: tuple[int, ...]
    records: int
    batch: int
    models: int
    steps: int
    alone: int
    options: dict[str, Any]
    noise: dict[str, Any] = field(default_factory=lambda: GAUSSIAN)


CASES = {
    "digits": Case("MLP 64-64-10, batch 64 of 1,418", "mlp", (64,), 1418, 64, 128, 40, 200, {"hidden": [64]}),
    "fashion": Case("MLP 784-64-10, batch 64 of 4,800", "mlp", (784,), 4800, 64, 64, 15, 100, {"hidden": [64]}),
    "clipped": Case(
        "MLP 64-64-10, dp_sgd, batch 64 of 1,418", "mlp", (64,), 1418, 64, 64, 6, 50, {"hidden": [64]}, CLIPPED
    ),
    "cnn": Case("small_cnn, batch 128 of 4,800", "small_cnn", (28, 28), 4800, 128, 8, 4, 25, {"width": 16}),
}


class World:
    """One case's data and model, and what is timed."""

    def __init__(self, case: Case) -> None:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(case.records, *case.shape)).astype(np.float32)
        y = rng.integers(0, 10, case.records)
        self.case = case
        self.table: RecordTable = make_table(
            features=x, targets=y, record_ids=range(case.records), classes=10, name="random"
        )
        self.spec = ModelSpec(case.model, case.shape, 10, options=case.options)
        self.config = TrainingConfig.model_validate(
            {"steps": 10**6, "batch_size": case.batch, "learning_rate": 0.01, "weight_decay": 0.003,
             "noise": case.noise}
        )  # fmt: skip
        self.q = case.batch / case.records
        self.x, self.y = torch.from_numpy(self.table.features), torch.from_numpy(self.table.targets)
        self.model = build_model(self.spec)
        self.jobs = [StackedJob(k, np.arange(case.records)) for k in range(case.models)]
        self.start = train_stacked(self.spec, self.table, self.config, self.jobs, self.q, until=1, together=True)

    def one_by_one(self) -> int:
        """Train one model; model-steps done."""
        state = TrainingState.of(self.model)
        for step in range(self.case.alone):
            train_step(self.model, state, self.x, self.y, self.config, step, self.q)
        return self.case.alone

    def stacked(self) -> int:
        """Train a stack; model-steps done."""
        train_stacked(
            self.spec, self.table, self.config, self.jobs, self.q, start=(1, self.start), until=1 + self.case.steps,
            together=True,
        )  # fmt: skip
        return self.case.steps * self.case.models


_worker: World | None = None


def _start_worker(case: Case) -> None:
    global _worker
    torch.set_num_threads(1)
    _worker = World(case)
    _worker.one_by_one()


def _work(_: int) -> int:
    assert _worker is not None
    return _worker.one_by_one()


def measure(case: Case, rounds: int) -> dict[str, list[float]]:
    """Microseconds for one step of one model, by way, one number a round."""
    world, threads = World(case), torch.get_num_threads()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=_start_worker, initargs=(case,)) as workers:

        def with_threads(count: int, run: Callable[[], int]) -> int:
            torch.set_num_threads(count)
            try:
                return run()
            finally:
                torch.set_num_threads(threads)

        ways: dict[str, Callable[[], int]] = {
            ONE_THREAD: lambda: with_threads(1, world.one_by_one),
            ALL_THREADS: world.one_by_one,
            PROCESSES: lambda: sum(workers.map(_work, range(2))),
            STACKED: world.stacked,
        }
        took: dict[str, list[float]] = {name: [] for name in ways}
        for index in range(rounds + 1):
            for name, run in ways.items():
                started = time.perf_counter()
                done = run()
                if index:  # the first round warms up
                    took[name].append((time.perf_counter() - started) / done * 1e6)
    return took


def ratios(took: dict[str, list[float]]) -> dict[str, list[float]]:
    """How many times as fast as the faster of the two loops, by round."""
    alone = [min(pair) for pair in zip(took[ONE_THREAD], took[ALL_THREADS], strict=True)]
    return {name: [a / t for a, t in zip(alone, times, strict=True)] for name, times in took.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    given = parser.parse_args()
    results: dict[str, Any] = {
        "torch": torch.__version__, "machine": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "threads": torch.get_num_threads(), "cases": {},
    }  # fmt: skip
    print(f"{'':44s}{'us a model and step':>20s}   times as fast as one by one (quartiles)")
    for name in given.cases:
        case = CASES[name]
        took = measure(case, given.rounds)
        results["cases"][name] = {"what": case.what, "models": case.models, "microseconds": took}
        print(f"{case.what}, {case.models} models")
        for way, values in ratios(took).items():
            low, _, high = quantiles(values, n=4)
            print(
                f"    {way:40s}{median(took[way]):20.0f}   {median(values):.2f} ({low:.2f} to {high:.2f})", flush=True
            )
    if given.json:
        given.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
