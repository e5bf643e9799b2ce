"""What a model says of the forget records beyond what its other answers explain, in units of the oracles' spread.

Two models that never saw a record differ on it, and they differ on many records together: a run that is confident here
is confident there. That shared part is seen on held-out records too, and says nothing of memory. So phi on the forget
records is regressed, over oracles, on the leading principal components of phi on held-out records (a control variate),
and what is left is whitened by the shrunk covariance of the oracles' residuals (Ledoit and Wolf 2004, towards the
identity of the correlation). What remembers stands out of it by a multiple (docs/adr/0008).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.influence_estimate import SMALLEST_VARIANCE

Array = NDArray[np.float64]
RIDGE = 0.02
FLOOR = 0.3


@dataclass(frozen=True, eq=False)
class Whitening:
    """Fitted on oracles; turns phi into residuals with correlation ``correlation`` [m, m] and unit variance."""

    mean: Array
    control_mean: Array
    control_scale: Array
    slope: Array
    scale: Array
    correlation: Array

    @classmethod
    def fit(cls, forget: Array, controls: Array, components: int) -> Whitening:
        """From the oracles' phi on forget records [R, m] and on control records [R, h]; components: 0 uses none."""
        count, m = forget.shape
        mean = forget.mean(axis=0)
        control_mean = controls.mean(axis=0)
        control_scale = np.maximum(controls.std(axis=0), np.sqrt(SMALLEST_VARIANCE))
        k = max(0, min(components, (count - 1) // 8, controls.shape[1])) if controls.std(axis=0).any() else 0
        slope = np.zeros((controls.shape[1], m))
        if k:
            z = (controls - control_mean) / control_scale
            directions = np.linalg.svd(z, full_matrices=False)[2][:k].T
            factors = z @ directions
            gram = factors.T @ factors
            ridge = RIDGE * np.trace(gram) / k * np.eye(k)
            slope = directions @ np.linalg.solve(gram + ridge, factors.T @ (forget - mean))
        residual = forget - mean - (controls - control_mean) / control_scale @ slope
        variance = (residual**2).sum(axis=0) / max(count - 1 - k, 1)
        floor = max(FLOOR * float(np.median(variance)), SMALLEST_VARIANCE)
        scale = np.asarray(np.sqrt(np.maximum(variance, floor)), dtype=np.float64)
        correlation = _shrunk_correlation(residual / scale, max(count - 1 - k, 1))
        return cls(mean, control_mean, control_scale, slope, scale, correlation)

    @cached_property
    def precision(self) -> Array:
        """Inverse of the correlation: [m, m]."""
        return np.asarray(np.linalg.inv(self.correlation), dtype=np.float64)

    def on(self, columns: NDArray[np.int64]) -> Whitening:
        """The same fit for some of the forget records."""
        return replace(
            self,
            mean=self.mean[columns],
            slope=self.slope[:, columns],
            scale=self.scale[columns],
            correlation=self.correlation[np.ix_(columns, columns)],
        )

    def residuals(self, forget: Array, controls: Array) -> Array:
        """[..., m] from phi on forget [..., m] and control records [..., h], in the oracles' standard deviations."""
        explained = (controls - self.control_mean) / self.control_scale @ self.slope
        result: Array = (forget - self.mean - explained) / self.scale
        return result


def _shrunk_correlation(residuals: Array, degrees: int) -> Array:
    """Correlation of residuals [R, m], shrunk towards the identity by Ledoit and Wolf's estimate of the best weight."""
    count, m = residuals.shape
    residuals = residuals * np.sqrt(count / degrees)
    sample = residuals.T @ residuals / count
    np.fill_diagonal(sample, 1.0)
    identity = np.eye(m)
    distance = float(((sample - identity) ** 2).sum())
    fourth = float(((residuals**2).sum(axis=1) ** 2).sum())
    noise = max(fourth - count * float((sample**2).sum()), 0.0) / count**2
    weight = 1.0 if distance == 0 else min(1.0, noise / distance)
    result: Array = (1 - weight) * sample + weight * identity
    return result
