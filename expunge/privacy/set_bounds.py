"""Between which bounds does a forget set's one-step moment lie? Rigorous ones, from its Gram matrix or norms alone.

METHOD section 5. In units of ln A = (a-1) D_a, with K [m, m] the Gram matrix of the gradients over s^2, integer order a
and 0 < q < 1. All of it is chosen here; the proofs:

Below, Jensen's inequality around a law whose moment is known (`set_surrogates`): around the sampling itself it gives
C(a,2) q^2 1'K1, the leading order, which is therefore a bound from below; around a single pattern, the logarithm of
probability times value; around tilted laws, much more.

Above, the moment only grows
* where entries of K grow, as every pattern has a non-negative coefficient for each; in particular where all gradients
  are aligned, K_lm = n_l n_m with n the norms;
* where K grows by a positive semi-definite matrix: that is the Gram matrix of gradients with further coordinates, and
  the mechanism at hand is that one with coordinates left out (data processing).
So K is raised to diag(d) + u u', u >= 0. There X = SUM_l d_l C(k_l, 2) + (T^2 - SUM_i N_i^2)/2, with
N_i = SUM_l u_l x_il and T = SUM_i N_i; and SUM_i N_i^2 is at least SUM_l u_l^2 k_l (no gradient points back) and at
least T^2/a (Cauchy-Schwarz), so at least any mean of the two: a surrogate that lies above X everywhere. It is exact for
one record, for orthogonal gradients, and as q goes to one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from expunge.privacy.set_surrogates import Floats, Surrogate

_MOST_LAWS = 6
_MOST_ROUNDS = 30  # of the mean-field iteration
_MOST_ROUNDS_ALONG = 10  # with a direction, where a round costs an integral
_MIXES = (0.0, 0.5, 1.0)


def upper_bound(gram: Floats, q: float, order: int) -> float:
    """A bound of ln A from above: the least of what raising K in four ways gives."""
    own = np.diag(gram)
    norms = np.sqrt(own)
    scale = np.where(norms > 0, norms, 1.0)
    cosines = gram / np.outer(scale, scale)
    candidates = [(norms, np.zeros_like(own)), _raised_by_entries(cosines, norms)]
    total = float(gram.sum())
    for shared in (np.zeros_like(own), (gram.sum(axis=1) / math.sqrt(total)).clip(min=0) if total > 0 else None):
        if shared is not None:
            rest = cosines - np.outer(shared / scale, shared / scale)
            largest = float(np.linalg.eigvalsh(rest)[-1]) + 1e-12 * len(rest)
            candidates.append((shared, largest * own))
    return min(_moment_above(u, d, q, order) for u, d in candidates)


def aligned_upper_bound(norms: npt.ArrayLike, q: float, order: int) -> float:
    """A bound of ln A from above from the norms over s alone, [m]: all gradients aligned."""
    n = np.asarray(norms, dtype=np.float64)
    return _moment_above(n, np.zeros_like(n), q, order)


def _raised_by_entries(cosines: Floats, norms: Floats) -> tuple[Floats, Floats]:
    """u, d with u_l u_m >= K_lm for all l != m, u small: K raised entry by entry."""
    pairs = cosines.clip(min=0)
    np.fill_diagonal(pairs, 0.0)
    u = np.sqrt(pairs.max(axis=1, initial=0.0)).clip(max=1.0)
    for i in np.argsort(-u):
        if u[i] > 0:
            others = pairs[i] > 0
            u[i] = min(u[i], float((pairs[i, others] / u[others]).max(initial=0.0)) * (1 + 1e-12))
    return norms * u, norms**2 * (1 - u**2).clip(min=0)


def _moment_above(u: Floats, d: Floats, q: float, order: int) -> float:
    """The least moment over the mixes of the two bounds of SUM_i N_i^2, and that of the full batch."""
    k = np.arange(order + 1)
    pairs = k * (k - 1) / 2
    # at q = 1 all copies hold everything; with no negative entry the moment grows with q
    best = order * (order - 1) / 2 * (float(u.sum()) ** 2 + float(d.sum()))
    for mix in _MIXES if u.any() else (0.0,):
        energies = d[:, None] * pairs - (1 - mix) / 2 * u[:, None] ** 2 * k
        best = min(best, Surrogate(energies, math.sqrt(1 - mix / order) * u, q).log_moment)
    return best


def lower_bound(gram: Floats, surrogates: Sequence[Surrogate], q: float, order: int) -> float:
    """A bound of ln A from below: the largest that the surrogates, the sampling itself or one pattern give."""
    pairs = order * (order - 1) / 2
    bounds = [pairs * q**2 * float(gram.sum()), _largest_term(gram, q, order)[0]]
    bounds += [surrogate.log_moment + surrogate.mean_gap(gram) for surrogate in surrogates]
    return max(0.0, *bounds)


def tilted_laws(gram: Floats, q: float, order: int, starts: Sequence[Floats] = ()) -> list[Surrogate]:
    """Laws close to the one proportional to exp(X), nearest first: what is drawn from, and what bounds from below.

    Records in each other's mean field, found by iteration from the sampling itself, from everything included, from the
    largest single pattern and from `starts` (shares of the copies that hold each record, [m]); and the same with one
    direction of the gradients kept exactly: that of the sum, and those of the two largest eigenvectors.
    """
    nothing, everything = np.zeros(len(gram)), np.ones(len(gram))
    largest = _largest_term(gram, q, order)[1]
    laws = [_in_mean_field(gram, nothing, q, order, start) for start in (nothing, everything, largest, *starts)]
    directions = []
    total = float(gram.sum())
    if total > 0:
        directions.append(gram.sum(axis=1) / math.sqrt(total))
    if len(gram) > 1:
        values, vectors = np.linalg.eigh(gram)
        directions += [math.sqrt(values[i]) * vectors[:, i] for i in (-1, -2) if values[i] > 1e-9 * values[-1]]
    laws += [_in_mean_field(gram, u, q, order, start) for u in directions for start in (nothing, largest, *starts)]
    ranked = sorted(((law.log_moment + law.mean_gap(gram), i) for i, law in enumerate(laws)), reverse=True)
    # laws with the same bound are the same law, or as good
    kept = [n for n, (bound, _) in enumerate(ranked) if n == 0 or bound < ranked[n - 1][0] * (1 - 1e-9) - 1e-300]
    return [laws[ranked[n][1]] for n in kept[:_MOST_LAWS]]


def _in_mean_field(gram: Floats, u: Floats, q: float, order: int, start: Floats) -> Surrogate:
    """The law that keeps the gradients' components u [m] along one direction; the rest enters as a mean field.

    The best iterate of the mean-field equations from `start`, the share of copies that hold each record, [m].
    """
    k = np.arange(order + 1)
    # on average over which copies they are, SUM_i N_i^2 is T^2/a + SUM_l u_l^2 k_l (1 - k_l/a): see the module
    alone = (np.diag(gram) - u**2)[:, None] * (k * (k - 1) / 2) - u[:, None] ** 2 / 2 * (k * (1 - k / order))
    slopes = math.sqrt(1 - 1 / order) * u
    between = (1 - 1 / order) * (gram - np.outer(u, u))
    np.fill_diagonal(between, 0.0)
    means = order * start
    best, best_bound = None, -math.inf
    for _ in range(_MOST_ROUNDS_ALONG if u.any() else _MOST_ROUNDS):
        law = Surrogate(alone + (between @ means)[:, None] * k, slopes, q)
        bound = law.log_moment + law.mean_gap(gram)
        if best is None or bound > best_bound + 1e-12 * abs(bound):
            best, best_bound = law, bound
        following = (means + law.mean_counts()) / 2  # damped: fields of opposite sign would oscillate
        if np.abs(following - means).max() < 1e-6 * order:
            break
        means = following
    assert best is not None
    return best


def _largest_term(gram: Floats, q: float, order: int) -> tuple[float, Floats]:
    """The best pattern found in which all copies hold the same records: ln of probability times value, and it [m]."""
    pairs = order * (order - 1) / 2
    odds = order * (math.log(q) - math.log1p(-q))
    best, best_x = -math.inf, np.zeros(len(gram))
    for x in (np.ones(len(gram)), (pairs * np.diag(gram) + odds > 0).astype(np.float64)):
        for _ in range(2 * len(gram)):
            gain = pairs * (2 * (1 - 2 * x) * (gram @ x) + np.diag(gram)) + (1 - 2 * x) * odds
            i = int(np.argmax(gain))
            if gain[i] <= 0:
                break
            x[i] = 1 - x[i]
        chance = x.sum() * math.log(q) + (1 - x).sum() * math.log1p(-q)
        value = pairs * float(x @ gram @ x) + order * float(chance)
        if value > best:
            best, best_x = value, x
    return best, best_x
