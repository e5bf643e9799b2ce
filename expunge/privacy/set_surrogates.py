"""What is close to a forget set's moment, and can be summed exactly? A surrogate in which records are independent.

METHOD section 5: x_i in {0,1}^m is the subset of the set drawn by copy i of a, K [m, m] the Gram matrix of the
gradients over s^2, and the moment is A = E exp(X), X = SUM_{i<j} x_i' K x_j, over 2^(a m) patterns. With k_l the number
of copies that hold record l, a surrogate replaces X by

    Y = SUM_l e_l(k_l) + (SUM_l v_l k_l)^2 / 2,

an energy per record and one direction that all records share. As exp(T^2/2) = E exp(z T) for z ~ N(0, 1), records are
independent given z, and E exp(Y) is one integral of a product over records. A surrogate serves three ends: where Y >= X
its moment is an upper bound; by Jensen's inequality ln A >= ln E exp(Y) + E_Y[X - Y], with the expectation under the
law proportional to exp(Y), a lower bound; and that law can be drawn from: the tilted inclusion of importance sampling.
Chosen here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

# exp(Y - z^2/2) is a sum of Gaussians in z of deviation 1 with positive weights, for which the trapezoid rule errs by
# 2 exp(-2 pi^2 / spacing^2), here 1e-17
_SPACING = 0.7
_REACH = 9.0  # deviations kept beyond the outermost centre: the rest weighs 1e-18
_NEGLIGIBLE = 45.0  # of the logarithm
_FEW_NODES = 256
_CELLS_PER_CHUNK = 1 << 14


@dataclass(frozen=True, eq=False)
class Surrogate:
    """energies e_l(k) [m, a+1], e_l(0) = 0; slopes v [m]; q in (0, 1), at which each copy draws each record."""

    energies: Floats
    slopes: Floats
    q: float

    @property
    def copies(self) -> int:
        """The order a."""
        return self.energies.shape[1] - 1

    @property
    def log_moment(self) -> float:
        """ln E exp(Y), to about 1e-13 relative also where it is tiny."""
        return self._integral[2]

    def mean_gap(self, gram: Floats) -> float:
        """E[X - Y] under the law proportional to exp(Y)."""
        z, share, _ = self._integral
        kept = np.flatnonzero(share > 1e-17)
        a = self.copies
        k = np.arange(a + 1)
        alone = np.diag(gram)[:, None] * (k * (k - 1) / 2) - self.energies - self.slopes[:, None] ** 2 * k**2 / 2
        # the copies that hold l and m are drawn independently: E[SUM_{i != j} x_il x_jm] = k_l k_m (1 - 1/a)
        between = (1 - 1 / a) * gram - np.outer(self.slopes, self.slopes)
        np.fill_diagonal(between, 0.0)
        total = 0.0
        for rows, table in self._tables(z[kept]):
            means = table @ k.astype(np.float64)
            gaps = (table * alone).sum(axis=(1, 2)) + (means @ between * means).sum(axis=1) / 2
            total += float(gaps @ share[kept[rows]])
        return total

    def mean_counts(self) -> Floats:
        """E[k_l] under the law proportional to exp(Y), [m]."""
        z, share, _ = self._integral
        kept = np.flatnonzero(share > 1e-17)
        total = np.zeros(len(self.slopes))
        for rows, table in self._tables(z[kept]):
            total += share[kept[rows]] @ (table @ np.arange(self.copies + 1.0))
        return total

    def energy(self, counts: Counts) -> Floats:
        """Y of patterns with these counts [draws, m], [draws]."""
        result: Floats = self.energies[np.arange(counts.shape[1]), counts].sum(axis=1) + (counts @ self.slopes) ** 2 / 2
        return result

    def draw_counts(self, draws: int, generator: np.random.Generator) -> Counts:
        """Counts [draws, m] from the law proportional to exp(Y); which copies they are is then uniform."""
        z, share, _ = self._integral
        per_node = generator.multinomial(draws, share)
        used = np.flatnonzero(per_node)
        counts = np.zeros((draws, len(self.slopes)), dtype=np.int64)
        end = 0
        for rows, table in self._tables(z[used]):
            for many, below in zip(per_node[used[rows]], np.cumsum(table, axis=2)[:, :, :-1], strict=True):
                uniform = generator.random((many, len(self.slopes)))
                for k in range(self.copies):
                    counts[end : end + many] += uniform > below[:, k]
                end += many
        return counts

    @cached_property
    def _integral(self) -> tuple[Floats, Floats, float]:
        """Nodes z, their shares of the integral, and its logarithm."""
        if not self.slopes.any():
            return np.zeros(1), np.ones(1), float(self._log_products(np.zeros(1))[0])
        z = self._where_it_matters()
        log_weight = -(z**2) / 2 + math.log(_SPACING / math.sqrt(2 * math.pi))
        inner = self._log_products(z)
        logs = inner + log_weight
        peak = float(logs.max())
        shares = np.exp(logs - peak)
        total = peak + math.log(math.fsum(shares))
        if abs(total) < 0.5:  # one and a little: add up the little
            weight = np.exp(log_weight)
            small = np.abs(inner) < 1
            excess = np.where(small, weight * np.expm1(np.where(small, inner, 0.0)), np.exp(logs) - weight)
            total = math.log1p(math.fsum(excess))
        return z, shares / shares.sum(), total

    def _where_it_matters(self) -> Floats:
        """The nodes of the trapezoid rule, without those that weigh nothing beside the largest.

        The logarithm of the product over records is convex in z, so in an interval it lies below its chord.
        """
        low = math.floor((self.copies * self.slopes.clip(max=0).sum() - _REACH) / _SPACING)
        high = math.ceil((self.copies * self.slopes.clip(min=0).sum() + _REACH) / _SPACING)
        if high - low <= _FEW_NODES:
            return np.arange(low, high + 1) * _SPACING
        edges = np.unique(np.linspace(low, high, 65).astype(np.int64))
        cells = np.stack([edges[:-1], edges[1:]], axis=1)
        allowance = _NEGLIGIBLE + math.log(high - low)
        known: dict[int, float] = {}
        while True:
            new = [int(e) for e in np.unique(cells) if int(e) not in known]
            known |= zip(new, self._log_products(np.array(new) * _SPACING).tolist(), strict=True)
            peak = max(value - (e * _SPACING) ** 2 / 2 for e, value in known.items())
            ends = cells * _SPACING
            values = np.array([[known[int(e)] for e in cell] for cell in cells])
            slope = (values[:, 1] - values[:, 0]) / (ends[:, 1] - ends[:, 0])
            best = np.clip(slope, ends[:, 0], ends[:, 1])
            bound = values[:, 0] + slope * (best - ends[:, 0]) - best**2 / 2
            cells = cells[bound > peak - allowance - 1e-12 * abs(peak)]
            wide = cells[:, 1] - cells[:, 0] > 16
            if not wide.any():
                return np.unique(np.concatenate([np.arange(a, b + 1) for a, b in cells])) * _SPACING
            middle = cells[wide].sum(axis=1) // 2
            halves = [np.stack([cells[wide, 0], middle], 1), np.stack([middle, cells[wide, 1]], 1)]
            cells = np.concatenate([cells[~wide], *halves])

    def _log_products(self, z: Floats) -> Floats:
        """SUM_l ln E exp(e_l(k_l) + z v_l k_l), k_l binomial, [z]; 0 and a little is kept to full precision."""
        result = np.empty(len(z))
        log_binomial = self._log_binomial
        for rows in self._chunks(z):
            exponents = self._exponents(z[rows])
            with np.errstate(over="ignore", invalid="ignore"):  # an infinity times a weight of 0 is not used
                excess = np.expm1(exponents) @ np.exp(log_binomial)
                direct = (excess > -0.5) & np.isfinite(excess)
                logs = np.log1p(np.where(direct, excess, 0.0))
            if not direct.all():
                logs[~direct] = _log_sum_exp(exponents[~direct] + log_binomial)
            result[rows] = logs.sum(axis=1)
        return result

    def _tables(self, z: Floats) -> Iterator[tuple[slice, Floats]]:
        """P(k_l = k | z) [some z, m, a+1], chunk by chunk."""
        for rows in self._chunks(z):
            logs = self._exponents(z[rows]) + self._log_binomial
            table = np.exp(logs - logs.max(axis=2, keepdims=True))
            yield rows, table / table.sum(axis=2, keepdims=True)

    def _exponents(self, z: Floats) -> Floats:
        return self.energies + z[:, None, None] * (self.slopes[:, None] * np.arange(self.copies + 1))

    def _chunks(self, z: Floats) -> list[slice]:
        size = max(1, _CELLS_PER_CHUNK // self.energies.size)
        return [slice(start, min(start + size, len(z))) for start in range(0, len(z), size)]

    @property
    def _log_binomial(self) -> Floats:
        a, q = self.copies, self.q
        return np.array([math.log(math.comb(a, k)) + k * math.log(q) + (a - k) * math.log1p(-q) for k in range(a + 1)])


def _log_sum_exp(logs: Floats) -> Floats:
    peak = logs.max(axis=-1, keepdims=True)
    result: Floats = peak[..., 0] + np.log(np.exp(logs - peak).sum(axis=-1))
    return result
