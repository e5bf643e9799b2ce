"""Do barriers grow with privacy loss, and does unlearning lower them? Estimates over originals of one data set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from expunge.errors import UsageError
from expunge.evaluation.loss_paths import GROUPS
from expunge.reproduction.barriers.heights import FIGURES, WAYS
from expunge.reproduction.barriers.models import COUPLINGS
from expunge.reproduction.config import EVERYWHERE
from expunge.reproduction.findings import Estimate, jackknife, over_seeds

Array = NDArray[np.float64]
# What is read off a line: the group of records and the figure.
MEASURES: Mapping[str, tuple[str, str]] = {
    "retain barrier": ("retain", "height"),
    "forget barrier": ("forget", "height"),
    "forget rise": ("forget", "rise"),
}
WITH_CHANCE = COUPLINGS[:2]


@dataclass(frozen=True, eq=False)
class Heights:
    """Of one world. arrays: those of `measure_heights` with originals first; loss [originals, sets]: mean privacy loss.

    The first `quantiles` sets are the blocks by privacy loss, easiest first, the last `hardest` of them the hard ones;
    label-matched random sets follow. Hard and random sets are the ones that are unlearned.
    """

    world: str
    loss: Array
    arrays: Mapping[str, Array]
    quantiles: int
    hardest: int

    @property
    def originals(self) -> int:
        return len(self.loss)

    @property
    def judged(self) -> str:
        """Aligned where the model's units can be reordered, as in the evidence of a deletion run; else plain."""
        aligned = self.arrays["before"][..., WAYS.index("aligned"), :]
        return "aligned" if np.isfinite(aligned).all() else "plain"

    def of(self, what: str, measure: str, coupling: str, way: str = "") -> Array:
        """[originals, sets], or [originals, sets unlearned, looks] for `looks` and `trained_on`, nats."""
        group, figure = MEASURES[measure]
        place = (COUPLINGS.index(coupling), GROUPS.index(group), WAYS.index(way or self.judged), FIGURES.index(figure))
        return self.arrays[what][(..., *place)]

    def hard(self, what: str, measure: str, coupling: str) -> Array:
        """The same, mean over the hard sets, [originals] or [originals, looks]."""
        first = self.quantiles - self.hardest if what in ("before", "baseline") else 0
        result: Array = self.of(what, measure, coupling)[:, first : first + self.hardest].mean(axis=1)
        return result

    def null(self, what: str, measure: str, coupling: str) -> Array:
        """The same over the label-matched random sets."""
        first = self.quantiles if what in ("before", "baseline") else self.hardest
        result: Array = self.of(what, measure, coupling)[:, first:].mean(axis=1)
        return result


Made = dict[str, Estimate]
Reasons = dict[str, str]


def estimates(found: Heights) -> tuple[Made, Reasons]:
    """Estimates by name, and why others could not be made.

    For each measure and coupling: growth (Spearman with mean privacy loss over the quantile sets), slope (nats an
    e-fold of privacy loss), both beyond the baseline (of the excess over two oracles' own), excess of the hard sets
    over it, and fall: the share of the hard sets' height that is gone after fine-tuning; beyond the control: less what
    went with as much training on all records; by the rewind: after that. A share is taken only where the height is
    above zero with 95 % confidence (as METHOD section 7 divides).
    """
    made: Made = {}
    reasons: Reasons = {}
    for coupling in COUPLINGS:
        for measure in MEASURES:
            where = f"{measure}, {coupling}"
            made |= {
                f"{found.world}: {name} of the {where}": e for name, e in growths(found, measure, coupling).items()
            }
            falls, reason = _falls(found, measure, coupling)
            made |= {f"{found.world}: {name} of the {where}": estimate for name, estimate in falls.items()}
            if reason:
                reasons |= {f"{found.world}: {name} of the {where}": reason for name in FALLS}
    lowered, reason = _lowered_by_alignment(found)
    name = f"{found.world}: share of the retain barrier that alignment removes, own seed"
    return (made | {name: lowered}, reasons) if lowered else (made, reasons | {name: reason})


def growths(found: Heights, measure: str, coupling: str) -> Made:
    """Of one measure and coupling: growth, slope, and both of the excess over two oracles where there is chance."""
    quantile = slice(0, found.quantiles)
    loss = found.loss[:, quantile]
    before, baseline = (found.of(what, measure, coupling)[:, quantile] for what in ("before", "baseline"))
    made = {
        "growth": over_seeds([spearman(*pair) for pair in zip(loss, before, strict=True)]),
        "slope": over_seeds([slope(*pair) for pair in zip(loss, before, strict=True)], "nats"),
    }
    if coupling in WITH_CHANCE:
        excess = found.hard("before", measure, coupling) - found.hard("baseline", measure, coupling)
        made["growth beyond the baseline"] = over_seeds(
            [spearman(*pair) for pair in zip(loss, before - baseline, strict=True)]
        )
        made["slope beyond the baseline"] = over_seeds(
            [slope(*pair) for pair in zip(loss, before - baseline, strict=True)], "nats"
        )
        made["excess over the baseline"] = over_seeds(excess, "nats")
    return made


FALLS = ("fall", "fall beyond the control", "fall by the rewind")


def _falls(found: Heights, measure: str, coupling: str) -> tuple[Made, str]:
    before = found.hard("before", measure, coupling)
    height = over_seeds(before, "nats")
    if not height.interval()[0] > 0:
        return {}, f"no height shown to be above zero before: {height.told(unit=True)}"
    after, control = (found.hard(what, measure, coupling)[:, -1] for what in ("looks", "trained_on"))
    rewound, count = found.hard("rewound", measure, coupling), found.originals
    return {
        "fall": jackknife(lambda own: 1 - after[own].sum() / before[own].sum(), count),
        "fall beyond the control": jackknife(lambda own: (control - after)[own].sum() / before[own].sum(), count),
        "fall by the rewind": jackknife(lambda own: 1 - rewound[own].sum() / before[own].sum(), count),
    }, ""  # fmt: skip


def _lowered_by_alignment(found: Heights) -> tuple[Estimate | None, str]:
    if found.judged == "plain":
        return None, "the hidden units of this model cannot be reordered"
    plain, aligned = (
        found.of("before", "retain barrier", "own seed", way)[:, : found.quantiles].mean(axis=1) for way in WAYS
    )
    if not over_seeds(plain).interval()[0] > 0:
        return None, "no barrier is shown to be above zero without it"
    return jackknife(lambda own: 1 - aligned[own].sum() / plain[own].sum(), found.originals), ""


def overall(made: Mapping[str, Estimate], reasons: Mapping[str, str], worlds: Sequence[str]) -> tuple[Made, Reasons]:
    """The mean over data sets of every estimate that is a correlation or a share, as `EVERYWHERE: ...`.

    A share that could not be estimated on some data sets is the mean over the others.
    """
    kinds = ("growth", "growth beyond the baseline", *FALLS)
    names = [f"{kind} of the {measure}, {c}" for kind in kinds for measure in MEASURES for c in COUPLINGS]
    everywhere: Made = {}
    nowhere: Reasons = {}
    for name in names:
        own = [made[f"{world}: {name}"] for world in worlds if f"{world}: {name}" in made]
        if own:
            everywhere[f"{EVERYWHERE}: {name}"] = averaged(own)
        elif any(f"{world}: {name}" in reasons for world in worlds):
            nowhere[f"{EVERYWHERE}: {name}"] = "; ".join(f"{w}: {reasons[f'{w}: {name}']}" for w in worlds)
    return everywhere, nowhere


def averaged(estimates: Sequence[Estimate]) -> Estimate:
    """Mean of independent estimates; degrees of freedom by Welch and Satterthwaite, seeds summed.

    Raises:
        UsageError: none.
    """
    if not estimates:
        raise UsageError("A mean over data sets needs an estimate of one at least.")
    count = len(estimates)
    variances = [(e.standard_error / count) ** 2 for e in estimates]
    total = sum(variances)
    spread = sum(v**2 / e.degrees for v, e in zip(variances, estimates, strict=True) if e.degrees > 0)
    known = all(e.degrees > 0 for e in estimates) and math.isfinite(total)
    degrees = (total**2 / spread if spread > 0 else sum(e.degrees for e in estimates)) if known else 0.0
    return Estimate(
        value=sum(e.value for e in estimates) / count, standard_error=math.sqrt(total), degrees=degrees,
        seeds=sum(e.seeds for e in estimates), unit=estimates[0].unit,
    )  # fmt: skip


def spearman(x: Array, y: Array) -> float:
    """Rank correlation; 0 where one of them is constant, a barrier of zero at every set say: it does not grow."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def slope(loss: Array, height: Array) -> float:
    """Least-squares slope of the height on ln privacy loss, nats an e-fold."""
    return float(np.polyfit(np.log(loss), height, 1)[0])


def interval_of(values: Array) -> tuple[float, float, float]:
    """Mean over originals with the ends of its 95 % interval; the ends are the mean where there is one original."""
    estimate = over_seeds(values)
    low, high = estimate.interval()
    return (estimate.value, low, high) if math.isfinite(low) else (estimate.value, estimate.value, estimate.value)
