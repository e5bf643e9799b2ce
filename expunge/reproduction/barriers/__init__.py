"""Do loss barriers grow with privacy loss and fall with unlearning? Scenario `barriers`.

For every data set: originals, forget sets over the whole range of privacy loss (the same for all originals), oracles of
each original and set in three couplings (`models`), fine-tuning and a rewind; heights of the lines between them
(`heights`), estimates over originals (`estimates`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from expunge.errors import UsageError
from expunge.reproduction.barriers.estimates import Heights, estimates, overall
from expunge.reproduction.barriers.figures import alignment_figure, figures_of
from expunge.reproduction.barriers.heights import measure_heights
from expunge.reproduction.barriers.models import Options, look_steps
from expunge.reproduction.barriers.tables import tables_of
from expunge.reproduction.barriers.words import answer, overall_words, world_words
from expunge.reproduction.config import ScenarioConfig, checked_options
from expunge.reproduction.findings import Findings, merged
from expunge.reproduction.originals import Original, label_matched, mean_rank, train_originals
from expunge.reproduction.work import Part, Work
from expunge.reproduction.world import Rows, World, open_world


def measure(config: ScenarioConfig, work: Work) -> Findings:
    """Run the scenario on every data set. Raises UsageError for options that do not go together."""
    options = checked_options(Options, config.options, config.scenario)
    worlds = [open_world(name, own, config.seed) for name, own in config.worlds.items()]
    for world in worlds:
        _check(world, options)
    work.expect(len(worlds) * config.originals * options.models())
    heights = [_heights(world, config.originals, options, work) for world in worlds]
    whole = merged([_findings(found, look_steps(world, options)) for found, world in zip(heights, worlds, strict=True)])
    names = [world.name for world in worlds]
    made, everywhere = overall(whole.estimates, whole.not_estimable, names)
    reasons = {**whole.not_estimable, **everywhere}
    return whole.model_copy(
        update={
            "estimates": {**whole.estimates, **made},
            "not_estimable": reasons,
            "figures": (*whole.figures, alignment_figure(heights)),
            "answer": answer(made, reasons, heights),
            "words": (overall_words(made, reasons, names), *whole.words),
        }
    )


def _check(world: World, options: Options) -> None:
    if options.sets * options.forget > len(world.train):
        raise UsageError(
            f"{world.name}: {options.sets} disjoint sets of {options.forget} are more than its {len(world.train)}"
            " training records.",
            "Lower options.sets or options.forget.",
        )


def _heights(world: World, count: int, options: Options, work: Work) -> Heights:
    originals = train_originals(world, work, count)
    sets = forget_sets(world, originals, options)
    parts = [_part(world, own, sets, options, work) for own in originals]
    return Heights(
        world=world.name,
        loss=np.array([[own.loss[rows].mean() for rows in sets] for own in originals]),
        arrays={key: np.stack([part[key] for part in parts]) for key in parts[0]},
        quantiles=options.sets,
        hardest=options.hardest,
    )


def _findings(found: Heights, looks: list[int]) -> Findings:
    made, reasons = estimates(found)
    return Findings(
        estimates=made, not_estimable=reasons, tables=tables_of(found, made), figures=figures_of(found, looks),
        words=(world_words(found, made, reasons),),
    )  # fmt: skip


def _part(world: World, original: Original, sets: Sequence[Rows], options: Options, work: Work) -> Part:
    name = f"{world.name}-barriers-{original.number}"
    return work.get(name, lambda: measure_heights(world, original, sets, options), options.models())


def forget_sets(world: World, originals: tuple[Original, ...], options: Options) -> list[Rows]:
    """Disjoint blocks of the mean ranks, evenly spaced from the easiest records to the hardest; then the nulls.

    The nulls are label-matched to the hardest block.
    """
    order = np.argsort(mean_rank(originals), kind="stable")
    starts = np.linspace(0, len(order) - options.forget, options.sets).round().astype(int)
    blocks: list[Rows] = [np.sort(order[start : start + options.forget]) for start in starts]
    return [
        *blocks,
        *(label_matched(world, blocks[-1], world.seed_of("null", number)) for number in range(options.nulls)),
    ]
