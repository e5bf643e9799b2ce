"""What does training itself reveal, and how fast does noisy fine-tuning wear it off? The log-Sobolev bound.

P(S, a) bounds D_a of the two trainings, and with it of their last weights, from the whole trajectories. One step:
E_Q[(P/Q)^a h] = exp(a ||g_S||^2 eta (a-1) / (4 n^2 sigma^2)) E_tilted[h], where the tilted step has mean Q + a (P -
Q). Over all steps, exactly and for any real a > 1,

    exp((a-1) D_a(trajectories)) = E_tilted exp( a(a-1) eta / (4 n^2 sigma^2) SUM_t ||g_S(W_t)||^2 ),

W noisy descent with the records of S counted a times (forward: trained with S against without) or 1 - a times
(reverse). No Hoelder weights over the steps (METHOD section 3) are needed; the set form is exact (section 5). Then
`moments` under the tilt and `concentration` with F^2 = SUM_t ||g_S(W_t)||^2, Lipschitz L_S s SUM_{j<T-1} kappa^j.

Fine-tuning: after k steps D_a <= kappa^(2k/a) P, that is exp(-kR/a) with R = ln(1 + 2 eta sigma^2/(kappa^2 C)) and C
the stationary log-Sobolev constant 2 eta sigma^2/(1 - kappa^2), so R = -2 ln kappa. Source: Chien et al. 2024 (arXiv
2401.10371), section 3, after Vempala and Wibisono 2019. All laws here start at a point, so their constants stay
below C along training, retraining AND unlearning: the rate is the same in both directions, the loss is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from expunge.unlearning.certified.concentration import log_square_moment
from expunge.unlearning.certified.descent import NoisyDescent
from expunge.unlearning.certified.moments import gradient_moments, lipschitz_of_sum
from expunge.unlearning.certified.path import ForgetUnits
from expunge.unlearning.certified.problem import HeadProblem

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrajectoryLoss:
    """Certified P at one order, in nats: forward D_a(with S || without), reverse, and the worst case of either. [u]"""

    forward: Floats
    reverse: Floats
    worst: Floats

    @classmethod
    def unknown(cls, units: int) -> TrajectoryLoss:
        """Infinite, for where it is not needed."""
        nothing = np.full(units, np.inf)
        return cls(nothing, nothing, nothing)

    def larger(self) -> Floats:
        return np.maximum(self.forward, self.reverse)


def trajectory_loss(problem: HeadProblem, descent: NoisyDescent, units: ForgetUnits, order: float) -> TrajectoryLoss:
    """P(S, a) in both directions, never above the worst case."""
    weight = order * (order - 1) * descent.learning_rate / (4 * len(problem) ** 2 * descent.sigma**2)
    worst = weight * descent.steps * (units.records * problem.gradient_bound) ** 2 / (order - 1)
    found = []
    for tilt in (order - 1, -order):
        moments = gradient_moments(problem, descent, units, tilt)
        with np.errstate(over="ignore", invalid="ignore"):
            reach = (moments.kappa[:, None] ** np.arange(descent.steps - 1)).sum(axis=1)
            proxy = (lipschitz_of_sum(problem, units) * descent.step_noise * reach) ** 2
            mean = np.sqrt(moments.second.sum(axis=1))
            likely = log_square_moment(weight, mean, proxy) / (order - 1)
        found.append(np.minimum(np.nan_to_num(likely, nan=np.inf, posinf=np.inf), worst))
    return TrajectoryLoss(found[0], found[1], worst)


def published_worst_case(problem: HeadProblem, descent: NoisyDescent, units: ForgetUnits, order: float) -> Floats:
    """a |S|^2 M^2 / (m sigma^2 n^2), [u]: Chien et al. 2024, section 3, at stationarity, M the gradient bound.

    Theirs (and their public code's) is 4 a ..., for one record REPLACED by another; removing one at a fixed divisor
    moves a gradient half as far. Beside ours only: no certificate rests on it.
    """
    size = units.records * problem.gradient_bound / (len(problem) * descent.sigma)
    return order * size**2 / problem.strong_convexity


def decayed(loss: Floats, kappa: float, order: float, steps: float) -> Floats:
    """D_a after k steps from a loss at k = 0, in nats."""
    return loss * np.exp(2 * steps * np.log(kappa) / order)


def decay_steps(loss: Floats, kappa: float, order: float, target: float) -> Floats:
    """The least k with kappa^(2k/a) loss <= target; 0 where the loss is there already, inf where target <= 0."""
    if not target > 0:
        return np.full_like(loss, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = order * np.log(loss / target) / (-2 * np.log(kappa))
    return np.where(loss <= target, 0.0, np.ceil(needed * (1 - 1e-12)))
