"""How far is one model from pool models that left the records out? No pool model left all of them out: a patchwork.

Every pool model is judged on the forget records that it left out, by the other models that left them out, and the model
in question on the same records, once for every pool model. Pool models saw less data than the original and than a
retrained model. What that moves is taken out by what the same model shows on held-out records, which nobody saw:

* a line per model, its phi on held-out records against the pool's mean there, read off at the forget records;
* the leading principal components of the pool's held-out residuals, regressed out of each forget record (``whitening``;
  what records still share is left in: a covariance from models that are out together two by two did not help);
* more data moves each record its own way, in the original and in a retrained model alike. Where the original's
  residuals on held-out records and the model's go together, so do they on forget records, and it is not memory: gamma
  times the original's deviation from its mean is subtracted, gamma = mean product on held-out / variance on forget;
* what is left is divided by the model's own root mean square on held-out records.

Looked at as in ``distance``: along the original's displacement, for a few records that are remembered whole, in any
direction. Pool models go through all of it too, so their places are calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.evaluation.influence_estimate import SMALLEST_VARIANCE
from expunge.evaluation.verdict import Standing, rank_p
from expunge.evaluation.whitening import FLOOR, RIDGE

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
LOOKS = ("projection", "likelihood", "energy")
FOLDS = 10
FEWEST_OUT = 10
MIXTURE_SHARE = 0.1
SMALLEST = 1e-9


class PoolFit:
    """The law of an unseen record under R pool models.

    Args:
        forget: phi [R, m]; out: bool [R, m], True where the model left the record out; held_out: phi [R, h].
        components: most principal components to regress out (one for 8 models without the record).
    """

    def __init__(self, forget: Array, out: Mask, held_out: Array, components: int) -> None:
        count = out.sum(axis=0)
        self.mean = np.where(out, forget, 0.0).sum(axis=0) / count
        self.held_mean = held_out.mean(axis=0)
        self._line = np.linalg.pinv(np.stack([np.ones_like(self.held_mean), self.held_mean]))
        plain, held = self._off_the_line(forget, held_out)
        self.held_scale = np.maximum(held.std(axis=0), np.sqrt(SMALLEST_VARIANCE))
        k = max(0, min(components, (int(count.min()) - 1) // 8, held.shape[1]))
        self.directions = np.linalg.svd(held / self.held_scale, full_matrices=False)[2][:k].T
        design = self._design(held)
        gram = np.einsum("ri,rj,rk->ijk", out.astype(np.float64), design, design)
        if k:
            per_model = float((design[:, 1:] ** 2).mean())
            gram[:, range(1, k + 1), range(1, k + 1)] += RIDGE * per_model * count[:, None]
        self.slope = np.linalg.solve(gram, (np.where(out, plain, 0.0).T @ design)[..., None])[..., 0]
        residual = np.where(out, plain - design @ self.slope.T, 0.0)
        variance = (residual**2).sum(axis=0) / np.maximum(count - 1 - k, 1)
        self.scale = np.sqrt(np.maximum(variance, max(FLOOR * float(np.median(variance)), SMALLEST_VARIANCE)))

    def lines(self, held_out: Array) -> Array:
        """(intercept, slope) [..., 2] of phi on held-out records [..., h] against the pool's mean there."""
        result: Array = held_out @ self._line
        return result

    def residuals(self, forget: Array, held_out: Array) -> tuple[Array, Array]:
        """Residuals on forget [..., m] and held-out records [..., h], in the pool's standard deviations."""
        plain, held = self._off_the_line(forget, held_out)
        design = self._design(held)
        explained = design[..., 1:] @ self.directions.T
        return (plain - design @ self.slope.T) / self.scale, held / self.held_scale - explained

    def _off_the_line(self, forget: Array, held_out: Array) -> tuple[Array, Array]:
        line = self.lines(held_out)
        a, b = line[..., :1], line[..., 1:]
        return forget - a - b * self.mean, held_out - a - b * self.held_mean

    def _design(self, held: Array) -> Array:
        factors = held / self.held_scale @ self.directions
        return np.concatenate([np.ones((*factors.shape[:-1], 1)), factors], axis=-1)


class _Looks:
    """What one fit sees of a model, given the original."""

    def __init__(self, fit: PoolFit, original: Array, original_held: Array) -> None:
        self.fit = fit
        displacement, self.original_held = fit.residuals(original, original_held)
        self.deviation = displacement - displacement.mean()
        self.variance = max(float((self.deviation**2).mean()), SMALLEST)
        memory, size = self._memory(original[None], original_held[None])
        self.direction = memory[0] * size[0]
        self.displacement = displacement
        self.g0 = float(self.gamma(self.original_held))

    def gamma(self, held_residuals: Array) -> Array:
        """Share of the original's deviations that is there without memory: residuals [q, h] -> [q] in [0, 1]."""
        return np.clip((held_residuals * self.original_held).mean(axis=-1) / self.variance, 0.0, 1.0)

    def _memory(self, forget: Array, held_out: Array) -> tuple[Array, Array]:
        t, u = self.fit.residuals(forget, held_out)
        size = np.sqrt(np.maximum((u**2).mean(axis=-1), SMALLEST))
        return (t - self.gamma(u)[:, None] * self.deviation) / size[:, None], size

    def seen(self, forget: Array, held_out: Array) -> tuple[Array, Array]:
        """What is left to see of models [q, m], [q, h], and the original's displacement in their units: [q, m] each."""
        memory, size = self._memory(forget, held_out)
        return memory, self.direction / size[:, None]


def looks(memory: Array, direction: Array, columns: Mask) -> Array:
    """[3, q] of memory and direction [q, m] on the given columns, bool [q, m]."""
    weight = columns.astype(np.float64)
    size = np.maximum(weight.sum(axis=-1), 1.0)
    length = np.sqrt(np.maximum((weight * direction**2).sum(axis=-1), SMALLEST))
    projection = np.abs((weight * memory * direction).sum(axis=-1)) / length
    ratio = direction * (memory - direction / 2)
    mixture = np.logaddexp(np.log(1 - MIXTURE_SHARE), np.log(MIXTURE_SHARE) + ratio)
    energy = np.maximum((weight * memory**2).sum(axis=-1) / size, SMALLEST)
    return np.stack([projection, (weight * mixture).sum(axis=-1) / np.sqrt(size), np.log(energy) * np.sqrt(size / 2)])


@dataclass(frozen=True)
class PoolPlace:
    """One model's place. ``share``: its position on the line to the original (0 the pool's mean, 1 the original)."""

    score: float
    p_value: float
    place: int
    of: int
    looks: dict[str, float]
    largest: str
    distance: float
    distance_interval: tuple[float, float]
    share: float

    @property
    def standing(self) -> Standing:
        """The same as a ``Standing``."""
        return Standing(self.score, self.p_value)


class PoolDistances:
    """P pool models, fitted in folds; places other models among them.

    Args:
        forget: phi [P, m]; out: bool [P, m], True where the model left the record out; held_out: phi [P, h].
        original, original_held: phi [m], [h] of the model that trained on the records.
        components: of the held-out residuals that are regressed out.

    Raises:
        UsageError: fewer than FOLDS models left out any of the records, or a record is out of fewer than FEWEST_OUT.
    """

    def __init__(
        self, forget: Array, out: Mask, held_out: Array, original: Array, original_held: Array, components: int = 8
    ) -> None:
        judges = np.flatnonzero(out.any(axis=1))
        self.count = len(judges)
        if self.count < FOLDS or int(out.sum(axis=0).min()) < FEWEST_OUT:
            raise UsageError(
                f"{self.count} pool models left out any of the records, and one record is out of {out.sum(0).min()}.",
                f"Train a pool with every record out of at least {FEWEST_OUT} models.",
            )
        self._folds = [np.arange(fold, self.count, FOLDS) for fold in range(FOLDS)]
        self._out = out[judges]
        self._original = original[None], original_held[None]
        self._fits: list[_Looks] = []
        self._own = [np.zeros(self._out.shape), np.zeros(self._out.shape)]
        for fold in self._folds:
            others = np.setdiff1d(np.arange(len(forget)), judges[fold])
            fit = PoolFit(forget[others], out[others], held_out[others], components)
            own = _Looks(fit, original, original_held)
            self._own[0][fold], self._own[1][fold] = own.seen(forget[judges[fold]], held_out[judges[fold]])
            self._fits.append(own)
        self.own = looks(*self._own, self._out)
        self._centre = np.median(self.own, axis=1, keepdims=True)
        self._spread = np.maximum(self.own.std(axis=1, ddof=1, keepdims=True), SMALLEST)
        self.own_scores = self._standardised(self.own).max(axis=0)

    def _standardised(self, values: Array) -> Array:
        result: Array = (values - self._centre) / self._spread
        return result

    @cached_property
    def own_standings(self) -> list[Standing]:
        """Every pool model among the others."""
        scores = self.own_scores
        return [Standing(float(s), rank_p(s, np.delete(scores, k))[1]) for k, s in enumerate(scores)]

    def line(self, held_out: Array) -> tuple[float, float]:
        """(intercept, slope) of one model's phi [h] on held-out records against the pool's mean there."""
        a, b = np.mean([own.fit.lines(held_out) for own in self._fits], axis=0)
        return float(a), float(b)

    def place(self, forget: Array, held_out: Array) -> PoolPlace:
        """One model, phi [m] on the forget records and [h] on the held-out ones."""
        seen = [own.seen(forget[None], held_out[None]) for own in self._fits]
        found = np.zeros_like(self.own)
        for fold, (memory, direction) in zip(self._folds, seen, strict=True):
            found[:, fold] = looks(memory, direction, self._out[fold])
        standardised = self._standardised(found)
        scores = standardised.max(axis=0)
        slack = SMALLEST * np.maximum(1.0, np.abs(scores))
        place = 1 + int((self.own_scores >= scores - slack).sum())
        energies = np.array([(memory**2).mean() for memory, _ in seen])
        half = 1.645 * float(np.sqrt((FOLDS - 1) * energies.var()))
        energy = float(energies.mean())
        share = np.mean([(m * d).sum() / max((d * d).sum(), SMALLEST) for m, d in seen])
        return PoolPlace(
            score=float(scores.mean()),
            p_value=place / (self.count + 1),
            place=place,
            of=self.count + 1,
            looks=dict(zip(LOOKS, found.mean(axis=1).tolist(), strict=True)),
            largest=LOOKS[int(standardised.mean(axis=1).argmax())],
            distance=float(np.sqrt(energy)),
            distance_interval=(float(np.sqrt(max(energy - half, 0.0))), float(np.sqrt(energy + half))),
            share=float(share),
        )

    def halves(self, seed: int) -> list[Standing]:
        """Every pool model once more, made to show the original's memory on a random half of the records.

        A lower bound of the power: a pool model's own noise is larger than that of a model with more data.
        """
        half = np.random.default_rng(seed).random(self._out.shape).argsort(axis=1) % 2 == 0
        memory, direction = self._own
        scores = self._standardised(looks(np.where(half, direction, memory), direction, self._out)).max(axis=0)
        return [Standing(float(s), rank_p(float(s), np.delete(self.own_scores, k))[1]) for k, s in enumerate(scores)]
