"""How much of a forget set's influence is left: residual influence and excess, from phi per run and record.

Source: METHOD section 7 ("Residual influence"). With u_i, o_i, x_i the mean phi of record i over unlearned, oracle and
original runs and v_i the oracles' floored variance, the energies S_u, S_o and the cross term C are unbiased;
influence = C / S_o (0 forgotten, 1 untouched) and excess = S_u / S_o (0 forgotten, large for a model that moved
elsewhere). Neither is clipped, and neither is divided where S_o is not clearly above zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

from expunge.errors import UsageError
from expunge.evaluation.influence_estimate import (
    InfluenceEstimate,
    Terms,
    estimate,
    floored_variance,
    noise_over_floored,
)
from expunge.evaluation.settings import EvaluationSettings

Array = NDArray[np.float64]
FEWEST_RUNS = 3


def _runs(name: str, values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or not array.shape[1]:
        raise UsageError(f"phi of the {name} runs has shape {array.shape}.", "Give [runs, records].")
    if len(array) < FEWEST_RUNS:
        raise UsageError(
            f"{len(array)} {name} runs are too few for a bound over runs.",
            f"Give at least {FEWEST_RUNS} (5 for a claim), or use model_influence for a single model.",
        )
    if not np.isfinite(array).all():
        raise UsageError(f"There are NaN or infinite numbers in phi of the {name} runs.", "A model has diverged.")
    return array


def _terms(unlearned: Array, oracle: Array, original: Array, paired: bool, weight: Array, unit_noise: Array) -> Terms:
    """C/m, S_u/m and S_o/m; weight = 1/v and unit_noise = (one oracle's variance)/v, unbiased, both per record."""
    centre = oracle.mean(axis=0)
    noise = unit_noise / len(oracle)
    a, b = unlearned - centre, original - centre

    def energy(runs: Array) -> float:
        unbiased = runs.mean(axis=0) ** 2 - runs.var(axis=0, ddof=1) / len(runs)
        return float((unbiased * weight - noise).mean())

    if paired:
        count = len(a)
        product = (a.sum(axis=0) * b.sum(axis=0) - (a * b).sum(axis=0)) / (count * (count - 1))
    else:
        product = a.mean(axis=0) * b.mean(axis=0)
    return Terms(float((product * weight - noise).mean()), energy(a), energy(b))


class _Jackknife:
    """Standard error and t quantile of a statistic from its delete-one-run values in each independent arm."""

    def __init__(self, arms: list[list[Terms]]) -> None:
        self.arms = arms

    def half_width(self, statistic: str) -> float:
        parts, degrees = [], []
        for arm in self.arms:
            values = np.array([_statistic(terms, statistic) for terms in arm])
            parts.append((len(values) - 1) / len(values) * ((values - values.mean()) ** 2).sum())
            degrees.append(len(values) - 1)
        total = float(np.sum(parts))
        if total == 0:
            return 0.0
        freedom = total**2 / float(np.sum(np.square(parts) / np.array(degrees)))
        return float(t.ppf(0.95, freedom)) * float(np.sqrt(total))


def _statistic(terms: Terms, name: str) -> float:
    if name == "influence":
        return terms.cross / terms.original
    if name == "excess":
        return terms.unlearned / terms.original
    return float(getattr(terms, name))


def residual_influence(
    unlearned: ArrayLike,
    oracle: ArrayLike,
    original: ArrayLike,
    paired: bool = True,
    settings: EvaluationSettings | None = None,
) -> InfluenceEstimate:
    """Influence and excess of a METHOD: phi [runs, records] of the three arms, at least 5 runs an arm for a claim.

    ``paired``: run k of ``unlearned`` started from run k of ``original``, so the cross term leaves the pairs k = l out
    and the jackknife drops both together. Oracles share no seed with either. Bounds: jackknife over runs, weights 1/v
    held fixed, t quantiles with Satterthwaite's degrees of freedom (chosen here; coverage is tested).

    Verdict: pass when the upper bounds of influence and excess are within the margin and the lower bound of influence
    above minus the margin; fail when an interval lies wholly outside; "no measurable influence before or after" when
    both energies are bounded by the margin; else "no power". Divided only where S_o/m is bounded away from zero.

    Raises:
        UsageError: fewer than 3 runs an arm, other records, NaN, unequal paired arms, oracles that do not differ, or an
            oracle given as an unlearned run.
    """
    settings = settings or EvaluationSettings()
    u, o, x = _runs("unlearned", unlearned), _runs("oracle", oracle), _runs("original", original)
    if not u.shape[1] == o.shape[1] == x.shape[1]:
        raise UsageError("The three arms are over different records.", "Give phi of the same records in each.")
    if paired and len(u) != len(x):
        raise UsageError(
            f"{len(u)} unlearned and {len(x)} original runs cannot be paired.",
            "Run k of both must share an original; else say paired=False.",
        )
    for name, arm in (("unlearned", u), ("original", x)):
        if (arm[:, None, :] == o[None, :, :]).all(axis=-1).any():
            raise UsageError(
                f"Identical models: an oracle is among the {name} runs.", "Oracles judge, they are not judged."
            )
    variance, floor = floored_variance(o, settings.variance_floor)
    weight, noise = 1 / variance, noise_over_floored(o.var(axis=0, ddof=1), floor, len(o) - 1)

    def without(a: Array, k: int) -> Array:
        return np.delete(a, k, axis=0)

    oracle_arm = [_terms(u, without(o, k), x, paired, weight, noise) for k in range(len(o))]
    if paired:
        arms = [[_terms(without(u, k), o, without(x, k), True, weight, noise) for k in range(len(u))], oracle_arm]
    else:
        arms = [
            [_terms(without(u, k), o, x, False, weight, noise) for k in range(len(u))],
            [_terms(u, o, without(x, k), False, weight, noise) for k in range(len(x))],
            oracle_arm,
        ]
    full = _terms(u, o, x, paired, weight, noise)
    jackknife = _Jackknife(arms)
    return estimate(
        full,
        jackknife.half_width,
        records=u.shape[1],
        variance_ratio=float((u.var(axis=0, ddof=1) / variance).mean()),
        settings=settings,
        influence=None,
    )


def model_influence(
    unlearned: ArrayLike, oracles: ArrayLike, original: ArrayLike, settings: EvaluationSettings | None = None
) -> InfluenceEstimate:
    """The same figures for ONE unlearned model and its ONE original: phi [m], [R, m], [m] (the MODEL claim).

    A single run does not show its own variance: the oracles' stands for it, in the energies S = SUM [(u - o)^2 / v -
    noise (1 + 1/R)] and in the bounds (the oracles' leave-one-out residuals added to the model's displacement, t with
    R - 1 degrees: records of one run move together, and so do these residuals). The unlearned model may carry the
    original's own noise along, so influence is the projection on the realised displacement, SUM (u - o)(x - o) / SUM
    (x - o)^2, both corrected for the oracle mean's noise: exactly 1 for the untouched original, 0 expected for a
    retrained model; only the new noise counts as uncertain (chosen here). One run's bounds are wide: report them.

    Raises:
        UsageError: shapes, NaN, or fewer than 4 oracles.
    """
    settings = settings or EvaluationSettings()
    o = _runs("oracle", oracles)
    u, x = np.asarray(unlearned, dtype=np.float64), np.asarray(original, dtype=np.float64)
    if u.shape != (o.shape[1],) or x.shape != (o.shape[1],):
        raise UsageError(f"phi has shapes {u.shape}, {o.shape}, {x.shape}.", "Give [m], [R, m] and [m].")
    if not (np.isfinite(u).all() and np.isfinite(x).all()):
        raise UsageError("There are NaN or infinite numbers in phi.", "A model has diverged.")
    count = len(o)
    if count < FEWEST_RUNS + 1:
        raise UsageError(f"{count} oracles are too few.", f"Give at least {FEWEST_RUNS + 1}.")
    variance, floor = floored_variance(o, settings.variance_floor)
    centre = o.mean(axis=0)
    noise = noise_over_floored(o.var(axis=0, ddof=1), floor, count - 1)
    a, b = u - centre, x - centre
    residuals = (o - centre) * count / (count - 1)

    def projection(shift: Array) -> float:
        below = (b * b / variance - noise / count).mean()
        return float((shift * b / variance - noise / count).mean() / below)

    def energy(shift: Array) -> float:
        return float((shift * shift / variance - noise * (1 + 1 / count)).mean())

    def shrunk(shift: Array) -> Array:
        """The displacement scaled to its unbiased energy, so that its own noise is not counted twice."""
        total = float((shift * shift / variance).mean())
        result: Array = shift * np.sqrt(max(energy(shift), 0.0) / total) if total else shift
        return result

    base_a, base_b = shrunk(a), shrunk(b)
    replicas = {
        "influence": [projection(base_a + e) for e in residuals],
        "unlearned": [energy(base_a + e) for e in residuals],
        "original": [energy(base_b + e) for e in residuals],
    }
    full = Terms(float((a * b / variance - noise / count).mean()), energy(a), energy(b))
    quantile = float(t.ppf(0.95, count - 1))
    spread = {name: float(np.std(values, ddof=1)) for name, values in replicas.items()}
    if full.original > 0:
        ratio = full.unlearned / full.original
        spread["excess"] = float(np.hypot(spread["unlearned"], ratio * spread["original"]) / full.original)
    return estimate(
        full,
        lambda name: quantile * spread[name],
        records=o.shape[1],
        variance_ratio=None,
        settings=settings,
        influence=projection(a) if full.original > 0 else None,
    )
