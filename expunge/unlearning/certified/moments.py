"""How large are those gradients under the noise? Second moments along training and along tilted trainings.

W_t: noisy descent of f + (tilt/n) SUM_{x in S} l_x from the declared start (tilt 0: training itself), its noiseless
update kappa-Lipschitz; path_t: training's noiseless path.

* C_{t+1} = kappa^2 C_t + 2 eta sigma^2, C_0 = 0, is a log-Sobolev constant of the law of W_t (N(0, cI) has c):
  Lipschitz maps and Gaussian convolution (used as in Chien et al. 2024, arXiv 2401.10371, section 3). So Cov W_t <=
  C_t I, and the variance of a function is at most C_t E||its gradient||^2 (Poincare), in any dimension.
* delta_t bounds || E W_t - path_t ||: delta_{t+1} = kappa delta_t + eta (|tilt| ||g_S(path_t)|| / n + bias_t), bias_t
  the bound on || E grad f(W_t) - grad f(E W_t) || <= ||X|| `HeadLoss.bias_of_sum` / n: a record's gradient depends on
  its outputs only, so the number of features does not enter.
* E||g_S(W_t)||^2 = ||E g_S||^2 + its variance <= (||g_S(path_t)|| + L_S delta_t + bias_S)^2 + frobenius ||X_S
  X_S'||_F^2 C_t, and never more than (|S| * gradient bound)^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from expunge.unlearning.certified.descent import NoisyDescent
from expunge.unlearning.certified.losses import LengthSums
from expunge.unlearning.certified.path import ForgetUnits
from expunge.unlearning.certified.problem import HeadProblem

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GradientMoments:
    """second: bounds on E||g_S(W_t)||^2, [u, T]; kappa: the update's Lipschitz constant, [u]."""

    second: Floats
    kappa: Floats


def lipschitz_of_sum(problem: HeadProblem, units: ForgetUnits) -> Floats:
    """L_S: Lipschitz constant of SUM_{x in S} g_x, [u]; of one record, curvature ||x||^2."""
    return problem.loss.curvature * units.operator**2


def update_lipschitz(problem: HeadProblem, descent: NoisyDescent) -> float:
    """kappa = max(|1 - eta m|, |1 - eta L|) of the noiseless update, with all records or with some of them gone."""
    rate = descent.learning_rate
    return max(abs(1 - rate * problem.strong_convexity), abs(1 - rate * problem.smoothness))


def gradient_moments(
    problem: HeadProblem, descent: NoisyDescent, units: ForgetUnits, tilt: float = 0.0
) -> GradientMoments:
    """The bounds for every unit and step. A tilt so large that nothing contracts gives the gradient bound (or inf)."""
    loss, records, rate = problem.loss, len(problem), descent.learning_rate
    lipschitz = lipschitz_of_sum(problem, units)
    convexity = problem.strong_convexity + min(tilt, 0.0) * lipschitz / records
    smoothness = problem.smoothness + max(tilt, 0.0) * lipschitz / records
    kappa = np.maximum(np.abs(1 - rate * convexity), np.abs(1 - rate * smoothness))
    everyone = LengthSums.of(torch.linalg.vector_norm(problem.features, dim=1).numpy()[None])
    operator = problem.gram_eigenvalue**0.5
    sobolev, moved = np.zeros(len(kappa)), np.zeros(len(kappa))
    second = np.empty_like(units.norms)
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(descent.steps):
            norm = units.norms[:, step]
            own = units.operator * loss.bias_of_sum(sobolev, units.lengths, units.local[:, step], moved)
            second[:, step] = (norm + lipschitz * moved + own) ** 2 + loss.frobenius * units.gram * sobolev
            bias = operator * loss.bias_of_sum(sobolev, everyone, units.local_of_all[step], moved)
            moved = kappa * moved + rate * (abs(tilt) * norm + bias + abs(tilt) * own) / records
            sobolev = kappa**2 * sobolev + descent.step_noise**2
    # beyond float64 (only where the tilted law spreads) nothing is known but the gradient bound
    largest = (units.records * problem.gradient_bound) ** 2
    second = np.minimum(np.nan_to_num(second, nan=np.inf, posinf=np.inf), largest[:, None])
    return GradientMoments(second, kappa)
