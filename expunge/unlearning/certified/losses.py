"""Which losses have all their constants? Softmax, logistic and squared, as functions of the outputs z = W x.

Of a loss l(z): `slope` bounds |grad l|, `curvature` the largest eigenvalue of its Hessian H, `frobenius` tr(H_i H_j)
of any two records. How far E grad l(z + u) is from grad l(z), u a centred noise with Cov u <= v I, is bounded in
three ways (`bias_of_sum`), by: `bend`, a b with |grad l(z+u) - grad l(z) - H(z) u| <= b |u|^2; `local_bend`, the same
constant at z for E(u u') instead of |u|^2, with Lipschitz constant `steepness` in z, and `twist`, a bound on the
fourth derivative over 6.

Softmax (K outputs, p = softmax z): grad = p - e_y, |grad|^2 <= 2. H = diag p - p p', u'Hu = Var_p(u) <= (range u)^2/4
<= |u|^2/2. tr H^2 = S2 - 2 S3 + S2^2 with S_k = SUM p^k, and S3 >= S2^2 by Cauchy, so tr H^2 <= S2 - S2^2 <= 1/4. The
third derivative has entries p_i ((u_i - mean)^2 - Var_p(u)), a difference of two non-negative vectors with sum
Var_p(u) each, so its norm is at most sqrt(2) Var_p(u) <= |u|^2/sqrt(2): b = 1/(2 sqrt(2)), and E Var_p(u) <= v tr H
gives the local one, tr H(z)/sqrt(2), whose slope is |2 H p|/sqrt(2) <= 1/sqrt(2). Fourth: the standard deviation of
U^3 - 3 Var U (U the centred u) times that of a unit vector, at most sqrt(1/2); with range r <= sqrt(2)|u| and E U^6
<= .0575 r^6 (the largest of p(1-p)((1-p)^5 + p^5): a convex function on an interval is largest at its ends),
sqrt((.0575 + 3/64)/2) 2^(3/2) < 0.65. Logistic (one output): slope 1, curvature 1/4, |l'''| <= 1/(6 sqrt(3)), |l''''|
<= 1/8. Squared, |z - y|^2/2: curvature 1, nothing beyond, no bound on the slope.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]
LossName = Literal["softmax", "logistic", "squared"]


@dataclass(frozen=True, eq=False)
class LengthSums:
    """sqrt(SUM ||x||^2), sqrt(SUM ||x||^4) and sqrt(SUM ||x||^6) over the records of each unit, [u]."""

    first: Floats
    second: Floats
    third: Floats

    @classmethod
    def of(cls, lengths: Floats) -> LengthSums:
        """Of lengths [u, records]."""
        powers = (np.sqrt((lengths ** (2 * power)).sum(axis=1)) for power in (1, 2, 3))
        return cls(*powers)


@dataclass(frozen=True)
class HeadLoss:
    """A loss of the outputs with its constants; `outputs` of them, of which `free` dimensions matter to its gradient.

    The softmax gradient does not change when a constant is added to all outputs: K - 1 dimensions.
    """

    name: LossName
    outputs: int
    free: int
    slope: float
    curvature: float
    frobenius: float
    bend: float
    steepness: float
    twist: float

    def residuals(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Gradient with respect to the outputs, [n, outputs]; targets int64 [n], or float64 [n, outputs] if squared."""
        if self.name == "squared":
            return logits - targets
        if self.name == "logistic":
            return torch.sigmoid(logits) - targets[:, None].to(logits)
        return torch.softmax(logits, dim=1) - torch.nn.functional.one_hot(targets, self.outputs).to(logits)

    def local_bend(self, logits: Tensor) -> Tensor:
        """b at these outputs, [n]: |E grad l(z + u) - grad l(z)| <= b v up to the fourth derivative."""
        if self.name == "squared":
            return torch.zeros(len(logits), dtype=logits.dtype)
        if self.name == "logistic":
            p = torch.sigmoid(logits[:, 0])
            return (p * (1 - p) * (1 - 2 * p)).abs() / 2
        return (1 - (torch.softmax(logits, dim=1) ** 2).sum(dim=1)) / math.sqrt(2)

    def bias_of_sum(self, variance: Floats, sums: LengthSums, local: Floats | float, moved: Floats) -> Floats:
        """Bound on sqrt(SUM_i |E grad l_i(W x_i) - grad l_i(E W x_i)|^2), shaped as variance.

        Args:
            variance: C; the law of W has a log-Sobolev constant of at most C, so v_i = C ||x_i||^2.
            sums: of the records' lengths. local: sqrt(SUM_i b_i^2 ||x_i||^4), b_i the `local_bend` at weights W_0.
            moved: bound on || E W - W_0 ||.
        """
        if self.bend == 0:
            return np.zeros_like(variance)
        first_order = self.curvature * np.sqrt(self.free * variance) * sums.first
        second_order = self.bend * self.free * variance * sums.second
        # E|u|^4 <= (E|u|^2)^2 + Var |u|^2 <= v^2 (f^2 + 4 f) by Poincare, and E|u|^3 is at most its power 3/4
        cubes = (self.free**2 + 4 * self.free) ** 0.75 * variance**1.5 * sums.third
        nearby = (local + self.steepness * moved * sums.third) * variance + self.twist * cubes
        return np.minimum(np.minimum(first_order, second_order), nearby)


def softmax_loss(classes: int) -> HeadLoss:
    """Cross-entropy over K classes."""
    root = math.sqrt(2)
    return HeadLoss("softmax", classes, classes - 1, root, 0.5, 0.25, 1 / (2 * root), 1 / root, 0.65 / 6)


def logistic_loss() -> HeadLoss:
    """Cross-entropy of two classes with one output, the log odds of class 1."""
    return HeadLoss("logistic", 1, 1, 1.0, 0.25, 1 / 16, 1 / (12 * math.sqrt(3)), 1 / 16, 1 / 48)


def squared_loss(outputs: int) -> HeadLoss:
    """Half the squared distance: ridge regression, whose laws are Gaussian and known exactly."""
    return HeadLoss("squared", outputs, outputs, math.inf, 1.0, float(outputs), 0.0, 0.0, 0.0)
