"""What did `rank-sgd` measure and what came out, in sentences made from the numbers?"""

from __future__ import annotations

import math

from expunge.reproduction.findings import Estimate
from expunge.reproduction.rank_sgd.estimates import BEST, after, checkpoints_name, models_name, noise_name
from expunge.reproduction.rank_sgd.hardness import Gathered
from expunge.reproduction.rank_sgd.measured import MATCHED, Measured
from expunge.reproduction.rank_sgd.report import MINUS
from expunge.reproduction.rank_sgd.sets import PRIVACY_LOSS, PROXIES, SCORES, overlap


def answer(found: Measured, numbers: Gathered) -> str:
    """Whether privacy loss found a harder set than chance did and than the best proxy did, and how stable it is."""
    world = found.world.name
    chance = numbers.estimates.get(f"{world}: left, {MINUS} {MATCHED}")
    ratio = numbers.estimates.get(f"{world}: left, privacy loss over {BEST}")
    text = f"{world}: "
    if chance is None:
        text += "the set that privacy loss finds cannot be compared with random records"
    else:
        text += (
            f"{_MORE[_sign(chance)]} is left of the set that privacy loss finds than of label-matched random records"
            f" (a difference of {chance.told()} oracle variances a record)"
        )
    if ratio is None:
        text += "; with the proxies' sets it cannot be compared."
    else:
        low, high = ratio.interval()
        text += (
            f"; {_MORE[_sign(ratio)]} than of the best proxy's ({math.exp(ratio.value):.2g} times as much"
            f" [{math.exp(low):.2g}, {math.exp(high):.2g}]; it is the best of {len(PROXIES)} on these runs, which"
            " favours it)."
        )
    worst = min(numbers.estimates[f"{noise_name(found, pair)}, Spearman"].value for pair in found.noise)
    fewest, most = min(found.options.fewer), max(found.options.fewer)
    few, many = (
        numbers.estimates[f"{checkpoints_name(found, 'even', count)}, Spearman"].value for count in (fewest, most)
    )
    models = numbers.estimates[f"{models_name(found, PRIVACY_LOSS)}, Spearman"].value
    return (
        f"{text} The ranking by privacy loss correlates with itself (Spearman) {worst:.2f} or more over the assumed"
        f" noise, {models:.2f} between two models, {few:.2f} by {fewest} even checkpoints in place of {found.recorded},"
        f" {many:.2f} by {most}."
    )


# By what an interval shows.
_MORE = {1: "more", -1: "less", 0: "neither more nor less, as far as can be told,"}


def _sign(estimate: Estimate) -> int:
    """Of what the 95 % interval shows: 1, -1, or 0 where it holds 0."""
    low, high = estimate.interval()
    return int(low > 0) - int(high < 0)


def words(found: Measured, numbers: Gathered) -> tuple[str, ...]:
    """One paragraph on which sets are harder, one on the attack, one on the stability of the rankings."""
    return (_harder(found, numbers), _attacked(found, numbers), _stable(found, numbers))


def _harder(found: Measured, numbers: Gathered) -> str:
    world, options = found.world.name, found.options
    size, own = len(found.sets[PRIVACY_LOSS]), found.unlearned[PRIVACY_LOSS]
    left = {name: numbers.estimates[f"{world}: left, {name}"] for name in SCORES}
    order = sorted(SCORES, key=lambda name: -left[name].value)
    shared = [overlap(found.sets[PRIVACY_LOSS], found.sets[name]) for name in PROXIES]
    sentences = [
        f"{world}: each score's hardest {size} of {len(found.world.train)} records were unlearned from"
        f" {found.originals} originals by fine-tuning on the rest, each run with {options.oracles} oracles of its own."
        f" The set by privacy loss shares {min(shared):.0%} to {max(shared):.0%} of its records with those of the"
        " proxies.",
        f"Absolute influence left (C/m, mean over the first {found.until:g} trainings of fine-tuning) from most to"
        f" least: {', '.join(f'{name} {left[name].told()}' for name in order)};"
        f" {MATCHED} records {numbers.estimates[f'{world}: left, {MATCHED}'].told()}.",
        _told(
            numbers,
            f"{world}: left, privacy loss over {BEST}",
            "The log ratio of privacy loss's set over the best proxy's is {}",
        ),
        _told(
            numbers,
            f"{world}: share left, {MINUS} {BEST}",
            "In the share of the influence left, privacy loss's set minus the best proxy's is {}",
        ),
        _told(numbers, f"{world}: band time, {MINUS} {BEST}", "In the paper's time to unlearn it is {} trainings"),
        _told(
            numbers,
            f"{world}: influence time, {MINUS} {BEST}",
            "In the time by influence and excess it is {} trainings",
        ),
        f"Accuracy on held-out records went from {own.accuracy[0]:.3f} to {own.accuracy[-1]:.3f} along the runs on"
        f" privacy loss's set; retrained models have {own.retrained:.3f}.",
    ]
    return " ".join(sentences)


def _told(numbers: Gathered, name: str, sentence: str) -> str:
    estimate = numbers.estimates.get(name)
    if estimate is None:
        return f"{sentence.partition('{}')[0].strip()} not estimable: {numbers.not_estimable[name]}."
    return sentence.format(f"{estimate.told()}{_sided(estimate)}") + "."


def _sided(estimate: Estimate) -> str:
    """Whether the 95 % interval tells its sign."""
    return "" if _sign(estimate) else " (its interval holds 0)"


def _attacked(found: Measured, numbers: Gathered) -> str:
    world, last = found.world.name, found.options.costs[-1]
    aucs = {name: numbers.estimates[f"{world}: AUC {after(last)}, {name}"] for name in (*SCORES, MATCHED)}
    before = numbers.estimates[f"{world}: AUC before, {PRIVACY_LOSS}"]
    listed = ", ".join(f"{name} {estimate.told()}" for name, estimate in aucs.items())
    contrast = numbers.estimates[f"{world}: AUC {after(last)}, {MINUS} {BEST}"]
    return (
        f"{world}: U-LiRA with {found.options.shadows} shadow models reads, after {last:g} trainings of fine-tuning,"
        f" AUC {listed}; before it, {PRIVACY_LOSS} {before.told()}. Privacy loss minus the best proxy:"
        f" {contrast.told()}{_sided(contrast)}."
    )


def _stable(found: Measured, numbers: Gathered) -> str:
    spearman = {pair: numbers.estimates[f"{noise_name(found, pair)}, Spearman"] for pair in found.noise}
    worst = min(spearman, key=lambda pair: spearman[pair].value)
    fewest, most = min(found.options.fewer), max(found.options.fewer)

    def by(spacing: str, count: int, what: str) -> str:
        return numbers.estimates[f"{checkpoints_name(found, spacing, count)}, {what}"].told()

    between = {score: numbers.estimates[f"{models_name(found, score)}, Spearman"] for score in SCORES}
    listed = ", ".join(f"{score} {estimate.value:.2f}" for score, estimate in between.items())
    return (
        f"{found.world.name}: over the assumed noise the ranking by privacy loss correlates at least"
        f" {spearman[worst].value:.3f} (Spearman, r0 {worst[0]:g} against {worst[1]:g}). From {fewest} even checkpoints"
        f" instead of {found.recorded}: Spearman {by('even', fewest, 'Spearman')}, hardest in common"
        f" {by('even', fewest, 'hardest shared')}; {fewest} log-spaced: {by('log', fewest, 'Spearman')} and"
        f" {by('log', fewest, 'hardest shared')}; {most} even: {by('even', most, 'Spearman')} and"
        f" {by('even', most, 'hardest shared')}. Between two models, Spearman: {listed}."
    )
