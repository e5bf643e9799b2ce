"""Models to compare with: oracles that never saw the records, and half-forgotten ones that test the test's power."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from expunge.data import RecordTable
from expunge.training import StackedJob, train_stacked
from expunge.training.randomness import derived_seed, generator
from expunge.training.trainer import Progress
from expunge.unlearning.methods import Procedure

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class References:
    """Logits float32 [models, n, classes] on every record of a table, by purpose, with the seeds that made them.

    look: for the choice and the stop; verdict: for the verdict, never for a choice; held_back: positive controls;
    half_kept: retrained with a random half of the forget set kept. states: parameters and buffers, on the CPU, of the
    first models of those purposes for which they were asked.
    """

    look: NDArray[np.float32]
    verdict: NDArray[np.float32]
    held_back: NDArray[np.float32]
    half_kept: NDArray[np.float32]
    seeds: dict[str, list[int]]
    states: Mapping[str, Sequence[State]] = field(default_factory=dict)


def train_references(
    procedure: Procedure,
    table: RecordTable,
    training_ids: Sequence[str],
    forget_ids: Sequence[str],
    counts: dict[str, int],
    seed: int,
    predict_on: RecordTable | None = None,
    progress: Progress | None = None,
    keep: Mapping[str, int] | None = None,
) -> References:
    """Retrain `counts[purpose]` models for each purpose, all in one stack, and predict on every record.

    No counts train nothing: the levels of evidence below `oracle`. `keep`: models by purpose whose weights are kept.

    Every model has a seed of its own, derived from (seed, purpose, number): no two purposes share a model.
    """
    rows = table.rows(training_ids)
    forget = table.rows(forget_ids)
    retain = np.setdiff1d(rows, forget)
    jobs: list[StackedJob] = []
    seeds: dict[str, list[int]] = {}
    for purpose in ("look", "verdict", "held_back", "half_kept"):
        seeds[purpose] = [derived_seed(seed, f"reference:{purpose}", i) for i in range(counts.get(purpose, 0))]
        for own in seeds[purpose]:
            kept = retain
            if purpose == "half_kept":
                kept = np.sort(np.concatenate([retain, _half(forget, own)]))
            jobs.append(StackedJob(own, kept))
    shown = predict_on or table
    logits = np.empty((0, len(shown), table.classes), dtype=np.float32)
    weights: Iterator[State] = iter(())
    if jobs:
        models = train_stacked(
            procedure.spec, table, procedure.config, jobs, procedure.sampling_rate,
            device=procedure.device, progress=progress,
        )  # fmt: skip
        logits, weights = models.logits(shown), models.states()
    parts: dict[str, NDArray[np.float32]] = {}
    states: dict[str, list[State]] = {}
    at = 0
    for purpose, own_seeds in seeds.items():
        parts[purpose] = logits[at : at + len(own_seeds)]
        kept_states = list(islice(weights, len(own_seeds)))[: (keep or {}).get(purpose, 0)]
        states[purpose] = [{name: tensor.detach().cpu().clone() for name, tensor in s.items()} for s in kept_states]
        at += len(own_seeds)
    return References(**parts, seeds=seeds, states=states)


def cross_fitted_logits(
    procedure: Procedure, table: RecordTable, folds: int, repeats: int, seed: int, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Logits [repeats, n, classes] in which each record is judged by a model that did not train on it.

    Trained on all other folds of the whole table, so the difficulty of forget, retain and held-out records compares.
    """
    n = len(table)
    jobs, blocks = [], []
    for repeat in range(repeats):
        order = _permutation(n, derived_seed(seed, "folds", repeat))
        for k, block in enumerate(np.array_split(order, folds)):
            blocks.append((repeat, block))
            rows = np.setdiff1d(np.arange(n), block)
            jobs.append(StackedJob(derived_seed(seed, f"cross-fit:{repeat}", k), rows))
    models = train_stacked(
        procedure.spec, table, procedure.config, jobs, procedure.sampling_rate,
        device=procedure.device, progress=progress,
    )  # fmt: skip
    logits = models.logits(table)
    out = np.empty((repeats, n, table.classes), dtype=np.float32)
    for (repeat, block), own in zip(blocks, logits, strict=True):
        out[repeat, block] = own[block]
    return out


def _half(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A random half, at least one record: half of a single record is the record."""
    return rows[_permutation(len(rows), seed)[: max(1, len(rows) // 2)]]


def _permutation(n: int, seed: int) -> NDArray[np.int64]:
    import torch

    return torch.randperm(n, generator=generator(seed, "permutation")).numpy()
