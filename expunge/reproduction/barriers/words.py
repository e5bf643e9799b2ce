"""What came out, in sentences made from the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from expunge.evaluation.loss_paths import GROUPS
from expunge.reproduction.barriers.estimates import FALLS, MEASURES, WITH_CHANCE, Heights
from expunge.reproduction.barriers.heights import ENDS
from expunge.reproduction.barriers.models import COUPLINGS
from expunge.reproduction.barriers.tables import Made, grid_gap, with_interval
from expunge.reproduction.config import EVERYWHERE
from expunge.reproduction.findings import Estimate

# The least that counts: of a rank correlation, and of a height; the rules in the YAML have them, too.
LEAST_GROWTH, LEAST_FALL = 0.5, 0.1


def answer(made: Made, reasons: Mapping[str, str], heights: Sequence[Heights]) -> tuple[str, ...]:
    """What came out for either thing that is called a barrier, over all data sets."""
    worlds = [found.world for found in heights]
    rise, chord = (_judged(made, reasons, measure, worlds) for measure in ("forget rise", "retain barrier"))
    return (
        f"The rise of the forget loss above the mean of the two ends {rise}. {_gap_shares(heights)}".strip(),
        f"The barrier above the chord, on the retain loss, whose ends are alike, {chord}.",
    )


def _judged(made: Made, reasons: Mapping[str, str], measure: str, worlds: Sequence[str]) -> str:
    """Growth and fall over all data sets, in both couplings that have a chance to compare with."""
    grows = {c: made[f"{EVERYWHERE}: growth of the {measure}, {c}"] for c in WITH_CHANCE}
    growth = "; ".join(
        f"{_reading(own, LEAST_GROWTH, 'grow', 'grows')} with privacy loss (rank correlation {own.told('.2g')}, {c})"
        for c, own in grows.items()
    )
    told = []
    for c in WITH_CHANCE:
        fall = made.get(f"{EVERYWHERE}: fall of the {measure}, {c}")
        if fall is None:
            told.append(f"unlearning cannot be judged ({c}: {reasons[f'{EVERYWHERE}: fall of the {measure}, {c}']})")
            continue
        without = [world for world in worlds if f"{world}: fall of the {measure}, {c}" in reasons]
        told.append(
            f"unlearning {_reading(fall, LEAST_FALL, 'lower', 'lowers')} it (by {fall.told('.2g')} of its height, {c}"
            + (f", without {' and '.join(without)}, where none is shown before)" if without else ")")
        )
    return f"{growth}; {'; '.join(told)}"


def _reading(estimate: Estimate, least: float, verb: str, verbs: str) -> str:
    """By the interval alone: by at least what counts, by less than that, or not told."""
    low, high = estimate.interval()
    if low > least:
        return verbs
    if high >= least:
        return f"may or may not {verb}"
    return f"{verbs} by less than counts ({least:g})" if low > 0 else f"does not {verb}"


def _gap_shares(heights: Sequence[Heights]) -> str:
    """How much of the rise is half the difference of the ends' forget losses, hardest sets, own seed."""
    rises = [float(found.hard("before", "forget rise", "own seed").mean()) for found in heights]
    shares = sorted(_gap(found) / rise for found, rise in zip(heights, rises, strict=True) if rise > 0)
    if not shares:
        return ""
    ends = dict.fromkeys((f"{shares[0]:.0%}", f"{shares[-1]:.0%}"))
    return (
        f"Half the difference of the ends is {' to '.join(ends)} of that height"
        " (hardest sets, own seed, by data set): where it is all of it, the line says that the original knows the"
        " records and the oracle does not, and nothing of what lies between."
    )


def _gap(found: Heights) -> float:
    """Half the difference of the forget loss in original and oracle, hardest sets, nats."""
    mean = _ends(found)
    return abs(mean["oracle"] - mean["original"]) / 2


def _ends(found: Heights) -> dict[str, float]:
    """Forget loss at each end, mean over the hardest sets, nats."""
    ends = found.arrays["ends"][:, found.quantiles - found.hardest : found.quantiles, :, GROUPS.index("forget")]
    return dict(zip(ENDS, ends.mean(axis=(0, 1)).tolist(), strict=True))


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


def overall_words(made: Made, reasons: Mapping[str, str], worlds: Sequence[str]) -> str:
    """All data sets together: growth, and falls of what has a rule. `reasons`: those of each data set too."""
    growths = [_each(made, f"{EVERYWHERE}: growth of the {{}}, {coupling}", coupling) for coupling in COUPLINGS]
    beyond = [_each(made, f"{EVERYWHERE}: growth beyond the baseline of the {{}}, {c}", c) for c in WITH_CHANCE]
    falls = [
        f"the {measure} ({c}) {', '.join(_fallen(made, reasons, measure, c, worlds))}"
        for measure in ("retain barrier", "forget rise")
        for c in WITH_CHANCE
    ]
    where = f"Means over {len(worlds)} data sets" if len(worlds) > 1 else "One data set"
    return (
        f"{where}, with 95 % intervals. Rank correlation of the height between original and oracle with mean privacy"
        f" loss: {'; '.join(growths)}. The same for the excess over the height between two oracles:"
        f" {'; '.join(beyond)}. Share of the hardest sets' height that unlearning removed: {'; '.join(falls)}."
    )


def _fallen(made: Made, reasons: Mapping[str, str], measure: str, coupling: str, worlds: Sequence[str]) -> list[str]:
    words = {
        "fall": "{} by fine-tuning", "fall beyond the control": "{} of it beyond as much training on all records",
        "fall by the rewind": "{} by the rewind",
    }  # fmt: skip
    assert tuple(words) == FALLS
    names = {kind: f"{EVERYWHERE}: {kind} of the {measure}, {coupling}" for kind in FALLS}
    if names["fall"] not in made:
        return [f"not estimable: {reasons[names['fall']]}"]
    told = [words[kind].format(made[name].told(".2g")) for kind, name in names.items()]
    without = [world for world in worlds if f"{world}: fall of the {measure}, {coupling}" in reasons]
    return [*told, f"without {' and '.join(without)}, where none is shown before"] if without else told


def _each(made: Made, pattern: str, coupling: str) -> str:
    return f"{coupling}: " + ", ".join(f"{measure} {made[pattern.format(measure)].told('.2g')}" for measure in MEASURES)


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
    growth = made[f"{found.world}: growth of the {measure}, {coupling}"].told(".2g")
    compared = f"on label-matched random sets {with_interval(null)}"
    if coupling in WITH_CHANCE:
        compared += f", between two oracles {with_interval(found.hard('baseline', measure, coupling))}"
    return (
        f"{coupling.capitalize()}: the barrier on the retain loss from the original to oracles of the hardest sets was"
        f" {with_interval(hard)} nats, {compared}; its rank correlation with privacy loss {growth}."
    )


def _forget(found: Heights, made: Made) -> str:
    mean, gap = _ends(found), _gap(found)
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
    return ", ".join(f"{made[f'{found.world}: growth of the {measure}, {c}'].told('.2g')} ({c})" for c in COUPLINGS)


def _carriers(world: str, made: Made) -> str:
    """Where the excess over chance grows with privacy loss: its slope's interval lies above zero."""
    found = []
    for coupling in COUPLINGS:
        kind = "slope beyond the baseline" if coupling in WITH_CHANCE else "slope"
        for measure in MEASURES:
            slope = made[f"{world}: {kind} of the {measure}, {coupling}"]
            if slope.interval()[0] > 0:
                found.append(f"the {measure}, {coupling} ({slope.told('.2g')})")
    return (
        "What lies above the height between two oracles rises with the logarithm of privacy loss, the slope's interval"
        f" (nats an e-fold, not corrected for nine of them) above zero, for {', '.join(found) or 'no measure'}."
    )


def _fall(world: str, made: Made, reasons: Mapping[str, str], coupling: str) -> str:
    told = []
    for measure in ("retain barrier", "forget rise"):
        own = {kind: f"{world}: {kind} of the {measure}, {coupling}" for kind in FALLS}
        if own["fall"] in made:
            fall, control, rewind = (made[name].told(".2g") for name in own.values())
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
    removed = made[name].told(".2g")
    return f"Permutation alignment removes {removed} of the retain barrier between models of their own seeds."
