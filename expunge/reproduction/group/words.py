"""What do the numbers of the groups say, in sentences? What was measured, what came out, what would change it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from expunge.privacy.rank_correlation import spearman
from expunge.reproduction.config import FEWEST_ORIGINALS
from expunge.reproduction.findings import Estimate, Findings
from expunge.reproduction.group.estimates import (
    CONTRASTS,
    DIFFERENCES,
    SCOPES,
    difference_name,
    kinds,
    partial_name,
    ratio_name,
    spearman_name,
)
from expunge.reproduction.group.measured import ENERGY, LEFT, TIME, Measured
from expunge.reproduction.group.pages import bounds_by_kind

# The smallest difference of rank correlations that the answer speaks of; the rules in the YAML have it, too.
LEAST = 0.1


def world_words(own: Measured, found: Mapping[str, Estimate], missing: Mapping[str, str]) -> tuple[str, ...]:
    """The paragraphs of one world."""
    return (
        _what(own), _correlations(own, found), _time(own, found, missing), _compared(own, found), _estimators(own),
    )  # fmt: skip


def _what(own: Measured) -> str:
    runs = np.arange(own.seeds)
    energy = own.difficulty(ENERGY, runs)
    moved, spread = own.drift()
    count = own.curves[0].oracles.own.shape[1]
    oracles = "an oracle" if count == 1 else f"{count} oracles"
    return (
        f"{own.name}: {len(own.sets)} groups of {len(own.sets[0].rows)} records were forgotten by each of {own.seeds}"
        f" originals, each with {oracles} of its own for each group. Per record the originals lay"
        f" {float(energy.min()):.2g} to {float(energy.max()):.3g} oracle variances from the oracles (S_o/m; below 0 is"
        f" chance around 0). After {own.looks[-1]} steps of fine-tuning the mean phi of held-out records had moved by"
        f" {moved:.2g} from the oracles', whose deviation is {spread:.2g}: such a drift is in every distance left."
    )


def _correlations(own: Measured, found: Mapping[str, Estimate]) -> str:
    parts = []
    for target in (ENERGY, LEFT):
        for scope in SCOPES:
            numbers = [
                f"{predictor} {_told(found.get(spearman_name(own.name, predictor, target, scope)))}"
                for predictor in ("set-level", "worst subset", "mean", "aligned", "classic")
            ]
            parts.append(f"with {target} over {scope}: {', '.join(numbers)}")
    given = found.get(partial_name(own.name, "set-level", "mean", ENERGY))
    other = found.get(partial_name(own.name, "mean", "set-level", ENERGY))
    return (
        f"{own.name}: Spearman's correlation {'; '.join(parts)}. With {ENERGY}, given the mean loss, the set-level loss"
        f" still correlates {_told(given)}; the mean given the set-level loss {_told(other)}."
    )


def _told(estimate: Estimate | None) -> str:
    return "not estimable" if estimate is None else estimate.told(".2f")


def _time(own: Measured, found: Mapping[str, Estimate], missing: Mapping[str, str]) -> str:
    times = own.times(np.arange(own.seeds))
    share = float(times.censored.mean())
    nothing = int((times.steps == 0).sum())
    name = spearman_name(own.name, "set-level", TIME)
    text = (
        f"{own.name}: time to unlearn: {nothing} of {len(own.sets)} groups were within the margin before any step, and"
        f" {share:.0%} were not by the last of {own.looks[-1]} steps."
    )
    if name in missing:
        return f"{text} Rank correlations with it are not estimable here: {missing[name]}."
    return (
        f"{text} Spearman's correlation with it over all sets: set-level {_told(found.get(name))}, mean"
        f" {_told(found.get(spearman_name(own.name, 'mean', TIME)))}, difference"
        f" {_told(found.get(difference_name(own.name, 'set-level', 'mean', TIME)))}."
    )


def _compared(own: Measured, found: Mapping[str, Estimate]) -> str:
    parts = []
    for above, below in CONTRASTS:
        numbers = {
            figure: found.get(ratio_name(own.name, figure, above, below))
            for figure in ("mean loss", "set-level loss", ENERGY, LEFT)
        }
        parts.append(
            f"{above} over {below}: " + ", ".join(f"{figure} {_factor(number)}" for figure, number in numbers.items())
        )
    return (
        f"{own.name}, kinds of groups against each other, as factors (aligned and cancelling, and one class and"
        f" ordinary, are chosen to have the same mean loss): {'; '.join(parts)}."
    )


def _factor(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not estimable"
    low, high = (math.exp(min(end, 700.0)) for end in estimate.interval())
    return f"{math.exp(estimate.value):.2g} [{low:.2g}, {high:.2g}]"


def _estimators(own: Measured) -> str:
    ways = bounds_by_kind(own)
    classic = [way["classic"] for way in ways.values()]
    upper = [way["upper"] for way in ways.values()]
    sizes = f"the rigorous upper bound {min(upper):.2g} to {max(upper):.2g} times, and the classic group bound"
    sizes += f" {min(classic):.1e} to {max(classic):.1e} times"
    if own.full_batch:
        return (
            f"{own.name}: at full batch the set-level loss is exact. By kind of set {sizes} the exact value"
            " (geometric means)."
        )
    leading = [way["leading"] for way in ways.values()]
    simple = [way["simple"] for way in ways.values()]
    sampled = np.array([check["sampled"] for check in own.checks])
    known = np.isfinite(sampled)
    least = min((way["effective"] for way in ways.values() if not math.isnan(way["effective"])), default=math.nan)
    whole = known.all(axis=1)
    agreement = {
        way: spearman([check[way].sum() for check in own.checks], np.where(known, sampled, 0).sum(axis=1))
        for way in ("leading", "simple")
    }
    return (
        f"{own.name}: importance sampling estimated {int(known.sum())} of {known.size} steps (original 0, smallest"
        f" effective sample size {least:.0f}); {int((~known).sum())} are not estimated, and {int(whole.sum())} of"
        f" {len(whole)} sets are whole. Beside it, by kind of set, the norm of the sum gives {min(leading):.2g} to"
        f" {max(leading):.2g} times as much, the worst subset {min(simple):.3g} to {max(simple):.3g}, {sizes}"
        " (geometric means). The ranks of the sets by importance sampling agree with those by the norm of the sum"
        f" (Spearman {agreement['leading']:.2f}) and by the worst subset ({agreement['simple']:.2f})."
    )


def answer(worlds: Sequence[Measured], whole: Findings) -> tuple[str, ...]:
    """The answer over all worlds, its evidence, and what would change it."""
    return _verdict(worlds, whole.estimates), _changes(worlds, whole.estimates)


def _verdict(worlds: Sequence[Measured], found: Mapping[str, Estimate]) -> str:
    readings: dict[str, list[str]] = {}
    by_world = []
    for own in worlds:
        numbers = {scope: found.get(difference_name(own.name, "set-level", "mean", ENERGY, scope)) for scope in SCOPES}
        readings.setdefault(_reading(numbers[SCOPES[0]]), []).append(own.name)
        told = [f"{_told(estimate)} over {scope}" for scope, estimate in numbers.items()]
        classic = found.get(difference_name(own.name, "set-level", "classic", ENERGY))
        by_world.append(f"{own.name} {', '.join(told)}; set-level less classic bound {_told(classic)}")
    overall = "; ".join(f"{reading} ({', '.join(names)})" for reading, names in readings.items())
    return (
        "For groups of equal size, each interval by itself (verdicts are corrected for their number):"
        f" {overall}. What was measured: Spearman's correlation with the energy that the originals remember of a group,"
        f" set-level loss (norm of the sum) less mean loss, with 95 % intervals over originals: {'. '.join(by_world)}."
    )


def _reading(estimate: Estimate | None) -> str:
    if estimate is None:
        return "not estimable"
    if estimate.seeds < FEWEST_ORIGINALS:
        return "too few originals for a claim"
    low, high = estimate.interval()
    if low > LEAST:
        return f"the set-level loss predicts better, its interval above {LEAST:g}"
    if high < -LEAST:
        return f"the mean predicts better, its interval above {LEAST:g}"
    if low > -LEAST and high < LEAST:
        return f"they differ by less than {LEAST:g}"
    if high < LEAST:
        return f"the set-level loss is not better by {LEAST:g}"
    return f"undecided at {LEAST:g}"


def _changes(worlds: Sequence[Measured], found: Mapping[str, Estimate]) -> str:
    parts = []
    for own in worlds:
        shown = found.get(difference_name(own.name, "set-level", "mean", ENERGY))
        names = {kind: difference_name(own.name, "set-level", "mean", ENERGY, f"without {kind}") for kind in kinds(own)}
        left_out = {kind: found[name] for kind, name in names.items() if name in found}
        if shown is None or not left_out:
            continue
        most = max(left_out, key=lambda kind: abs(left_out[kind].value - shown.value))
        rests = " (it rests on them)" if shown.value >= LEAST > left_out[most].value else ""
        values = [estimate.value for estimate in left_out.values()]
        others = [
            f"{better} less {than} {_told(found.get(difference_name(own.name, better, than, ENERGY)))}"
            for better, than in DIFFERENCES[2:]
        ]
        later = found.get(difference_name(own.name, "set-level", "mean", LEFT))
        parts.append(
            f"{own.name}: without the {most} groups the difference is {_told(left_out[most])}{rests}, the largest"
            f" change that leaving out a kind makes (over kinds {min(values):.2f} to {max(values):.2f}); by what is"
            f" left after fine-tuning it is {_told(later)}; other pairs of predictors: {', '.join(others)}"
        )
    if not parts:
        return "What would change the answer: more originals; no difference is estimable here."
    return (
        "What would change the answer: other groups than these (the intervals hold them fixed), and what is called"
        f" difficulty. {'. '.join(parts)}."
    )
