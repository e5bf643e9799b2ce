"""What is run? Noisy full-batch gradient descent in float64, the process that the certificate is about.

w_0 = 0 (the declared initial law: a point), w <- w - eta grad f(w) + sqrt(2 eta) sigma N(0, I): METHOD section 1, the
`langevin` convention at q = 1, without projection. Unlearning goes on with the same rule on the records that stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from expunge.errors import UsageError
from expunge.training.config import NoiseConfig, TrainingConfig
from expunge.training.noise import weight_noise_deviation
from expunge.training.randomness import generator
from expunge.unlearning.certified.problem import HeadProblem
from expunge.unlearning.plan import Document

Rows = npt.NDArray[np.int64]


class NoisyDescent(Document):
    """steps: T of training. learning_rate: eta, constant. sigma: Langevin noise, deviation sqrt(2 eta) sigma a step."""

    steps: int = Field(ge=1)
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    sigma: float = Field(gt=0, allow_inf_nan=False)

    @classmethod
    def of_training(cls, settings: TrainingConfig, records: int) -> NoisyDescent:
        """From a TrainingConfig, when it says the same thing.

        Raises:
            UsageError: another noise convention, Poisson batches, momentum, weight decay or a schedule.
        """
        problems = []
        if settings.noise.convention != "langevin":
            problems.append(f"noise convention {settings.noise.convention} (set langevin)")
        if settings.batch_size != records:
            problems.append(f"batches of {settings.batch_size} (set batch_size to all {records} records)")
        if settings.momentum:
            problems.append("momentum (set 0)")
        if settings.weight_decay:
            problems.append("weight_decay (give it to the problem as l2 instead)")
        if settings.schedule.kind != "constant" or settings.schedule.warmup:
            problems.append("a learning rate that changes (set a constant schedule without warm-up)")
        if problems:
            raise UsageError("No certificate covers " + "; ".join(problems) + ".")
        return cls(steps=settings.steps, learning_rate=settings.learning_rate, sigma=settings.noise.sigma or 0.0)

    @property
    def step_noise(self) -> float:
        """Deviation of the noise per weight and step, sqrt(2 eta) sigma."""
        return weight_noise_deviation(NoiseConfig(convention="langevin", sigma=self.sigma), self.learning_rate)


@dataclass(frozen=True, eq=False)
class TrainedHead:
    """weights [outputs, p] float64; steps taken in all; the rows that the last steps did not see."""

    weights: Tensor
    steps: int
    forgotten: tuple[int, ...] = ()

    def outputs(self, features: Any) -> Tensor:
        """[n, outputs] of features [n, p]."""
        return torch.as_tensor(features, dtype=torch.float64) @ self.weights.T


def train_head(problem: HeadProblem, descent: NoisyDescent, seed: int) -> TrainedHead:
    """T steps on all records. The seed is a secret: who knows it can take the noise off again."""
    kept = np.arange(len(problem))
    start = torch.zeros(problem.weight_shape, dtype=torch.float64)
    weights = _descend(problem, descent, start, kept, descent.steps, seed, "certified training")
    return TrainedHead(weights, descent.steps)


def unlearn_head(
    head: TrainedHead, problem: HeadProblem, descent: NoisyDescent, rows: Sequence[int], steps: int | None, seed: int
) -> TrainedHead:
    """`steps` more steps on the records that stay, at the same rate, noise and divisor.

    Raises:
        UsageError: steps that are negative or None (no k is certified), rows that are no forget set, a head that has
            unlearned before: a certificate covers one request; make one of all records asked back, from the original
            head.
    """
    if head.forgotten:
        raise UsageError(
            "This head has unlearned before; a certificate covers one forget set.",
            "Start from the original head, with the records of all requests together.",
        )
    if steps is None or steps < 0 or math.isinf(steps):
        raise UsageError(f"steps must be a finite number, 0 or more; got {steps}.", "Retrain where none is certified.")
    kept = problem.without(rows)
    weights = _descend(problem, descent, head.weights, kept, int(steps), seed, "certified unlearning")
    return TrainedHead(weights, head.steps + int(steps), tuple(sorted(int(row) for row in rows)))


def retrain_head(
    problem: HeadProblem, descent: NoisyDescent, rows: Sequence[int], steps: int, seed: int
) -> TrainedHead:
    """What the certificate compares with: `steps` steps from the same start that never saw the rows."""
    start = torch.zeros(problem.weight_shape, dtype=torch.float64)
    weights = _descend(problem, descent, start, problem.without(rows), steps, seed, "certified retraining")
    return TrainedHead(weights, steps, tuple(sorted(int(row) for row in rows)))


def noiseless_step(problem: HeadProblem, learning_rate: float, weights: Tensor, gradient_sum: Tensor) -> Tensor:
    """One step of descent without noise, from the sum of the records' gradients [outputs, p]."""
    return weights - learning_rate * (gradient_sum / len(problem) + problem.l2 * weights)


def _descend(
    problem: HeadProblem, descent: NoisyDescent, start: Tensor, kept: Rows, steps: int, seed: int, purpose: str
) -> Tensor:
    weights, deviation = start.clone(), descent.step_noise
    features, targets = problem.features[kept], problem.targets[kept]
    for step in range(steps):
        residuals = problem.loss.residuals(features @ weights.T, targets)
        weights = noiseless_step(problem, descent.learning_rate, weights, residuals.T @ features)
        draws = torch.randn(weights.shape, generator=generator(seed, purpose, step), dtype=torch.float64)
        weights += deviation * draws
    return weights
