"""Open question 1: for groups of equal size, does the set-level loss say how hard they are to unlearn, or the mean?

Groups have equal size and, in blocks, equal mean loss; what differs is how the records' gradients add up (METHOD
section 5). Each original has oracles of its own for every group (METHOD section 7, METHOD claim).
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from expunge.reproduction.config import ScenarioConfig, WorldConfig, checked_options
from expunge.reproduction.findings import Findings, merged
from expunge.reproduction.forget_curves import forget_curves, spaced_looks, units
from expunge.reproduction.group.estimates import all_estimates
from expunge.reproduction.group.measured import Measured
from expunge.reproduction.group.pages import figures, tables
from expunge.reproduction.group.planted import Planted, plant
from expunge.reproduction.group.predictors import PREDICTORS, estimator_check, set_predictors
from expunge.reproduction.group.sets import GroupSet, SetSizes, draw_sets
from expunge.reproduction.group.words import answer, world_words
from expunge.reproduction.originals import Original, train_originals
from expunge.reproduction.work import Part, Work
from expunge.reproduction.world import World, open_world
from expunge.training.config import Strict

# Sets that one part checks: some seconds to a minute.
_CHECKED_AT_ONCE = 12


class Options(Strict):
    """What this scenario takes.

    Attributes:
        sets: how many sets, and their size. planted: groups by kind. jitter: of near-copies, as a share of the
            features' deviation.
        scouts: originals that sets are chosen with, beside those measured. oracles: of each original and set; one is
            enough for energies over pairs of originals, and for the same work more originals say more.
        cap, budget: of fine-tuning, as shares of the training's steps: the longest, and the fixed one. looks: at it.
        margin: of the time to unlearn, in oracles' variances a record.
        check_checkpoints, check_draws: where and with how many draws the set-level loss is estimated by every way.
    """

    sets: SetSizes
    planted: dict[str, Planted]
    jitter: float = Field(default=0.1, ge=0)
    scouts: int = Field(default=2, gt=0)
    oracles: int = Field(default=1, gt=0)
    cap: float = Field(default=1.0, gt=0)
    budget: float = Field(default=0.5, gt=0)
    looks: int = Field(default=12, gt=1)
    margin: float = Field(default=0.25, gt=0)
    check_checkpoints: int = Field(default=6, gt=1)
    check_draws: int = Field(default=2048, gt=1000)


def measure(config: ScenarioConfig, work: Work) -> Findings:
    """The scenario `group`: every world's groups, and the answer over all of them."""
    options = checked_options(Options, config.options, config.scenario)
    worlds = [_measured(config, name, own, options, work) for name, own in config.worlds.items()]
    parts = []
    for own in worlds:
        found, missing = all_estimates(own)
        parts.append(
            Findings(estimates=found, not_estimable=missing, tables=tables(own, found), figures=figures(own),
                     words=world_words(own, found, missing))
        )  # fmt: skip
    whole = merged(parts)
    return whole.model_copy(update={"answer": answer(worlds, whole)})


def _measured(config: ScenarioConfig, name: str, own: WorldConfig, options: Options, work: Work) -> Measured:
    size = options.sets.size
    world, planted = plant(open_world(name, own, config.seed), options.planted, size, options.jitter)
    steps = world.training.steps
    looks = spaced_looks(max(1, round(options.cap * steps)), options.looks)
    everyone = train_originals(world, work, config.originals + options.scouts)
    originals, scouts = everyone[: config.originals], everyone[config.originals :]
    sets = draw_sets(world, scouts, planted, options.sets)
    rows = [group.rows for group in sets]
    work.expect(units(world, len(originals), len(sets), looks, options.oracles))
    predictors = [_predicted(world, work, original, sets) for original in originals]
    checks = _checked(world, work, originals[0], sets, options)
    curves = forget_curves(world, work, "groups", originals, rows, looks, options.oracles)
    return Measured(
        name=name, sets=sets, predictors={key: np.stack([part[key] for part in predictors]) for key in PREDICTORS},
        curves=curves, checks=checks, budget=int(np.abs(looks - options.budget * steps).argmin()),
        margin=options.margin, order=originals[0].losses.order, full_batch=world.sampling_rate >= 1,
    )  # fmt: skip


def _predicted(world: World, work: Work, original: Original, sets: tuple[GroupSet, ...]) -> Part:
    name = f"{world.name}-group-predictors-{original.number}"
    return work.get(name, lambda: set_predictors(world, original, sets))


def _checked(
    world: World, work: Work, original: Original, sets: tuple[GroupSet, ...], options: Options
) -> tuple[Part, ...]:
    """`estimator_check` of every set, a dozen sets a part."""
    found: list[Part] = []
    for number, begin in enumerate(range(0, len(sets), _CHECKED_AT_ONCE)):
        some = sets[begin : begin + _CHECKED_AT_ONCE]

        def part(some: tuple[GroupSet, ...] = some) -> Part:
            each = [
                estimator_check(world, original, own, options.check_checkpoints, options.check_draws) for own in some
            ]
            return {key: np.stack([own[key] for own in each]) for key in each[0]}

        made = work.get(f"{world.name}-group-check-{number}", part)
        found += [{key: values[k] for key, values in made.items()} for k in range(len(some))]
    return tuple(found)
