"""Scenario 2: with plain SGD, does privacy loss under an assumed noise find harder sets to unlearn than the proxies do?

Each score's hardest 1 % is a forget set, the same for all originals. Every original forgets every set by fine-tuning on
the retain set, with oracles of its own. U-LiRA attacks all sets on the same shadow models. Is the ranking stable: over
the assumed noise, over models, over fewer checkpoints?
"""

from __future__ import annotations

from expunge.errors import UsageError
from expunge.reproduction.config import ScenarioConfig, checked_options
from expunge.reproduction.findings import Findings, merged
from expunge.reproduction.rank_sgd.estimates import gathered
from expunge.reproduction.rank_sgd.measured import Measured, Options, measured
from expunge.reproduction.rank_sgd.report import figures, tables
from expunge.reproduction.rank_sgd.words import answer, words
from expunge.reproduction.work import Work
from expunge.reproduction.world import World, open_world


def measure(config: ScenarioConfig, work: Work) -> Findings:
    """Every world of the declaration.

    Raises:
        UsageError: options out of range; fewer checkpoints recorded than the rankings are to be compared with; training
            with noise, of which nothing has to be assumed; fewer than three originals.
    """
    options = checked_options(Options, config.options, "rank-sgd")
    if config.originals < 3:
        raise UsageError(f"{config.originals} originals.", "Three at least: an interval leaves one out of a pair.")
    worlds = [open_world(name, own, config.seed) for name, own in config.worlds.items()]
    for world in worlds:
        _check(world, options)
        work.expect(options.units(world, config.originals))
    return merged([_findings(measured(world, work, config.originals, options)) for world in worlds])


def _check(world: World, options: Options) -> None:
    if world.training.noise.convention != "implicit":
        raise UsageError(
            f"{world.name} trains with noise, and this scenario assumes one.",
            f"Set worlds.{world.name}.training.noise.convention: implicit.",
        )
    recorded = min(world.training.checkpoints, world.training.steps)
    if recorded <= max(options.fewer):
        raise UsageError(
            f"{world.name} records {recorded} checkpoints, and rankings by {max(options.fewer)} are to be compared.",
            f"Raise worlds.{world.name}.training.checkpoints, or lower options.fewer.",
        )


def _findings(found: Measured) -> Findings:
    numbers = gathered(found)
    return Findings(
        estimates=numbers.estimates,
        not_estimable=numbers.not_estimable,
        tables=tables(found, numbers),
        figures=figures(found, numbers),
        answer=(answer(found, numbers),),
        words=words(found, numbers),
    )
