"""What do the runs say? Sizes of the noise that nondeterminism amounts to, as estimates over originals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.privacy.implicit import assumed_noise_scale
from expunge.privacy.rank_correlation import spearman
from expunge.reproduction.findings import Estimate, over_seeds
from expunge.reproduction.implicit_noise.arithmetic import Kind, known_name
from expunge.reproduction.implicit_noise.calibration import equivalent, excess_over_proportion, growth
from expunge.reproduction.implicit_noise.character import MEASURES
from expunge.reproduction.implicit_noise.worth import losses_at, median_loss, needed_noise
from expunge.reproduction.originals import R0, Original
from expunge.reproduction.work import Part
from expunge.reproduction.world import World

Array = NDArray[np.float64]
Numbers = dict[str, Estimate]
# Kinds whose largest is looked for: what could be taken for noise.
JUDGED: tuple[Kind, ...] = ("float32", "bfloat16", "chance")
# Estimated of every way.
OF_A_WAY = ("log10 s in one step", "log10 s of the gradient in one step", "log10 s over the run", "log10 median loss")
BOTH_MEASURES = "distance between both measures"
OVER_A_RECORD = "log10 distance over that of leaving out a record"
# A kick's growth is fitted from here on: before, it turns into the directions that grow.
SETTLED = 0.1


@dataclass(frozen=True, eq=False)
class Measured:
    """One data set's measurements; the first axis of every array is the original.

    Attributes:
        looks: steps, [looks]. kinds, ways: by name; of each way divergence [K, looks], weights and sums
            [K, c], same [K].
        seeds: divergence with other batches, and with another start too, [K, 2, looks].
        measures: of the examined ways, [K, points, 6]. batch_s: [K, points].
        injected: scales [K, k], divergence [K, k, draws, looks], accuracy [K, k, draws], noiseless [K],
            kick [K, kicks, looks], smooth_scales [K, l], smooth [K, l, looks].
    """

    world: World
    originals: tuple[Original, ...]
    looks: Array
    kinds: Mapping[str, Kind]
    ways: Mapping[str, Part]
    seeds: Array
    measures: Mapping[str, Array]
    batch_s: Array
    injected: Part

    def of_kind(self, *kinds: Kind) -> list[str]:
        """Names of the ways of these kinds."""
        return [name for name, kind in self.kinds.items() if kind in kinds]

    def parted(self, name: str) -> bool:
        """Whether this way differed from what it was compared with, for every original."""
        return bool((self.ways[name]["divergence"][:, -1] > 0).all())

    def in_one_step(self, name: str, what: str = "weights") -> Array:
        """log10 of the root mean square over checkpoints of a step's difference, [K]; -inf for none."""
        with np.errstate(divide="ignore"):
            result: Array = 0.5 * np.log10((self.ways[name][what] ** 2).mean(axis=1))
        return result

    def over_the_run(self, divergence: Array) -> Array:
        """log10 of the equivalent s of runs that diverged like this [K, looks], [K]; -inf for none."""
        found = []
        for k in range(len(self.originals)):
            scales, curves = self.injected["scales"][k], self.injected["divergence"][k]
            order = np.argsort(scales)
            curve = np.exp(np.log(curves).mean(axis=1))
            found.append(equivalent(divergence[k], scales[order], curve[order]))
        return np.array(found)

    def generous(self, name: str) -> Array:
        """The larger of both, [K]."""
        return np.maximum(self.in_one_step(name), self.over_the_run(self.ways[name]["divergence"]))

    def each(self, figure: Callable[[Original, float], float], log10_s: Array) -> Array:
        """A figure of every original at its own s, [K]."""
        return np.array([figure(own, 10.0**s) for own, s in zip(self.originals, log10_s, strict=True)])


@dataclass(frozen=True)
class Found:
    """Estimates, and what has none with the reason, by names that begin with the data set's."""

    numbers: Numbers
    without: dict[str, str]


def estimates(measured: Measured, known: Sequence[float], nats: Sequence[float]) -> Found:
    """All estimates of one data set."""
    found = Found({}, {})
    needed = {each: np.array([needed_noise(own, each) for own in measured.originals]) for each in nats}
    for name, kind in measured.kinds.items():
        if kind != "record":
            _of_way(measured, name, found)
    for kind in JUDGED:
        _of_kind(measured, kind, found, nats, needed)
    _controls(measured, known, found)
    _dynamics(measured, found)
    _character(measured, found)
    _needed(measured, found, nats, needed)
    prefix = measured.world.name
    return Found(
        {f"{prefix}: {name}": value for name, value in found.numbers.items()},
        {f"{prefix}: {name}": why for name, why in found.without.items()},
    )


def _of_way(measured: Measured, name: str, found: Found) -> None:
    if not measured.parted(name):
        equal = int(measured.ways[name]["same"].sum())
        why = f"its runs equal the others bit for bit for {equal} of {len(measured.originals)} originals, whose s is 0"
        for figure in OF_A_WAY:
            found.without[f"{name}: {figure}"] = why
        return
    run = measured.over_the_run(measured.ways[name]["divergence"])
    for figure, what in (("log10 s in one step", "weights"), ("log10 s of the gradient in one step", "sums")):
        step = measured.in_one_step(name, what)
        if np.isfinite(step).all():
            found.numbers[f"{name}: {figure}"] = over_seeds(step)
        else:
            found.without[f"{name}: {figure}"] = "at no checkpoint did its step differ, though its run does"
    found.numbers[f"{name}: log10 s over the run"] = over_seeds(run)
    loss = np.log10(measured.each(median_loss, measured.generous(name)))
    found.numbers[f"{name}: log10 median loss"] = over_seeds(loss, "log10 nats")


def _of_kind(
    measured: Measured, kind: Kind, found: Found, nats: Sequence[float], needed: Mapping[float, Array]
) -> None:
    """The most that any way of a kind gives, by either measure: the largest of several is an overestimate."""
    names = [name for name in measured.of_kind(kind) if measured.parted(name)]
    if not names:
        for figure in ("log10 s", "log10 median loss", "rank agreement", BOTH_MEASURES, OVER_A_RECORD):
            found.without[f"{kind}: {figure}"] = "no way of this kind differs from the plain one: s is 0"
        return
    largest = np.max([measured.generous(name) for name in names], axis=0)
    found.numbers[f"{kind}: log10 s"] = over_seeds(largest)
    losses = np.log10(measured.each(median_loss, largest))
    found.numbers[f"{kind}: log10 median loss"] = over_seeds(losses, "log10 nats")
    for each in nats:
        found.numbers[f"{kind}: log10 gap to {each:g} nats"] = over_seeds(np.log10(needed[each]) - largest)
    found.numbers[f"{kind}: rank agreement"] = over_seeds(measured.each(_rank_agreement, largest))
    apart = [measured.over_the_run(measured.ways[name]["divergence"]) - measured.in_one_step(name) for name in names]
    seen = [np.abs(each) for each in apart if np.isfinite(each).all()]
    if seen:
        found.numbers[f"{kind}: {BOTH_MEASURES}"] = over_seeds(np.mean(seen, axis=0), "decades")
    else:
        found.without[f"{kind}: {BOTH_MEASURES}"] = "no way of this kind differs at the checkpoints"
    final = np.max([measured.ways[name]["divergence"][:, -1] for name in names], axis=0)
    found.numbers[f"{kind}: log10 distance over that of other batches"] = over_seeds(
        np.log10(final / measured.seeds[:, 0, -1])
    )
    record = np.mean([measured.ways[name]["divergence"][:, -1] for name in measured.of_kind("record")], axis=0)
    if (record > 0).all():
        found.numbers[f"{kind}: {OVER_A_RECORD}"] = over_seeds(np.log10(final / record))
    else:
        found.without[f"{kind}: {OVER_A_RECORD}"] = "the records left out were in no batch"


def _rank_agreement(original: Original, s: float) -> float:
    """Spearman's correlation of privacy losses at this s and at the assumed one."""
    assumed = assumed_noise_scale(original.norms.norms, R0)
    return spearman(losses_at(original, s), losses_at(original, assumed))


def _controls(measured: Measured, known: Sequence[float], found: Found) -> None:
    repeats = measured.of_kind("repeat")
    found.numbers["repeats that differ"] = over_seeds(
        np.sum([~measured.ways[name]["same"] for name in repeats], axis=0)
    )
    errors = [measured.over_the_run(measured.ways[known_name(s)]["divergence"]) - np.log10(s) for s in known]
    for s, error in zip(known, errors, strict=True):
        found.numbers[f"{known_name(s)}: error of log10 s over the run"] = over_seeds(error, "decades")
    found.numbers["known noise: distance from the truth"] = over_seeds(np.mean(np.abs(errors), axis=0), "decades")


def _dynamics(measured: Measured, found: Found) -> None:
    steps = measured.looks[-1]
    late = measured.looks >= SETTLED * steps
    kicks = measured.injected["kick"]
    rates = np.array([growth(np.exp(np.log(own).mean(axis=0))[late], measured.looks[late]) for own in kicks])
    found.numbers["kick: growth per step"] = over_seeds(rates)
    found.numbers["kick: e-foldings over the run"] = over_seeds(
        np.log(kicks[:, :, -1]).mean(axis=1) - np.log(kicks[:, :, 0]).mean(axis=1)
    )
    scales, last = measured.injected["scales"], measured.injected["divergence"][..., -1]
    smooth_scales, smooth = measured.injected["smooth_scales"], measured.injected["smooth"][..., -1]
    plain, without = [], []
    for k in range(len(measured.originals)):
        inside = (scales[k] >= smooth_scales[k].min() * 0.99) & (scales[k] <= smooth_scales[k].max() * 1.01)
        plain.append(excess_over_proportion(scales[k][inside], np.exp(np.log(last[k][inside]).mean(axis=1))))
        without.append(excess_over_proportion(smooth_scales[k], smooth[k]))
    found.numbers["excess over proportion"] = over_seeds(plain, "decades")
    found.numbers["excess over proportion without kinks"] = over_seeds(without, "decades")


def _character(measured: Measured, found: Found) -> None:
    for name, values in measured.measures.items():
        for place, measure in enumerate(MEASURES):
            own = values[:, :, place]
            if np.isfinite(own).any(axis=1).all():
                found.numbers[f"{name}: {measure}"] = over_seeds(np.nanmean(own, axis=1))
            else:
                found.without[f"{name}: {measure}"] = "it makes no error"
    found.numbers["batch sampling: log10 s"] = over_seeds(0.5 * np.log10((measured.batch_s**2).mean(axis=1)))
    for place, name in enumerate(("other batches", "other start and batches")):
        found.numbers[f"{name}: log10 final distance"] = over_seeds(np.log10(measured.seeds[:, place, -1]))


def _needed(measured: Measured, found: Found, nats: Sequence[float], needed: Mapping[float, Array]) -> None:
    noiseless = measured.injected["noiseless"]
    found.numbers["accuracy without noise"] = over_seeds(noiseless)
    first = measured.injected["scales"].shape[1] - len(nats)
    for place, each in enumerate(nats):
        accuracy = measured.injected["accuracy"][:, first + place].mean(axis=1)
        found.numbers[f"noise for {each:g} nats: log10 s"] = over_seeds(np.log10(needed[each]))
        found.numbers[f"noise for {each:g} nats: accuracy lost"] = over_seeds(noiseless - accuracy)
