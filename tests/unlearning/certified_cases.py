"""Small heads whose laws are known: ridge regression exactly, one logistic weight on a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from expunge.unlearning.certified import HeadProblem, NoisyDescent, bounded_features

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GaussianLaw:
    """Columns of weights that are independent with one covariance: mean [outputs, p], covariance [p, p]."""

    mean: Floats
    covariance: Floats


def ridge_problem(seed: int, records: int = 12, features: int = 3, outputs: int = 2, l2: float = 0.3) -> HeadProblem:
    rng = np.random.default_rng(seed)
    rows = bounded_features(rng.normal(size=(records, features)), way="clip", intercept=False)
    return HeadProblem.ridge(rows, rng.normal(size=(records, outputs)), l2=l2)


def ridge_law(problem: HeadProblem, descent: NoisyDescent, phases: list[tuple[Floats, int]]) -> GaussianLaw:
    """The exact law after phases of (how often each record counts [n], steps), with matrices of its own."""
    x, y = problem.features.numpy(), problem.targets.numpy()
    n, p = x.shape
    mean, covariance = np.zeros((problem.loss.outputs, p)), np.zeros((p, p))
    for kept, steps in phases:
        hessian = (x * kept[:, None]).T @ x / n + problem.l2 * np.eye(p)
        pull = (y * kept[:, None]).T @ x / n
        update = np.eye(p) - descent.learning_rate * hessian
        for _ in range(steps):
            mean = mean @ update + descent.learning_rate * pull
            noise = 2 * descent.learning_rate * descent.sigma**2 * np.eye(p)
            covariance = update @ covariance @ update + noise
    return GaussianLaw(mean, covariance)


def gaussian_renyi(first: GaussianLaw, second: GaussianLaw, order: float) -> float:
    """D_a of two Gaussians (Gil, Alajaji, Linder 2013, table 2), summed over outputs; inf where it does not exist."""
    mixed = order * second.covariance + (1 - order) * first.covariance
    if np.linalg.eigvalsh(mixed).min() <= 0:
        return math.inf
    gap = first.mean - second.mean
    along = order / 2 * float(np.einsum("ki,ij,kj->", gap, np.linalg.inv(mixed), gap))
    logs = [np.linalg.slogdet(c)[1] for c in (mixed, first.covariance, second.covariance)]
    volume = logs[0] - (1 - order) * logs[1] - order * logs[2]
    return along - len(gap) * volume / (2 * (order - 1))


def counted_without(problem: HeadProblem, rows: list[int]) -> Floats:
    """How often each record counts in a retraining, [n]: 0 or 1."""
    counted = np.ones(len(problem))
    counted[rows] = 0.0
    return counted


def laws_of_ridge(
    problem: HeadProblem, descent: NoisyDescent, rows: list[int], steps: int
) -> tuple[GaussianLaw, GaussianLaw]:
    """Unlearned and retrained."""
    everyone, kept = np.ones(len(problem)), counted_without(problem, rows)
    unlearned = ridge_law(problem, descent, [(everyone, descent.steps), (kept, steps)])
    return unlearned, ridge_law(problem, descent, [(kept, descent.steps + steps)])


class WeightOnGrid:
    """The law of ONE logistic weight, by numerical integration: density on a grid, a matrix for each noisy step."""

    def __init__(self, problem: HeadProblem, descent: NoisyDescent, reach: float, points: int = 1601) -> None:
        self.problem, self.descent = problem, descent
        self.grid = np.linspace(-reach, reach, points)
        self.cell = self.grid[1] - self.grid[0]

    def after(self, kept: Floats, steps: int, density: Floats | None = None) -> Floats:
        """Density after `steps` more steps with these record weights; None starts at the point 0."""
        deviation = math.sqrt(2 * self.descent.learning_rate) * self.descent.sigma
        moved = self.grid - self.descent.learning_rate * self._slope(self.grid, kept)
        kernel = np.exp(-((self.grid[:, None] - moved[None]) ** 2) / (2 * deviation**2))
        kernel /= deviation * math.sqrt(2 * math.pi)
        for _ in range(steps):
            if density is None:
                start = -self.descent.learning_rate * self._slope(np.zeros(1), kept)
                density = np.exp(-((self.grid - start) ** 2) / (2 * deviation**2)) / (
                    deviation * math.sqrt(2 * math.pi)
                )
            else:
                density = kernel @ density * self.cell
        assert density is not None
        return density

    def renyi(self, first: Floats, second: Floats, order: float) -> float:
        """D_a by the trapezoid rule, over where both densities are above rounding: a lower bound."""
        there = (first > 1e-200) & (second > 1e-200)
        logs = order * np.log(first[there]) + (1 - order) * np.log(second[there])
        peak = logs.max()
        return float((peak + np.log(np.exp(logs - peak).sum() * self.cell)) / (order - 1))

    def mean(self, density: Floats, values: Floats) -> float:
        return float((density * values).sum() * self.cell)

    def gradient(self, row: int) -> Floats:
        """One record's gradient at every weight of the grid."""
        x, y = float(self.problem.features[row, 0]), float(self.problem.targets[row])
        return (1 / (1 + np.exp(-self.grid * x)) - y) * x

    def _slope(self, weights: Floats, kept: Floats) -> Floats:
        x, y = self.problem.features.numpy()[:, 0], self.problem.targets.numpy()
        residuals = 1 / (1 + np.exp(-np.outer(weights, x))) - y
        return (residuals * x * kept).sum(axis=1) / len(x) + self.problem.l2 * weights
