"""Does privacy loss predict time to unlearn, and is the law logarithmic? SGLD at several noises, and plain SGD.

The paper's main claim (arXiv 2505.18786). A regime is a world under one noise: strong to weak, none (plain SGD, its
losses under an assumed noise: METHOD section 4), and full batches. In each, originals forget the same sets of every
level of loss by fine-tuning on the retain set as they were trained, noise included, and every run has oracles of its
own. The worlds decay their weights, so that at step T models are near their stationary law and training further is not
itself a change: otherwise fine-tuned models leave oracles of T steps behind, and no set is ever forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import Field, ValidationError

from expunge.errors import UsageError
from expunge.reproduction.config import ScenarioConfig, WorldConfig, checked_options, with_changes
from expunge.reproduction.findings import Findings, merged
from expunge.reproduction.forget_curves import forget_curves, spaced_looks, units
from expunge.reproduction.originals import train_originals
from expunge.reproduction.predict_sgld.estimates import estimated, over_worlds
from expunge.reproduction.predict_sgld.forgetting import Forgetting, forgetting
from expunge.reproduction.predict_sgld.pages import pictured
from expunge.reproduction.predict_sgld.sets import sets_by_loss
from expunge.reproduction.predict_sgld.words import answer, words
from expunge.reproduction.work import Work
from expunge.reproduction.world import World, open_world
from expunge.training.config import Strict
from expunge.unlearning.pilots import MEASURABLE_ENERGY


class Options(Strict):
    """Sizes of the scenario.

    Attributes:
        regimes: by world and name, what each changes, as dotted keys below the world. Regimes of worlds that do not run
            are ignored.
        pooled: regimes by name whose estimates are also averaged over the worlds that have them.
        share: of the training records in a set. sets: of every level of loss. matched: random sets of the labels of the
            hardest. random: sets drawn from all records.
        oracles: of each run. cap: of fine-tuning, in trainings. looks: on the way.
        gap: target of a set's mean, in the oracles' variance of it. 1.96 squared is the paper's 95 % band where oracles
            are many. At 1 the curves of pilots crossed it by their noise: five runs give a gap a standard error of .5.
        target: of S_u/m, in the oracles' variance per record. margin: of influence and excess.
    """

    regimes: dict[str, dict[str, dict[str, Any]]]
    pooled: tuple[str, ...] = ()
    share: float = Field(gt=0, lt=0.5)
    sets: int = Field(ge=4)
    matched: int = Field(ge=1)
    random: int = Field(ge=0)
    oracles: int = Field(ge=2)
    cap: float = Field(gt=0)
    looks: int = Field(ge=4)
    gap: float = Field(default=3.84, gt=0)
    target: float = Field(default=MEASURABLE_ENERGY, gt=0)
    margin: float = Field(default=0.1, gt=0)


def measure(config: ScenarioConfig, work: Work) -> Findings:
    """Run every regime of every world; see `Options`."""
    options = checked_options(Options, config.options, config.scenario)
    regimes = {
        name: {regime: _regime(world, changes, f"options.regimes.{name}.{regime}") for regime, changes in own.items()}
        for name, world in config.worlds.items()
        for own in [_regimes_of(name, options.regimes)]
    }
    opened = [
        (name, regime, _named(open_world(name, world, config.seed), name, regime))
        for name, own in regimes.items()
        for regime, world in own.items()
    ]
    for _, _, world in opened:
        work.expect(units(world, config.originals, _sets(options), _looks(world, options), options.oracles))
    found = [_run(name, regime, world, options, config.originals, work) for name, regime, world in opened]
    parts = [estimated(own) for own in found]
    whole = merged([*parts, over_worlds(found, options.pooled, parts), pictured(found)])
    told = [words(own, part, config.seed) for own, part in zip(found, parts, strict=True)]
    return whole.model_copy(
        update={"answer": answer(found, whole.estimates, options.pooled), "words": (*told, *whole.words)}
    )


def _run(name: str, regime: str, world: World, options: Options, count: int, work: Work) -> Forgetting:
    originals = train_originals(world, work, count)
    size = max(2, round(options.share * len(world.train)))
    sets = sets_by_loss(world, originals, size, options.sets, options.matched, options.random)
    rows = [own.rows for own in sets]
    curves = forget_curves(world, work, "unlearn", originals, rows, _looks(world, options), options.oracles)
    return forgetting(name, regime, originals, sets, curves, options.gap, options.target, options.margin)


def _sets(options: Options) -> int:
    return options.sets + options.matched + options.random


def _looks(world: World, options: Options):  # type: ignore[no-untyped-def]
    return spaced_looks(max(1, round(options.cap * world.training.steps)), options.looks)


def _regimes_of(world: str, regimes: Mapping[str, dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    if not regimes.get(world):
        raise UsageError(f"World {world!r} has no regimes.", f"Name at least one under options.regimes.{world}.")
    return regimes[world]


def _regime(world: WorldConfig, changes: Mapping[str, Any], where: str) -> WorldConfig:
    """The world under one noise. Raises UsageError for changes that make no world."""
    try:
        return WorldConfig.model_validate(with_changes(world.model_dump(mode="json"), changes, where))
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


def _named(world: World, name: str, regime: str) -> World:
    """The same records under every noise of a world; seeds and parts of the regime's own."""
    return replace(world, name=f"{name}-{re.sub('[^a-z0-9]+', '-', regime.lower())}")
