"""Is the nondeterminism of plain SGD worth a privacy loss? The scenario `implicit-noise`, the paper's open question 2.

Plain SGD adds no noise, yet two machines do not arrive at the same weights. For each data set: by how much runs part
when only the arithmetic differs (`runs`), which known Gaussian noise parts them as far (`calibration`),
whether the differences are what the analysis takes noise for (`character`), and what loss noise of that size
would be worth (`worth`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from pydantic import Field
from torch import nn

from expunge.errors import UsageError
from expunge.models import build_model, uses_batch_statistics
from expunge.reproduction.config import ScenarioConfig, checked_options
from expunge.reproduction.findings import Findings, merged
from expunge.reproduction.implicit_noise.arithmetic import PLAIN, Arithmetic, arithmetics, threads
from expunge.reproduction.implicit_noise.calibration import inject
from expunge.reproduction.implicit_noise.character import measure_character
from expunge.reproduction.implicit_noise.estimates import Measured, estimates
from expunge.reproduction.implicit_noise.process import Asked, measure_elsewhere, of_place
from expunge.reproduction.implicit_noise.report import report
from expunge.reproduction.implicit_noise.runs import looks_of, measure_seeds, measure_ways
from expunge.reproduction.implicit_noise.worth import needed_noise
from expunge.reproduction.originals import Original, train_originals
from expunge.reproduction.work import Part, Work
from expunge.reproduction.world import World, open_world
from expunge.training.config import Strict

# Ways whose errors are looked at one by one: one of each precision that errs on every model.
EXAMINED = ("backwards", "bfloat16 autocast")
# Records in the middle of the privacy losses that runs leave out, one each.
LEFT_OUT = 2


class Options(Strict):
    """Sizes of this scenario.

    Attributes:
        log10_s: sizes of injected noise, increasing; the conversion interpolates between them. draws: of each size.
        known: s of the control runs, between the sizes injected, which the conversion must recover. kick_s: of the
            noise in the first step only, small enough that no ReLU changes sides. smooth_log10_s: sizes for the model
            without kinks.
        points, batches, records: `measure_character`. nats: wanted losses of the median record, largest first.
    """

    log10_s: tuple[float, ...] = tuple(range(-9, 2))
    draws: int = Field(default=3, gt=0)
    known: tuple[float, ...] = (3e-5, 3e-3)
    kick_s: float = Field(default=1e-10, gt=0)
    kicks: int = Field(default=2, gt=0)
    smooth_log10_s: tuple[float, ...] = (-8, -6, -4, -2)
    points: int = Field(default=5, gt=1)
    batches: int = Field(default=16, gt=1)
    records: int = Field(default=64, gt=0)
    nats: tuple[float, ...] = (10.0, 1.0)


def measure(config: ScenarioConfig, work: Work) -> Findings:
    """Measure all data sets of the declaration."""
    options = checked_options(Options, config.options, config.scenario)
    worlds = [open_world(name, world, config.seed) for name, world in config.worlds.items()]
    for world in worlds:
        _check(world)
        work.expect(4 * config.originals)
    with threads(1):
        ready = [_ready(world, work, config.originals, options) for world in worlds]
        elsewhere = _elsewhere(ready, work)
        measured = [_measured(each, elsewhere[k], work, options) for k, each in enumerate(ready)]
    return merged([report(each, estimates(each, options.known, options.nats), options.nats) for each in measured])


def _check(world: World) -> None:
    if world.training.noise.convention != "implicit":
        raise UsageError(
            f"{world.name}: this scenario is about plain SGD, and its training adds noise.",
            f"Set worlds.{world.name}.training.noise to {{convention: implicit}}.",
        )
    if world.device != "cpu":
        raise UsageError(
            f"{world.name}: runs are compared with one of a single CPU thread, not with one of {world.device}.",
            f"Set worlds.{world.name}.device to cpu; a GPU, where there is one, is measured beside it.",
        )
    if uses_batch_statistics(build_model(world.spec)):
        raise UsageError(f"{world.name}: BatchNorm has state besides the weights.", "Use model.options.norm: group.")


@dataclass(frozen=True)
class Ready:
    """A data set with its originals, and for each the ways to compute it, by name."""

    world: World
    originals: tuple[Original, ...]
    ways: tuple[dict[str, Arithmetic], ...]
    convolutions: bool


def _ready(world: World, work: Work, count: int, options: Options) -> Ready:
    convolutions = any(isinstance(part, nn.modules.conv._ConvNd) for part in build_model(world.spec).modules())
    originals = train_originals(world, work, count)
    ways = tuple(
        arithmetics(convolutions, world.seed_of("chance", own.number), options.known, _left_out(own))
        for own in originals
    )
    return Ready(world, originals, ways, convolutions)


def _measured(ready: Ready, elsewhere: Sequence[Part], work: Work, options: Options) -> Measured:
    """Everything that is measured of one data set; `elsewhere`: what other processes measured."""
    world, originals, ways = ready.world, ready.originals, ready.ways
    here = [_runs(world, work, own, ways[own.number]) for own in originals]
    seeds = [_seeds(world, work, own) for own in originals]
    examined = [_examined(world, work, own, ways[own.number], options) for own in originals]
    injected = [_injected(world, work, own, options) for own in originals]
    parts = [_stacked(here), *elsewhere]
    compared = {
        str(name): {key: part[key][:, place] for key in ("divergence", "weights", "sums", "same")}
        for part in parts
        for place, name in enumerate(part["names"][0])
    }
    return Measured(
        world=world,
        originals=originals,
        looks=np.array(looks_of(originals[0].trajectory), dtype=np.float64),
        kinds={name: ways[0][name].kind for name in ways[0] if name in compared},
        ways=compared,
        seeds=_stacked(seeds)["divergence"],
        measures={name: _stacked(examined)["measures"][:, place] for place, name in enumerate(EXAMINED)},
        batch_s=_stacked(examined)["batch_s"],
        injected=_stacked(injected),
    )


def _left_out(original: Original) -> dict[str, int]:
    """Records in the middle by privacy loss, by the names of the runs without them."""
    middle = np.argsort(original.loss)[len(original.loss) // 2 :]
    return {f"without record {place + 1}": int(middle[place]) for place in range(LEFT_OUT)}


def _stacked(parts: Sequence[Part]) -> Part:
    return {key: np.stack([part[key] for part in parts]) for key in parts[0]}


def _runs(world: World, work: Work, original: Original, ways: Mapping[str, Arithmetic]) -> Part:
    """The ways that need no process of their own."""
    wanted = [name for name, way in ways.items() if way.environment is None and name != PLAIN]
    return work.get(
        f"{world.name}-ways-{original.number}", lambda: measure_ways(world, original.trajectory, ways, wanted), 1
    )


def _seeds(world: World, work: Work, original: Original) -> Part:
    other = world.seed_of("other", original.number)
    return work.get(
        f"{world.name}-seeds-{original.number}", lambda: measure_seeds(world, original.trajectory, other), 1
    )


def _examined(world: World, work: Work, original: Original, ways: Mapping[str, Arithmetic], options: Options) -> Part:
    def make() -> Part:
        return measure_character(
            world, original.trajectory, ways, EXAMINED, options.points, options.batches, options.records,
            world.seed_of("character", original.number),
        )  # fmt: skip

    return work.get(f"{world.name}-character-{original.number}", make, 1)


def _injected(world: World, work: Work, original: Original, options: Options) -> Part:
    """Runs with known noise: at all sizes, at what a wanted loss needs, a kick at the start, and without kinks."""
    trajectory, draws = original.trajectory, options.draws
    needed = [needed_noise(original, nats) for nats in options.nats]
    scales = [*(10.0**size for size in options.log10_s), *needed]
    noise = [world.seed_of("injected", original.number, draw) for draw in range(draws)]

    def make() -> Part:
        main = inject(world, trajectory, np.repeat(scales, draws).tolist(), noise * len(scales))
        kicks = [world.seed_of("kick", original.number, kick) for kick in range(options.kicks)]
        kicked = inject(world, trajectory, [options.kick_s] * len(kicks), kicks, kick=True)
        sizes = [10.0**size for size in options.smooth_log10_s]
        smooth = inject(world, trajectory, sizes, [noise[0]] * len(sizes), smooth=True)
        return {
            "scales": np.array(scales), "divergence": main.divergence.reshape(len(scales), draws, -1),
            "accuracy": main.accuracy.reshape(len(scales), draws), "noiseless": np.array(main.noiseless),
            "kick": kicked.divergence, "smooth_scales": np.array(sizes), "smooth": smooth.divergence,
        }  # fmt: skip

    return work.get(f"{world.name}-injected-{original.number}", make, 1)


def _elsewhere(ready: Sequence[Ready], work: Work) -> list[list[Part]]:
    """The ways that need a process of their own, those of one environment in the same; for each data set its parts."""
    environments: list[Mapping[str, str]] = []
    for way in ready[0].ways[0].values():
        if way.environment is not None and way.environment not in environments:
            environments.append(way.environment)
    work.expect(len(environments))
    found: list[list[Part]] = [[] for _ in ready]
    for number, environment in enumerate(environments):
        asked = [
            Asked(
                each.world,
                tuple(own.trajectory for own in each.originals),
                tuple(name for name, way in each.ways[0].items() if way.environment == environment),
                each.convolutions,
            )
            for each in ready
        ]
        name = f"process-{number}"
        make = partial(measure_elsewhere, asked, environment, work.place(name))
        part = work.get(name, make, 1)
        for place, own in enumerate(found):
            own.append(of_place(part, place))
    return found
