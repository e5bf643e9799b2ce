"""What a model says of records beyond what a model that never saw them would say, learned from the reference pool.

No pool model left the whole forget set out, so each record has its own reference: the pool models without it. They saw
less data than the original and a retrained model, and what that moves is learned on held-out records, which no model
saw:

* a line per model, its phi on held-out records against the pool's mean there, read off at the record;
* the leading principal components of the pool's held-out residuals, regressed out of the record (``whitening``; what
  records share beyond that is left in: a covariance of models that left out both records, taken pair by pair, made the
  test weaker in every trial, shrunk or not).

Some held-out records are the forget records' MIRROR: alike in label and difficulty, each referred to the pool models
that left its partner out, in every respect treated as the partner is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.attacks import match
from expunge.evaluation.influence_estimate import SMALLEST_VARIANCE
from expunge.evaluation.whitening import FLOOR, RIDGE

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
MIRROR = 40
FEWEST_HELD_OUT = 20


@dataclass(frozen=True)
class PoolRows:
    """Which records play which part: ``pattern`` [m'] are the records whose pool models the mirror [m'] borrows."""

    judged: Index
    judged_pattern: Index
    mirror: Index
    mirror_pattern: Index
    rest: Index

    @classmethod
    def of(
        cls, judged: Index, pattern: Index, held_out: Index, targets: Index, difficulty: Array, seed: int
    ) -> PoolRows:
        """``judged`` rows with the pool models of ``pattern``, and a mirror out of at most half of the held-out rows.

        Few judged rows are mirrored several times, up to ``MIRROR`` records.
        """
        position = {int(row): k for k, row in enumerate(judged)}
        most, rest = held_out.size // 2, held_out
        mirror, partners = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        while mirror.size < min(max(judged.size, MIRROR), most):
            known = judged[np.isin(targets[judged], targets[rest])]
            if not known.size:
                break
            known = np.random.default_rng(seed).permutation(known)[: most - mirror.size]
            found = match(known, rest, targets, difficulty)
            mirror = np.concatenate([mirror, found.others])
            partners = np.concatenate([partners, pattern[[position[int(row)] for row in found.members]]])
            rest = np.setdiff1d(rest, found.others)
        return cls(judged, pattern, mirror, partners, rest)

    @property
    def enough(self) -> bool:
        """Whether the mirror and the held-out records beside it can show anything."""
        return min(self.mirror.size, self.rest.size) >= FEWEST_HELD_OUT


class PoolFit:
    """The law of an unseen record under R pool models.

    Args:
        phi: [R, n] of the pool models; out: bool [R, n], True where the model left the record out.
        rows: see ``PoolRows``. components: most principal components (at most one for 8 models without a record).
    """

    def __init__(self, phi: Array, out: Mask, rows: PoolRows, components: int) -> None:
        self.rows = rows
        self._columns = np.concatenate([rows.judged, rows.mirror])
        own = out[:, np.concatenate([rows.judged_pattern, rows.mirror_pattern])]
        count = own.sum(axis=0)
        self.mean = np.where(own, phi[:, self._columns], 0.0).sum(axis=0) / count
        self.rest_mean = phi[:, rows.rest].mean(axis=0)
        self._line = np.linalg.pinv(np.stack([np.ones_like(self.rest_mean), self.rest_mean]))
        plain, rest = self._off_the_line(phi)
        self.rest_scale = np.maximum(rest.std(axis=0), np.sqrt(SMALLEST_VARIANCE))
        k = max(0, min(components, (int(count.min()) - 1) // 8, rest.shape[1]))
        self.directions = np.linalg.svd(rest / self.rest_scale, full_matrices=False)[2][:k].T
        design = self._design(rest)
        gram = np.einsum("ri,rj,rk->ijk", own.astype(np.float64), design, design)
        if k:
            per_model = float((design[:, 1:] ** 2).mean())
            gram[:, range(1, k + 1), range(1, k + 1)] += RIDGE * per_model * count[:, None]
        self.slope = np.linalg.solve(gram, (np.where(own, plain, 0.0).T @ design)[..., None])[..., 0]
        residual = np.where(own, plain - design @ self.slope.T, 0.0)
        variance = (residual**2).sum(axis=0) / np.maximum(count - 1 - k, 1)
        self.scale = np.sqrt(np.maximum(variance, max(FLOOR * float(np.median(variance)), SMALLEST_VARIANCE)))

    def line(self, phi: Array) -> Array:
        """(intercept, slope) [q, 2] of models' phi [q, n] on held-out records against the pool's mean there."""
        result: Array = phi[:, self.rows.rest] @ self._line
        return result

    def residuals(self, phi: Array) -> tuple[Array, Array]:
        """Of models' phi [q, n]: on the judged records [q, m] and on their mirror [q, m'], in the pool's deviations."""
        plain, rest = self._off_the_line(phi)
        found = (plain - self._design(rest) @ self.slope.T) / self.scale
        return found[:, : self.rows.judged.size], found[:, self.rows.judged.size :]

    def _off_the_line(self, phi: Array) -> tuple[Array, Array]:
        line = self.line(phi)
        a, b = line[:, :1], line[:, 1:]
        return phi[:, self._columns] - a - b * self.mean, phi[:, self.rows.rest] - a - b * self.rest_mean

    def _design(self, rest: Array) -> Array:
        factors = rest / self.rest_scale @ self.directions
        return np.concatenate([np.ones((len(factors), 1)), factors], axis=1)
