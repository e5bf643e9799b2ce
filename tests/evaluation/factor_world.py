"""phi of runs that differ together: few factors shared by forget and held-out records, and what each record adds."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
Phi = tuple[Array, Array]


class FactorWorld:
    """A run's phi is mean + sd (sqrt(share) loadings f + sqrt(1 - share) noise), on m forget and h control records.

    What a model remembers of forget record i adds ``remembered_i`` times ``memory_i``, about ``shift`` deviations.
    """

    def __init__(
        self, seed: int, share: float = 0.7, m: int = 24, h: int = 40, factors: int = 4, shift: float = 2.0
    ) -> None:
        self.rng = np.random.default_rng([seed, m, h, round(100 * share)])
        self.m = m
        loadings = self.rng.normal(size=(factors, m + h))
        self.loadings = np.sqrt(share) * loadings / np.linalg.norm(loadings, axis=0)
        self.own = np.sqrt(1 - share)
        self.sd = np.exp(self.rng.normal(0, 0.4, m + h))
        self.mean = self.rng.normal(0, 2, m + h)
        self.memory = shift * self.sd[:m] * np.abs(self.rng.normal(1, 0.3, m))

    def runs(self, count: int, remembered: Array | float = 0.0) -> Phi:
        """phi [count, m] on the forget records and [count, h] on the control records."""
        shared = self.rng.normal(size=(count, len(self.loadings))) @ self.loadings
        own = self.own * self.rng.normal(size=(count, self.mean.size))
        phi = self.mean + self.sd * (shared + own)
        return phi[:, : self.m] + remembered * self.memory, phi[:, self.m :]

    def run(self, remembered: Array | float = 0.0) -> Phi:
        """The same of one run: [m] and [h]."""
        forget, controls = self.runs(1, remembered)
        return forget[0], controls[0]

    def some(self, share: float) -> Array:
        """One for that share of the forget records, drawn at random, and zero for the others: [m]."""
        chosen = np.zeros(self.m)
        chosen[self.rng.permutation(self.m)[: max(1, round(share * self.m))]] = 1.0
        return chosen
