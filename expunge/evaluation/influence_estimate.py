"""An estimate of influence and excess: when to divide, its bounds, its verdict, and the noise of the oracles' mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.evaluation.settings import EvaluationSettings

Array = NDArray[np.float64]
InfluenceVerdict = Literal["pass", "fail", "no measurable influence before or after", "no power"]
NOTHING: InfluenceVerdict = "no measurable influence before or after"
SMALLEST_VARIANCE = 1e-12


@dataclass(frozen=True)
class InfluenceEstimate:
    """Influence and excess with one-sided 95 % bounds (``low`` and ``high`` together hold 90 %).

    ``energy`` is S_o/m and ``energy_unlearned`` S_u/m, both in units of the oracles' variance per record, ``cross`` is
    C/m: over many sets divide the sums of these, weighted by ``records``. ``variance_ratio`` is var_u / v. influence
    and excess are None where the energy forbids dividing; ``reason`` says why the verdict is what it is.
    """

    influence: float | None
    influence_low: float | None
    influence_high: float | None
    excess: float | None
    excess_low: float | None
    excess_high: float | None
    energy: float
    energy_low: float
    energy_high: float
    energy_unlearned: float
    energy_unlearned_low: float
    energy_unlearned_high: float
    cross: float
    variance_ratio: float | None
    records: int
    verdict: InfluenceVerdict
    reason: str

    @property
    def direction(self) -> Literal["toward", "beyond", "elsewhere"]:
        """Where a model that differs from the oracles lies: toward the original, beyond the oracles, or elsewhere."""
        if self.influence_low is not None and self.influence_low > 0:
            return "toward"
        if self.influence_high is not None and self.influence_high < 0:
            return "beyond"
        return "elsewhere"


@dataclass(frozen=True)
class Terms:
    """C/m, S_u/m and S_o/m of one set of runs."""

    cross: float
    unlearned: float
    original: float


def floored_variance(oracles: Array, floor_share: float = 0.5, floor: float | None = None) -> tuple[Array, float]:
    """The oracles' variance per record, phi [R, m] -> [m], floored at a share of its median (chosen here).

    Raises:
        UsageError: the oracles do not differ at all.
    """
    variance = oracles.var(axis=0, ddof=1)
    if not variance.max() > SMALLEST_VARIANCE:
        raise UsageError("The oracles do not differ from each other.", "Train each with its own seed.")
    if floor is None:
        floor = max(floor_share * float(np.median(variance)), SMALLEST_VARIANCE)
    return np.maximum(variance, floor), floor


def noise_over_floored(variance: Array, floor: float, degrees: int) -> Array:
    """h(s2) with E[h(s2)] = sigma^2 E[1 / max(s2, floor)] for s2 = sigma^2 chi2_k / k: [m] -> [m].

    Dividing the oracles' noise by a variance estimated from the same oracles is biased: for k = 4 the expectation of
    sigma^2 / s2 is 2, not 1, and the error would enter every energy. Integrating the chi-square density by parts gives
    h = 1/f * s2 below the floor f and r + k/(k - 2) (1 - r), r = (f / s2)^(k/2 - 1), above it (derived here; exact for
    Gaussian phi and a fixed floor).
    """
    ratio = floor / np.maximum(variance, floor)
    if degrees == 2:
        above = 1 - np.log(ratio)
    else:
        power = ratio ** (degrees / 2 - 1)
        above = power + degrees / (degrees - 2) * (1 - power)
    result: Array = np.where(variance <= floor, variance / floor, above)
    return result


def estimate(
    full: Terms,
    half_width: Callable[[str], float],
    *,
    records: int,
    variance_ratio: float | None,
    settings: EvaluationSettings,
    influence: float | None,
) -> InfluenceEstimate:
    """Bounds, the rule on when to divide, and the verdict. ``influence`` overrides C / S_o."""
    o_half, u_half = half_width("original"), half_width("unlearned")
    measured = full.original - o_half > settings.energy_needed
    ratio = low = high = excess = excess_low = excess_high = None
    if measured:
        ratio = full.cross / full.original if influence is None else influence
        half = half_width("influence")
        low, high = ratio - half, ratio + half
        excess = full.unlearned / full.original
        half = half_width("excess")
        excess_low, excess_high = excess - half, excess + half
    margin = settings.influence_margin
    if low is not None and high is not None and excess_low is not None and excess_high is not None:
        verdict, reason = _verdict(low, high, excess_low, excess_high, margin)
    elif max(full.original + o_half, full.unlearned + u_half) < margin:
        verdict, reason = NOTHING, f"both energies are below {margin:g} of the oracles' variance"
    elif full.unlearned - u_half > margin:
        verdict, reason = "no power", "the original's energy is not measurable; the unlearned model moved elsewhere"
    else:
        verdict, reason = "no power", "the original's energy is not measurable: more runs or more records are needed"
    return InfluenceEstimate(
        influence=ratio,
        influence_low=low,
        influence_high=high,
        excess=excess,
        excess_low=excess_low,
        excess_high=excess_high,
        energy=full.original,
        energy_low=full.original - o_half,
        energy_high=full.original + o_half,
        energy_unlearned=full.unlearned,
        energy_unlearned_low=full.unlearned - u_half,
        energy_unlearned_high=full.unlearned + u_half,
        cross=full.cross,
        variance_ratio=variance_ratio,
        records=records,
        verdict=verdict,
        reason=reason,
    )


def _verdict(
    low: float, high: float, excess_low: float, excess_high: float, margin: float
) -> tuple[InfluenceVerdict, str]:
    if low > margin:
        return "fail", f"influence is above {margin:g}"
    if high < -margin:
        return "fail", f"influence is below -{margin:g}: over-forgotten"
    if excess_low > margin:
        return "fail", f"excess is above {margin:g}: the model moved elsewhere"
    if high <= margin and low >= -margin and excess_high <= margin:
        return "pass", f"influence and excess are within {margin:g}"
    return "no power", f"the bounds of influence or excess straddle {margin:g}: more runs or records are needed"
