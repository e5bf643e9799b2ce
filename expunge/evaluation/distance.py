"""How far is one model from models that never saw the records? A place among them, from three looks at once.

With t a model's whitened residuals (``whitening``), d those of a model that remembers, W the inverse correlation:

* projection: |d'Wt| / sqrt(d'Wd), along the line to models that remember: what is left everywhere, or overshoots it;
* likelihood: SUM_i ln(1 - share + share exp(l_i)), l_i the log-likelihood ratio of "record i is remembered"
  against "as in an oracle" given all other records: a few records that are remembered whole (higher criticism of sparse
  mixtures; Ingster 1997, Donoho and Jin 2004);
* energy: t'Wt / m, in any direction: a model that moved elsewhere.

Each is standardised by the oracles' own and the largest counts. The p-value is the model's place among the oracles,
cross-conformal (Vovk 2015): each oracle is looked at by a fit that left it out, and the model by the same fit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.evaluation.evidence import Rank
from expunge.evaluation.verdict import Standing, rank_p
from expunge.evaluation.whitening import Whitening

Array = NDArray[np.float64]
LOOKS = ("projection", "likelihood", "energy")
LOOKS_ALONE = ("likelihood of any shift", "energy")
FOLDS = 10
MIXTURE_SHARE = 0.1
SMALLEST_SPREAD = 1e-9


@dataclass(frozen=True)
class Distance:
    """One model's place. ``score``: its largest standardised look; ``energy`` is 1 for an average oracle."""

    score: float
    p_value: float
    place: int
    of: int
    projection: float
    likelihood: float
    energy: float
    energy_interval: tuple[float, float]

    @property
    def distance(self) -> float:
        """Root of the energy: standard deviations of an oracle, averaged over records."""
        return float(np.sqrt(max(self.energy, 0.0)))

    @property
    def standing(self) -> Standing:
        return Standing(self.score, self.p_value)

    @property
    def rank(self) -> Rank:
        return Rank(position=self.place, of=self.of, p_value=self.p_value, distance=self.distance)


def direction_of(half_kept: Array) -> Array:
    """The displacement [FOLDS, m] of a model that remembers everything, from residuals [FOLDS, K, m] of half-kept ones.

    Each kept a random half, so their mean is half of it. The noise is 2 / sqrt(K) of one run's, and a record counts by
    how many of them kept it: on average half, give or take sqrt(K) / 2.
    """
    result: Array = 2 * half_kept.mean(axis=1)
    return result


@dataclass(frozen=True, eq=False)
class OracleFits:
    """R oracles, whitened in folds: what every ``OracleDistances`` of one evaluation shares.

    oracles: phi [R, m] on the forget records; controls: phi [R, h] of the same oracles on held-out records; folds:
    the oracles that each of ``fits`` left out.
    """

    oracles: Array
    controls: Array
    folds: list[NDArray[np.int64]]
    fits: list[Whitening]

    @classmethod
    def of(cls, oracles: Array, controls: Array, components: int = 8) -> OracleFits:
        """``components`` of the control records' phi are regressed out.

        Raises:
            UsageError: fewer than FOLDS oracles.
        """
        count = len(oracles)
        if count < FOLDS:
            raise UsageError(f"{count} oracles are too few to be judged by each other.", f"Give at least {FOLDS}.")
        folds = [np.arange(fold, count, FOLDS) for fold in range(FOLDS)]
        others = [np.setdiff1d(np.arange(count), fold) for fold in folds]
        return cls(
            oracles, controls, folds, [Whitening.fit(oracles[rows], controls[rows], components) for rows in others]
        )

    def on(self, columns: NDArray[np.int64]) -> OracleFits:
        """The same fits for some of the forget records."""
        return replace(self, oracles=self.oracles[:, columns], fits=[fit.on(columns) for fit in self.fits])

    def residuals(self, forget: Array, controls: Array) -> Array:
        """[FOLDS, models, m] of models, phi [models, m] and [models, h], by each fit."""
        return np.stack([fit.residuals(forget, controls) for fit in self.fits])


class OracleDistances:
    """Places models among the oracles, looking along a line: where models lie that remember.

    The line is not the original's own displacement where it can be helped: that holds the accidents of one run, which
    a model made from the original keeps without any memory of the records. ``direction_of`` draws it from models that
    kept half of the records, each with a run of its own. The original itself is placed by ``place_alone``: along a line
    to models that remember every oracle is far from it.

    Args:
        fits: the oracles; direction: [FOLDS, m], by each fit, the displacement of a model that remembers everything.
    """

    def __init__(self, fits: OracleFits, direction: Array) -> None:
        self.count = len(fits.oracles)
        self._folds = fits.folds
        self._looks = [_Looks(fit, line) for fit, line in zip(fits.fits, direction, strict=True)]
        own = np.zeros((len(LOOKS), self.count))
        alone = np.zeros((len(LOOKS_ALONE), self.count))
        for fold, looks in zip(self._folds, self._looks, strict=True):
            own[:, fold] = looks.of(fits.oracles[fold], fits.controls[fold])
            alone[:, fold] = looks.alone(fits.oracles[fold], fits.controls[fold])
        self.own, self.own_alone = own, alone

    @cached_property
    def own_scores(self) -> Array:
        """The oracles' scores [R], each by the fit that left it out."""
        return _largest(self.own, self.own)[1]

    @property
    def own_distances(self) -> Array:
        """The oracles' distances [R]."""
        result: Array = np.sqrt(np.maximum(self.own[LOOKS.index("energy")], 0.0))
        return result

    def place(self, forget: Array, controls: Array) -> Distance:
        """One model, phi [m] on the forget records and [h] on the control records."""
        by_fold = np.stack([looks.of(forget[None], controls[None])[:, 0] for looks in self._looks], axis=1)
        return self._placed(by_fold, *_largest(by_fold, self.own))

    def place_alone(self, forget: Array, controls: Array) -> Distance:
        """The original, phi [m] and [h]: by its energy and by how many records stand out, whatever their sign."""
        by_fold = np.stack([looks.of(forget[None], controls[None])[:, 0] for looks in self._looks], axis=1)
        alone = np.stack([looks.alone(forget[None], controls[None])[:, 0] for looks in self._looks], axis=1)
        return self._placed(by_fold, *_largest(alone, self.own_alone))

    def _placed(self, by_fold: Array, scores: Array, own_scores: Array) -> Distance:
        """A model's place from its scores [FOLDS] by each fit and the oracles' [R]."""
        at_least = sum(rank_p(score, own_scores[fold])[0] - 1 for score, fold in zip(scores, self._folds, strict=True))
        projection, likelihood, energy = (float(value) for value in by_fold.mean(axis=1))
        half = 1.645 * float(np.sqrt((FOLDS - 1) * by_fold[2].var()))
        return Distance(
            score=float(scores.mean()),
            p_value=(1 + at_least) / (self.count + 1),
            place=1 + at_least,
            of=self.count + 1,
            projection=projection,
            likelihood=likelihood,
            energy=energy,
            energy_interval=(max(0.0, energy - half), energy + half),
        )


def _largest(by_fold: Array, own: Array) -> tuple[Array, Array]:
    """Largest standardised look of a model by each fit, [looks, FOLDS] -> [FOLDS], and of the oracles, [R].

    Standardised by the oracles and the model together: by the oracles alone they would look closer to themselves than
    one more oracle does, and the p-value would be too small.
    """
    group = np.column_stack([own, by_fold.mean(axis=1)])
    centre = np.median(group, axis=1, keepdims=True)
    spread = np.maximum(group.std(axis=1, ddof=1, keepdims=True), SMALLEST_SPREAD)
    return ((by_fold - centre) / spread).max(axis=0), ((own - centre) / spread).max(axis=0)


class _Looks:
    """The looks of one fit."""

    def __init__(self, fit: Whitening, direction: Array) -> None:
        self.fit = fit
        self.direction = direction
        self.weights = fit.precision @ direction
        self.length = max(float(np.sqrt(direction @ self.weights)), SMALLEST_SPREAD)
        self.conditional_variance = 1 / np.diag(fit.precision)

    def of(self, forget: Array, controls: Array) -> Array:
        """[3, models] from phi [models, m] and [models, h]."""
        t = self.fit.residuals(forget, controls)
        rotated = t @ self.fit.precision
        projection = np.abs(t @ self.weights) / self.length
        # Given all other records, record i's residual is N(0, v_i) in an oracle and N(d_i, v_i) where it is remembered.
        given_others = rotated * self.conditional_variance
        ratio = self.direction * (given_others - self.direction / 2) / self.conditional_variance
        mixture = np.logaddexp(np.log(1 - MIXTURE_SHARE), np.log(MIXTURE_SHARE) + ratio)
        return np.stack([projection, mixture.sum(axis=-1), (rotated * t).mean(axis=-1)])

    def alone(self, forget: Array, controls: Array) -> Array:
        """[2, models]: the mixture likelihood with each record's shift as it is found, and the energy."""
        t = self.fit.residuals(forget, controls)
        rotated = t @ self.fit.precision
        ratio = (rotated * self.conditional_variance) ** 2 / (2 * self.conditional_variance)
        mixture = np.logaddexp(np.log(1 - MIXTURE_SHARE), np.log(MIXTURE_SHARE) + ratio)
        return np.stack([mixture.sum(axis=-1), (rotated * t).mean(axis=-1)])
