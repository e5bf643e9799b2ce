"""What a model says of records beyond what a model that never saw them would say, learned from the reference pool.

No pool model left the whole forget set out, so each record has its own reference: the pool models without it. They saw
less data than the original and a retrained model, and what that moves is learned on held-out records, which no model
saw:

* a line per model, its phi on held-out records against the pool's mean there, read off at the record;
* the leading principal components of the pool's held-out residuals, regressed out of the record (``whitening``; what
  records share beyond that is left in: a covariance of models that left out both records, taken pair by pair, made the
  test weaker in every trial, shrunk or not).

Some held-out records are the forget records' MIRROR: alike in label and difficulty, each referred to the pool models
that left its partner out, in every respect treated as the partner is. They stay among the held-out records that the
line and the components are learned from: without them nothing there would be as hard as a hard forget set.
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
    """Which records play which part, as row numbers.

    judged [m], by the pool models that left ``judged_pattern`` [m] out (the same records, or others in their place);
    mirror [m'], with ``mirror_pattern`` [m']; held_out [h]: line and components are learned there.
    """

    judged: Index
    judged_pattern: Index
    mirror: Index
    mirror_pattern: Index
    held_out: Index

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
        return cls(judged, pattern, mirror, partners, held_out)

    @property
    def enough(self) -> bool:
        """Whether the mirror is large enough to show anything."""
        return self.mirror.size >= FEWEST_HELD_OUT


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
        self.held_mean = phi[:, rows.held_out].mean(axis=0)
        self._line = np.linalg.pinv(np.stack([np.ones_like(self.held_mean), self.held_mean]))
        plain, held = self._off_the_line(phi)
        self.held_scale = np.maximum(held.std(axis=0), np.sqrt(SMALLEST_VARIANCE))
        k = max(0, min(components, (int(count.min()) - 1) // 8, held.shape[1]))
        self.directions = np.linalg.svd(held / self.held_scale, full_matrices=False)[2][:k].T
        design = self._design(held)
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
        result: Array = phi[:, self.rows.held_out] @ self._line
        return result

    def residuals(self, phi: Array) -> tuple[Array, Array]:
        """Of models' phi [q, n]: on the judged records [q, m] and on their mirror [q, m'], in the pool's deviations.

        The mean on the mirror is taken off both: records as hard as these lie off the line together.
        """
        plain, held = self._off_the_line(phi)
        found = (plain - self._design(held) @ self.slope.T) / self.scale
        judged, mirror = found[:, : self.rows.judged.size], found[:, self.rows.judged.size :]
        level = mirror.mean(axis=1, keepdims=True)
        return judged - level, mirror - level

    def _off_the_line(self, phi: Array) -> tuple[Array, Array]:
        line = self.line(phi)
        a, b = line[:, :1], line[:, 1:]
        return phi[:, self._columns] - a - b * self.mean, phi[:, self.rows.held_out] - a - b * self.held_mean

    def _design(self, held: Array) -> Array:
        factors = held / self.held_scale @ self.directions
        return np.concatenate([np.ones((len(factors), 1)), factors], axis=1)
