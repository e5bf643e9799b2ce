"""How large are the gradients of what is to be forgotten along the path of training?

The noiseless path is descent without noise on the training set from the declared start: a function of the records and
the settings alone. None of the noise of the model that was trained goes into it, so a k fixed from it is fixed in
advance. A simulated path has noise of its own, drawn for this alone: independent of the model's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from expunge.training.randomness import generator
from expunge.unlearning.certified.descent import NoisyDescent, noiseless_step
from expunge.unlearning.certified.losses import LengthSums
from expunge.unlearning.certified.problem import HeadProblem, checked_rows

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ForgetUnits:
    """What is forgotten together: u units, each one set of records (or, record by record, one of one).

    Attributes:
        rows: row numbers of each unit.
        norms: || SUM_{x in S} g_x || at each step's start along the noiseless path, [u, T].
        local, local_of_all: sqrt(SUM b_i^2 ||x_i||^4), b_i the loss's `local_bend` on the path: of the unit [u, T], of
            all records [T].
        operator: largest singular value of the unit's features X_S, [u]. gram: || X_S X_S' ||_F^2, [u].
        lengths: sums of the lengths of the unit's features.
    """

    rows: tuple[Rows, ...]
    norms: Floats
    local: Floats
    local_of_all: Floats
    operator: Floats
    gram: Floats
    lengths: LengthSums

    @property
    def records(self) -> Floats:
        """How many, [u]."""
        return np.array([float(len(rows)) for rows in self.rows])


def units_of_records(problem: HeadProblem, descent: NoisyDescent, rows: Sequence[int] | None = None) -> ForgetUnits:
    """Every record by itself (or the given ones), in one walk along the path."""
    chosen = np.arange(len(problem)) if rows is None else np.asarray(rows, dtype=np.int64)
    own = torch.linalg.vector_norm(problem.features[chosen], dim=1)
    norms, local = np.empty((len(chosen), descent.steps)), np.empty((len(chosen), descent.steps))
    local_of_all = np.empty(descent.steps)
    for step, (residuals, bends) in enumerate(_noiseless(problem, descent)):
        norms[:, step] = (torch.linalg.vector_norm(residuals[chosen], dim=1) * own).numpy()
        local[:, step] = bends[chosen].numpy()
        local_of_all[step] = float(torch.linalg.vector_norm(bends))
    lengths = own.numpy()
    single = tuple(np.array([row]) for row in chosen)
    return ForgetUnits(single, norms, local, local_of_all, lengths, lengths**4, LengthSums.of(lengths[:, None]))


def unit_of_set(problem: HeadProblem, descent: NoisyDescent, rows: Sequence[int]) -> ForgetUnits:
    """One set, forgotten together: the norm of the SUM of its gradients, exact at full batch (METHOD section 5)."""
    chosen = checked_rows(rows, len(problem))
    features = problem.features[chosen]
    norms, local = np.empty((1, descent.steps)), np.empty((1, descent.steps))
    local_of_all = np.empty(descent.steps)
    for step, (residuals, bends) in enumerate(_noiseless(problem, descent)):
        norms[0, step] = float(torch.linalg.matrix_norm(residuals[chosen].T @ features))
        local[0, step] = float(torch.linalg.vector_norm(bends[chosen]))
        local_of_all[step] = float(torch.linalg.vector_norm(bends))
    # of the smaller of X X' and X'X: they share their eigenvalues
    gram = features @ features.T if len(chosen) <= features.shape[1] else features.T @ features
    return ForgetUnits(
        rows=(chosen,),
        norms=norms,
        local=local,
        local_of_all=local_of_all,
        operator=np.array([float(torch.linalg.matrix_norm(features, ord=2))]),
        gram=np.array([float((gram**2).sum())]),
        lengths=LengthSums.of(torch.linalg.vector_norm(features, dim=1).numpy()[None]),
    )


def simulated_norms(
    problem: HeadProblem, descent: NoisyDescent, units: ForgetUnits, seed: tuple[int, int]
) -> Iterator[Floats]:
    """|| SUM_{x in S} g_x || of each unit [u], step by step, along a training with noise of its own."""
    weights = torch.zeros(problem.weight_shape, dtype=torch.float64)
    single = all(len(rows) == 1 for rows in units.rows)
    together = np.concatenate(units.rows)
    lengths = torch.linalg.vector_norm(problem.features[together], dim=1)
    for step in range(descent.steps):
        residuals = problem.residuals(weights)
        if single:
            yield (torch.linalg.vector_norm(residuals[together], dim=1) * lengths).numpy()
        else:
            sums = (residuals[rows].T @ problem.features[rows] for rows in units.rows)
            yield np.array([float(torch.linalg.matrix_norm(gradient)) for gradient in sums])
        source = generator(seed[0], f"certified simulation {seed[1]}", step)
        draws = torch.randn(weights.shape, generator=source, dtype=torch.float64)
        weights = noiseless_step(problem, descent.learning_rate, weights, residuals.T @ problem.features)
        weights += descent.step_noise * draws


def _noiseless(problem: HeadProblem, descent: NoisyDescent) -> Iterator[tuple[Tensor, Tensor]]:
    """At each step's start: residuals [n, outputs] and b_i ||x_i||^2 [n]."""
    weights = torch.zeros(problem.weight_shape, dtype=torch.float64)
    squares = (problem.features**2).sum(dim=1)
    for _ in range(descent.steps):
        logits = problem.features @ weights.T
        residuals = problem.loss.residuals(logits, problem.targets)
        yield residuals, problem.loss.local_bend(logits) * squares
        weights = noiseless_step(problem, descent.learning_rate, weights, residuals.T @ problem.features)
