"""How far apart do unlearning and retraining end, when both are driven by the same noise? The sharper bound.

U: T steps on all records, then k without S. R: T + k steps without S. Both start at the same point.

1. One noise for both (a coupling): W_{t+1} - R_{t+1} = [u(W_t) - u(R_t)] - (eta/n) SUM_{x in S} g_x(W_t), with u the
   noiseless update without S, a contraction by kappa. So ||W_T - R_T|| <= B = (eta/n) SUM_t kappa^(T-1-t)
   ||g_S(W_t)||. (Chien et al. 2024b, arXiv 2403.17105, section 3, track the same distance by its worst case.)
2. From two points at distance z, k noisy contractions lead to D_a <= (a/2) z^2 psi_k with psi_k = kappa^(2k) / (2 eta
   sigma^2 SUM_{i<k} kappa^(2i)), either way round: shift reduction, that is privacy amplification by iteration
   (Feldman, Mironov, Talwar, Thakurta 2018, arXiv 1808.10526, section 4; Altschuler and Talwar 2022, arXiv
   2205.13710, section 2) with the shifts h_i that cost least, h_i in proportion to kappa^(k-i).
3. exp((a-1) D_a) is an f-divergence, jointly convex: over the coupling of step 1, exp((a-1) D_a(U||R)) and exp((a-1)
   D_a(R||U)) are both at most E exp( (a(a-1)/2) psi_k B^2 ).
4. B is a function of the training's noise with Lipschitz constant sqrt(v), v = (eta L_S s/n)^2 SUM_l l^2
   kappa^(2l-2), s^2 = 2 eta sigma^2, and EB <= (eta/n) SUM_t kappa^(T-1-t) sqrt(E||g_S(W_t)||^2) (`moments`).
   `concentration` ends it. B never exceeds its worst case either, so the bound is never above the worst-case one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from expunge.unlearning.certified.concentration import log_square_moment
from expunge.unlearning.certified.descent import NoisyDescent
from expunge.unlearning.certified.moments import gradient_moments, lipschitz_of_sum, update_lipschitz
from expunge.unlearning.certified.path import ForgetUnits, simulated_norms
from expunge.unlearning.certified.problem import HeadProblem

Floats = npt.NDArray[np.float64]

_HALVINGS = 200


@dataclass(frozen=True, eq=False)
class CoupledDistance:
    """The distance B of each unit: mean EB at most [u], variance proxy v [u], worst case [u], and kappa, s^2."""

    mean: Floats
    proxy: Floats
    worst: Floats
    kappa: float
    noise_variance: float

    def simulated(self, means: Floats, runs: int, failure: float) -> CoupledDistance:
        """With EB bounded from the mean of `runs` independent simulations, but for a chance of `failure`.

        That mean is a Lipschitz function of independent noise with proxy v/runs, so EB <= mean +
        sqrt(2 v ln(1/failure) / runs), whatever the dimension. The deterministic bound stays where it is less.
        """
        likely = means + np.sqrt(2 * self.proxy * np.log(1 / failure) / runs)
        return replace(self, mean=np.minimum(self.mean, likely))

    def worst_case(self) -> CoupledDistance:
        """The same with nothing known of the records but the gradient bound."""
        return replace(self, mean=self.worst, proxy=np.zeros_like(self.worst))


def coupled_distance(problem: HeadProblem, descent: NoisyDescent, units: ForgetUnits) -> CoupledDistance:
    """Steps 1 and 4 of the module's text."""
    kappa = update_lipschitz(problem, descent)
    scale = descent.learning_rate / len(problem)
    lags = np.arange(descent.steps, dtype=np.float64)
    decay = kappa ** lags[::-1]
    # d/dx of SUM kappa^l: the noise of a step reaches B through l later gradients
    spread = float(((lags * kappa ** np.maximum(lags - 1, 0)) ** 2).sum())
    return CoupledDistance(
        mean=scale * np.sqrt(gradient_moments(problem, descent, units).second) @ decay,
        proxy=(scale * lipschitz_of_sum(problem, units) * descent.step_noise) ** 2 * spread,
        worst=scale * units.records * problem.gradient_bound * decay.sum(),
        kappa=kappa,
        noise_variance=descent.step_noise**2,
    )


def simulated_distance(problem: HeadProblem, descent: NoisyDescent, units: ForgetUnits, runs: int, seed: int) -> Floats:
    """Mean of B over `runs` trainings whose noise is drawn for this alone, [u]."""
    kappa, total = update_lipschitz(problem, descent), np.zeros(len(units.rows))
    for run in range(runs):
        distance = np.zeros_like(total)
        for norms in simulated_norms(problem, descent, units, (seed, run)):
            distance = kappa * distance + descent.learning_rate * norms / len(problem)
        total += distance
    return total / runs


def price(kappa: float, noise_variance: float, steps: int) -> float:
    """psi_k: what k steps leave of a squared distance, per squared unit; inf at k = 0.

    psi_k = kappa^(2k) (1 - kappa^2) / (s^2 (1 - kappa^(2k))).
    """
    if steps == 0:
        return np.inf
    gone = -2 * steps * np.log(kappa)
    return float((1 - kappa**2) / (noise_variance * np.expm1(gone))) if gone < 700 else 0.0


def coupling_divergence(distance: CoupledDistance, order: float, steps: int) -> Floats:
    """Bound on D_a after k steps, in nats, [u]: the same for both directions. inf at k = 0.

    Args:
        order: a > 1, any real.
    """
    if steps == 0:
        return np.full_like(distance.mean, np.inf)
    psi = price(distance.kappa, distance.noise_variance, steps)
    return _divergence(distance, order, np.full_like(distance.mean, psi))


def coupling_steps(distance: CoupledDistance, order: float, target: float) -> Floats:
    """The least k, 1 or more, at which the bound is at most `target` nats; inf where the target is not above 0. [u]"""
    if not target > 0:
        return np.full_like(distance.mean, np.inf)
    # the bound grows with psi: bisect its logarithm between what the worst case allows and where the bound is too big
    low, high = np.full_like(distance.mean, -700.0), np.full_like(distance.mean, 700.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        fits = _divergence(distance, order, np.exp(middle)) <= target
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    stationary = distance.noise_variance / (1 - distance.kappa**2)
    # psi_k <= psi  <=>  kappa^(-2k) >= 1 + 1 / (stationary psi)
    with np.errstate(over="ignore"):
        needed = np.log1p(np.exp(-low) / stationary) / (-2 * np.log(distance.kappa))
    # where nothing fits, however small psi is, no bound on the distance is finite
    return np.where(low > -700.0, np.maximum(np.ceil(needed * (1 - 1e-12)), 1.0), np.inf)


def _divergence(distance: CoupledDistance, order: float, psi: Floats) -> Floats:
    theta = order * (order - 1) / 2 * psi
    likely = log_square_moment(theta, distance.mean, distance.proxy) / (order - 1)
    return np.minimum(likely, order / 2 * psi * distance.worst**2)
