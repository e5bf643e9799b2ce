"""What came out, in sentences made from the numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.loss_paths import GROUPS
from expunge.reproduction.barriers.estimates import FALLS, MEASURES, WITH_CHANCE, Heights, interval_of
from expunge.reproduction.barriers.heights import ENDS
from expunge.reproduction.barriers.models import COUPLINGS
from expunge.reproduction.barriers.tables import Made, grid_gap, said
from expunge.reproduction.config import EVERYWHERE


def world_words(found: Heights, made: Made, reasons: Mapping[str, str]) -> str:
    """One data set's paragraph."""
    return " ".join(
        [
            _setting(found), *(_coupling(found, made, coupling) for coupling in COUPLINGS), _forget(found, made),
            _carriers(found.world, made), *(_fall(found.world, made, reasons, c) for c in WITH_CHANCE),
            _alignment(found.world, made, reasons),
            f"Every second point of the lines alone gives heights at most {grid_gap(found):.1g} nats lower.",
        ]
    )  # fmt: skip


def overall_words(made: Made, reasons: Mapping[str, str], worlds: int) -> str:
    """All data sets together: growth, and falls of what has a rule."""
    growths = [_each(made, f"{EVERYWHERE}: growth of the {{}}, {coupling}", coupling) for coupling in COUPLINGS]
    beyond = [_each(made, f"{EVERYWHERE}: growth beyond the baseline of the {{}}, {c}", c) for c in WITH_CHANCE]
    falls = [
        f"the {measure} ({c}) {', '.join(_fallen(made, reasons, measure, c))}"
        for measure in ("retain barrier", "forget rise")
        for c in WITH_CHANCE
    ]
    where = f"Means over {worlds} data sets" if worlds > 1 else "One data set"
    return (
        f"{where}, with 95 % intervals. Rank correlation of the height between original and oracle with mean privacy"
        f" loss: {'; '.join(growths)}. The same for the excess over the height between two oracles:"
        f" {'; '.join(beyond)}. Share of the hardest sets' height that unlearning removed: {'; '.join(falls)}."
    )


def _fallen(made: Made, reasons: Mapping[str, str], measure: str, coupling: str) -> list[str]:
    words = {
        "fall": "{} by fine-tuning", "fall beyond the control": "{} of it beyond as much training on all records",
        "fall by the rewind": "{} by the rewind",
    }  # fmt: skip
    assert tuple(words) == FALLS
    names = {kind: f"{EVERYWHERE}: {kind} of the {measure}, {coupling}" for kind in FALLS}
    if names["fall"] not in made:
        return [f"not estimable: {reasons[names['fall']]}"]
    return [words[kind].format(said(made[name])) for kind, name in names.items()]


def _each(made: Made, pattern: str, coupling: str) -> str:
    return f"{coupling}: " + ", ".join(f"{measure} {said(made[pattern.format(measure)])}" for measure in MEASURES)


def _setting(found: Heights) -> str:
    loss = found.loss.mean(axis=0)[: found.quantiles]
    return (
        f"{found.world}: {found.originals} originals, {found.quantiles} forget sets of mean privacy loss"
        f" {loss.min():.3g} to {loss.max():.3g} nats."
    )


def _coupling(found: Heights, made: Made, coupling: str) -> str:
    """The barrier on the retain loss, whose ends are about as high as each other."""
    measure = "retain barrier"
    hard, null = found.hard("before", measure, coupling), found.null("before", measure, coupling)
    growth = said(made[f"{found.world}: growth of the {measure}, {coupling}"])
    compared = f"on label-matched random sets {_number(null)}"
    if coupling in WITH_CHANCE:
        compared += f", between two oracles {_number(found.hard('baseline', measure, coupling))}"
    return (
        f"{coupling.capitalize()}: the barrier on the retain loss from the original to oracles of the hardest sets was"
        f" {_number(hard)} nats, {compared}; its rank correlation with privacy loss {growth}."
    )


def _forget(found: Heights, made: Made) -> str:
    ends = found.arrays["ends"][:, found.quantiles - found.hardest : found.quantiles, :, GROUPS.index("forget")]
    mean = dict(zip(ENDS, ends.mean(axis=(0, 1)).tolist(), strict=True))
    gap = abs(mean["oracle"] - mean["original"]) / 2
    barrier, rise = (_each_coupling(found, made, measure) for measure in ("forget barrier", "forget rise"))
    height = float(found.hard("before", "forget rise", "own seed").mean())
    return (
        f"The forget loss of the hardest sets was {mean['original']:.2g} nats in the original, {mean['oracle']:.2g} in"
        f" oracles, {mean['fine-tuned']:.2g} after fine-tuning and {mean['rewound']:.2g} after the rewind. On a line"
        f" between ends so unlike, the barrier above the chord correlated with privacy loss by {barrier}; the rise"
        f" above the mean of the ends by {rise}. Half the difference of the ends is {gap:.2g} nats of that rise's"
        f" {height:.2g} (own seed)."
    )


def _each_coupling(found: Heights, made: Made, measure: str) -> str:
    return ", ".join(f"{said(made[f'{found.world}: growth of the {measure}, {c}'])} ({c})" for c in COUPLINGS)


def _carriers(world: str, made: Made) -> str:
    """Where the excess over chance grows with privacy loss: its slope's interval lies above zero."""
    found = []
    for coupling in COUPLINGS:
        kind = "slope beyond the baseline" if coupling in WITH_CHANCE else "slope"
        for measure in MEASURES:
            slope = made[f"{world}: {kind} of the {measure}, {coupling}"]
            if slope.interval()[0] > 0:
                found.append(f"the {measure}, {coupling} ({said(slope)})")
    return (
        "What lies above the height between two oracles rises with the logarithm of privacy loss, the slope's interval"
        f" (nats an e-fold, not corrected for nine of them) above zero, for {', '.join(found) or 'no measure'}."
    )


def _fall(world: str, made: Made, reasons: Mapping[str, str], coupling: str) -> str:
    told = []
    for measure in ("retain barrier", "forget rise"):
        own = {kind: f"{world}: {kind} of the {measure}, {coupling}" for kind in FALLS}
        if own["fall"] in made:
            fall, control, rewind = (said(made[name]) for name in own.values())
            told.append(
                f"the {measure} fell by {fall} of its height with fine-tuning, by {control} more than with as much"
                f" training on all records, and by {rewind} with the rewind"
            )
        else:
            told.append(f"the {measure}: {reasons[own['fall']]}")
    return f"Hardest sets, {coupling}: {'; '.join(told)}."


def _alignment(world: str, made: Made, reasons: Mapping[str, str]) -> str:
    name = f"{world}: share of the retain barrier that alignment removes, own seed"
    if name not in made:
        return f"Alignment: {reasons[name]}."
    return f"Permutation alignment removes {said(made[name])} of the retain barrier between models of their own seeds."


def _number(values: NDArray[np.float64]) -> str:
    value, low, high = interval_of(values)
    return f"{value:.2g} [{low:.2g}, {high:.2g}]"
