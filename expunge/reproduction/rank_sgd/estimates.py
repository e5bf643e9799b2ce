"""Which numbers of `rank-sgd` can a rule speak of? Every estimate of one data set, by name.

Names begin with the data set. "left" is the absolute influence left (C/m), "share left" the influence (C/S_o), both as
the mean over the costs from 0 to the last; "the best proxy" is the one with the largest figure, whichever that is.
"""

from __future__ import annotations

from expunge.reproduction.findings import Estimate
from expunge.reproduction.rank_sgd.hardness import (
    TRAININGS,
    Gathered,
    Unlearned,
    difference,
    log_ratio,
    per_run,
    too_censored,
)
from expunge.reproduction.rank_sgd.measured import MATCHED, SETS, Measured
from expunge.reproduction.rank_sgd.sets import PRIVACY_LOSS, PROXIES
from expunge.reproduction.rank_sgd.shadow_aucs import auc_contrasts, set_aucs
from expunge.reproduction.rank_sgd.stability import Stability

BEST = "the best proxy"
NOTHING = "the lower 95 % bound of what is remembered of {} is not above .05 of the oracles' variance"


def gathered(found: Measured) -> Gathered:
    """All estimates of one data set, and what could not be estimated."""
    numbers = Gathered({}, {})
    for name in SETS:
        _of_set(numbers, found, name)
    _contrasts(numbers, found)
    _times(numbers, found)
    _attack(numbers, found)
    _stability(numbers, found)
    return numbers


def noise_name(found: Measured, pair: tuple[float, float]) -> str:
    """Of a ranking at one assumed noise against another."""
    return f"{found.world.name}: r0 {pair[0]:g} against {pair[1]:g}"


def checkpoints_name(found: Measured, spacing: str, count: int) -> str:
    """Of a ranking by fewer checkpoints against all."""
    return f"{found.world.name}: {count} {spacing} checkpoints"


def models_name(found: Measured, score: str) -> str:
    """Of a score's rankings by two originals."""
    return f"{found.world.name}: between originals, {score}"


def _of_set(numbers: Gathered, found: Measured, name: str) -> None:
    own, world, runs = found.unlearned[name], found.world.name, found.originals
    nothing = _nothing(own, name)
    numbers.add(f"{world}: remembered, {name}", own.remembered, runs)
    numbers.add(f"{world}: left, {name}", own.left_area(found.until), runs)
    numbers.add(f"{world}: share left, {name}", own.share_area(found.until), runs, unless=nothing)
    for cost in found.options.costs:
        numbers.add(f"{world}: share left at {cost:g}, {name}", own.share_at(cost), runs, unless=nothing)
    numbers.estimates[f"{world}: band time, {name}"] = per_run(own)
    margin = found.options.margin
    numbers.add(f"{world}: influence time, {name}", own.influence_time(margin), runs, TRAININGS)


def _nothing(own: Unlearned, name: str) -> str:
    return "" if own.energies.measurable else NOTHING.format(name)


def _contrasts(numbers: Gathered, found: Measured) -> None:
    """Influence left of the set by privacy loss against each proxy's, and against the label-matched null."""
    world, runs, until = found.world.name, found.originals, found.until
    own = found.unlearned[PRIVACY_LOSS]
    for name, others in _rivals(found).items():
        # The best is chosen among the proxies whose sets hold something.
        held = {key: one for key, one in others.items() if one.energies.measurable}
        nothing = _nothing(own, PRIVACY_LOSS) or ("" if held else NOTHING.format(name))
        ratio = log_ratio(own.left_area(until), {key: one.left_area(until) for key, one in held.items()})
        numbers.add(f"{world}: left, privacy loss over {name}", ratio, runs, "log ratio", unless=nothing)
        apart = difference(own.share_area(until), {key: one.share_area(until) for key, one in held.items()})
        numbers.add(f"{world}: share left, privacy loss minus {name}", apart, runs, unless=nothing)
    null = {MATCHED: found.unlearned[MATCHED].left_area(until)}
    numbers.add(f"{world}: left, privacy loss minus {MATCHED}", difference(own.left_area(until), null), runs)


def _times(numbers: Gathered, found: Measured) -> None:
    world, runs, margin = found.world.name, found.originals, found.options.margin
    own = found.unlearned[PRIVACY_LOSS]
    for name, others in _rivals(found).items():
        band = {key: one.band_time for key, one in others.items()}
        unless = too_censored({PRIVACY_LOSS: own, **others}, found.options.most_censored)
        contrast = f"{world}: band time, privacy loss minus {name}"
        numbers.add(contrast, difference(own.band_time, band), runs, TRAININGS, unless=unless)
        late = [key for key, one in {PRIVACY_LOSS: own, **others}.items() if one.influence_censored(margin)]
        unless = f"{late[0]} is not inside the margin by {own.looks[-1]:g} trainings" if late else ""
        inside = {key: one.influence_time(margin) for key, one in others.items()}
        contrast = f"{world}: influence time, privacy loss minus {name}"
        numbers.add(contrast, difference(own.influence_time(margin), inside), runs, TRAININGS, unless=unless)


def _rivals(found: Measured) -> dict[str, dict[str, Unlearned]]:
    """Each proxy alone, and all of them, of which the best counts."""
    proxies = {name: found.unlearned[name] for name in PROXIES}
    return {**{name: {name: own} for name, own in proxies.items()}, BEST: proxies}


def _attack(numbers: Gathered, found: Measured) -> None:
    world, seed = found.world.name, found.world.seed_of("attack")
    for place, cost in enumerate(found.shadows.costs):
        for name, auc in set_aucs(found.shadows, place, found.sets, seed).items():
            numbers.estimates[f"{world}: AUC {after(cost)}, {name}"] = auc
    proxies = {name: found.sets[name] for name in PROXIES}
    for place, cost in enumerate(found.shadows.costs):
        each, best = auc_contrasts(found.shadows, place, found.sets[PRIVACY_LOSS], proxies, seed)
        for name, apart in {**each, BEST: best}.items():
            numbers.estimates[f"{world}: AUC {after(cost)}, privacy loss minus {name}"] = apart


def after(cost: float) -> str:
    """When an attack takes place, in words."""
    return f"after {cost:g}" if cost else "before"


def _stability(numbers: Gathered, found: Measured) -> None:
    named: dict[str, Stability] = {noise_name(found, pair): own for pair, own in found.noise.items()}
    for (spacing, count), own in found.checkpoints.items():
        named[checkpoints_name(found, spacing, count)] = own
    for score, own in found.models.items():
        named[models_name(found, score)] = own
    for name, own in named.items():
        parts: dict[str, Estimate] = {"Spearman": own.spearman, "hardest shared": own.top}
        for what, estimate in parts.items():
            numbers.estimates[f"{name}, {what}"] = estimate
