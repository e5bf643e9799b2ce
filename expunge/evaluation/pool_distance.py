"""How far is one model from pool models that left the records out? No pool model left all of them out: a patchwork.

Every pool model is judged on the forget records that it left out, by a fit to the other models that left them out, and
the model in question by the same fits (``pool_residuals``). What the mirror shows, held-out records like the forget
records, is not memory and is taken out: more data moves each record its own way, in the original and in a retrained
model alike, and a model made from the original keeps some of its noise. So gamma times the original's deviation from
its mean is subtracted, gamma the mean product of the model's and the original's residuals on the mirror over the
original's variance on the forget records; and what is left is divided by the model's root mean square on the mirror.

Looked at as in ``distance``: along the original's displacement, for a few records that are remembered whole, in any
direction. Two models contest on the records that both left out: the one with the larger standardised look is farther.
A pool model contests with all others, the model in question with all pool models; the p-value is its place among them
by the share of contests in which the other was nearer, so that like is compared with like on the same records.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.evaluation.pool_residuals import PoolFit, PoolRows
from expunge.evaluation.verdict import Standing, rank_p

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
LOOKS = ("projection", "likelihood", "energy")
FOLDS = 10
FEWEST_OUT = 10
MIXTURE_SHARE = 0.1
SMALLEST = 1e-9


class _Seen:
    """What one fit sees of a model, given the original's phi [n]."""

    def __init__(self, fit: PoolFit, original: Array) -> None:
        self.fit = fit
        displacement, mirror = fit.residuals(original[None])
        self.mirror = mirror[0]
        self.deviation = displacement[0] - displacement[0].mean()
        self.variance = max(float((self.deviation**2).mean()), SMALLEST)
        self.direction = self.of(original[None])[0]

    def of(self, phi: Array) -> Array:
        """What is left of models' phi [q, n]: [q, m], in their own root mean squares on the mirror.

        Where a model's residuals on the mirror go with the original's (correlation rho), the noise of gamma's numerator
        is sqrt(1 + rho^2) times that of unrelated models, and so much is divided by.
        """
        t, mirror = self.fit.residuals(phi)
        product = (mirror * self.mirror).mean(axis=1)
        square = np.maximum((mirror**2).mean(axis=1), SMALLEST)
        rho2 = product**2 / square / max(float((self.mirror**2).mean()), SMALLEST)
        gamma = np.clip(product / self.variance, 0.0, 1.0)
        result: Array = (t - gamma[:, None] * self.deviation) / np.sqrt(square * (1 + rho2))[:, None]
        return result


def looks(memory: Array, direction: Array, own: Mask, other: Mask) -> Array:
    """[3, q, r]: memory and direction [q, m] looked at on the records that own [q, m] and other [r, m] both have."""
    shared = other.T.astype(np.float64)

    def total(values: Array) -> Array:
        result: Array = np.where(own, values, 0.0) @ shared
        return result

    size = np.maximum(own.astype(np.float64) @ shared, 1.0)
    projection = np.abs(total(memory * direction)) / np.sqrt(np.maximum(total(direction**2), SMALLEST))
    ratio = direction * (memory - direction / 2)
    mixture = np.logaddexp(np.log(1 - MIXTURE_SHARE), np.log(MIXTURE_SHARE) + ratio)
    energy = np.maximum(total(memory**2) / size, SMALLEST)
    return np.stack([projection, total(mixture) / np.sqrt(size), np.log(energy) * np.sqrt(size / 2)])


@dataclass(frozen=True)
class _Scale:
    """Centre and spread of each look over pool models, which make looks of one kind comparable."""

    centre: Array
    spread: Array

    @classmethod
    def of(cls, values: Array) -> _Scale:
        """From looks [3, n]."""
        return cls(np.median(values, axis=1), np.maximum(values.std(axis=1, ddof=1), SMALLEST))

    def standardised(self, found: Array) -> Array:
        shape = (-1, *(1,) * (found.ndim - 1))
        result: Array = (found - self.centre.reshape(shape)) / self.spread.reshape(shape)
        return result

    def largest(self, found: Array) -> Array:
        """The largest standardised look of each: [3, ...] -> [...]."""
        result: Array = self.standardised(found).max(axis=0)
        return result


@dataclass(frozen=True)
class PoolPlace:
    """One model's place.

    nearer: share of contests in which the pool model is nearer. distance: root mean square of what is left. share: the
    model's position on the line to the original (0 the pool, 1 the original). largest: the look that is.
    """

    nearer: float
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
        return Standing(self.nearer, self.p_value)


class PoolDistances:
    """P pool models, fitted in folds; places other models among them.

    Args:
        pool: phi [P, n] on all records; out: bool [P, n], True where the model left the record out.
        original: phi [n] of the model that trained on the records; rows: which records play which part.
        components: of the held-out residuals that are regressed out.

    Raises:
        UsageError: fewer than FOLDS models left out any of the records, or a record is out of fewer than FEWEST_OUT.
    """

    def __init__(self, pool: Array, out: Mask, original: Array, rows: PoolRows, components: int = 8) -> None:
        judged = out[:, rows.judged_pattern]
        judges = np.flatnonzero(judged.any(axis=1))
        self.count = len(judges)
        if self.count < FOLDS or int(judged.sum(axis=0).min()) < FEWEST_OUT:
            raise UsageError(
                f"{self.count} pool models left out any of the records, and one is out of {judged.sum(axis=0).min()}.",
                f"Train a pool with every record out of at least {FEWEST_OUT} models.",
            )
        self._out = judged[judges]
        self._all = np.ones_like(self._out[:1])
        self._folds = [np.arange(fold, self.count, FOLDS) for fold in range(FOLDS)]
        self._fits: list[_Seen] = []
        self._memory, self._direction = np.zeros(self._out.shape), np.zeros(self._out.shape)
        for fold in self._folds:
            others = np.setdiff1d(np.arange(len(pool)), judges[fold])
            seen = _Seen(PoolFit(pool[others], out[others], rows, components), original)
            self._memory[fold] = seen.of(pool[judges[fold]])
            self._direction[fold] = seen.direction
            self._fits.append(seen)
        self._own = looks(self._memory, self._direction, self._out, self._all)[..., 0]
        shared = self._out.astype(np.int64) @ self._out.T.astype(np.int64)
        self._shared = (shared > 0) & ~np.eye(self.count, dtype=bool)
        pairs = looks(self._memory, self._direction, self._out, self._out)
        self._pair_scale = _Scale.of(pairs[:, self._shared])
        self._scores = self._pair_scale.largest(pairs)
        self.own_nearer = self._contests(self._scores)

    def _contests(self, scores: Array) -> Array:
        """[P] from scores [P, P], of each model on the records it shares with each pool model."""
        nearer = (scores - SMALLEST > self._scores.T) & self._shared
        result: Array = nearer.sum(axis=1) / np.maximum(self._shared.sum(axis=1), 1)
        return result

    def _among_the_others(self, nearer: Array) -> list[Standing]:
        return [Standing(float(v), rank_p(float(v), np.delete(self.own_nearer, k))[1]) for k, v in enumerate(nearer)]

    @cached_property
    def own_standings(self) -> list[Standing]:
        """Every pool model among the others."""
        return self._among_the_others(self.own_nearer)

    def halves(self, seed: int) -> list[Standing]:
        """Every pool model once more, made to show the original's memory on a random half of the records.

        A lower bound of the power: a pool model's own noise is larger than that of a model with more data.
        """
        half = np.random.default_rng(seed).random(self._out.shape).argsort(axis=1) % 2 == 0
        memory = np.where(half, self._direction, self._memory)
        found = looks(memory, self._direction, self._out, self._out)
        return self._among_the_others(self._contests(self._pair_scale.largest(found)))

    def line(self, phi: Array) -> tuple[float, float]:
        """(intercept, slope) of one model's phi [n] on held-out records against the pool's mean there."""
        a, b = np.mean([seen.fit.line(phi[None])[0] for seen in self._fits], axis=0)
        return float(a), float(b)

    def place(self, phi: Array) -> PoolPlace:
        """One model, phi [n] on all records."""
        memories = np.concatenate([seen.of(phi[None]) for seen in self._fits])
        found = np.zeros_like(self._own)
        for fold, memory, seen in zip(self._folds, memories, self._fits, strict=True):
            found[:, fold] = looks(memory[None], seen.direction[None], self._all, self._out[fold])[:, 0]
        # One scale for both, the model's own looks among the pool's: else it would look farther than one of the pool.
        scale = _Scale.of(np.column_stack([self._own, found.mean(axis=1)]))
        nearer = float((scale.largest(self._own) < scale.largest(found) - SMALLEST).mean())
        place, p_value = rank_p(nearer, self.own_nearer)
        energies = (memories**2).mean(axis=1)
        energy, half = float(energies.mean()), 1.645 * float(np.sqrt((FOLDS - 1) * energies.var()))
        directions = np.stack([seen.direction for seen in self._fits])
        lengths = np.maximum((directions**2).sum(axis=1), SMALLEST)
        return PoolPlace(
            nearer=nearer,
            p_value=p_value,
            place=place,
            of=self.count + 1,
            looks=dict(zip(LOOKS, found.mean(axis=1).tolist(), strict=True)),
            largest=LOOKS[int(scale.standardised(found).mean(axis=1).argmax())],
            distance=float(np.sqrt(energy)),
            distance_interval=(float(np.sqrt(max(energy - half, 0.0))), float(np.sqrt(energy + half))),
            share=float(((memories * directions).sum(axis=1) / lengths).mean()),
        )
