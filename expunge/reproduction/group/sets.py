"""Which groups are to be forgotten? Of equal size; many with the same mean loss, whose gradients add up or cancel.

Blocks of the hardest records are cut into as many bins as a set has records, by loss; a set takes one record of each
bin, so that all sets of a block have the same mean loss. Which record of a bin: at random (ordinary), so that the
gradients' sum is large (aligned) or small (cancelling), or all of one class. Sets are chosen with scouts, models that
are not measured: a choice that followed the measured models' own chance would not be there in others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import linear_sum_assignment

from expunge.errors import UsageError
from expunge.models import build_model
from expunge.privacy.set_gradients import gradient_gram
from expunge.privacy.step_widths import checkpoint_widths
from expunge.reproduction.originals import Original, label_matched, mean_rank
from expunge.reproduction.world import Rows, World
from expunge.training.config import Strict

Array = NDArray[np.float64]
Kind = Literal[
    "ordinary", "wrong labels", "aligned", "cancelling", "one class", "duplicates", "opposite labels", "null"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
# Groups that somebody may put together so that a prediction from the single records fails.
ADVERSARIAL: tuple[Kind, ...] = ("aligned", "cancelling", "one class", "duplicates", "opposite labels")
_SWEEPS = 8


class SetSizes(Strict):
    """How many sets of each kind.

    Attributes:
        size: m, records of every set. strata: ordinary sets, one from each stratum of difficulty, and one more of the
            hardest records. blocks: of hardest records, each with an ordinary, an aligned, a cancelling and a
            one-class set. candidates: records of a bin. random: sets at random; for the hardest set and each block
            there is a label-matched one too.
        gram_checkpoints: at how many checkpoints gradients are compared to choose sets.
    """

    size: int = Field(gt=1)
    strata: int = Field(gt=0)
    blocks: int = Field(gt=0)
    candidates: int = Field(gt=1)
    random: int = Field(gt=0)
    gram_checkpoints: int = Field(default=9, gt=1)


@dataclass(frozen=True, eq=False)
class GroupSet:
    """A forget set: rows of `world.train` [m], sorted. block: of equal mean loss, or None."""

    name: str
    kind: Kind
    rows: Rows
    block: int | None = None


def draw_sets(
    world: World, scouts: Sequence[Original], planted: Mapping[str, Rows], sizes: SetSizes
) -> tuple[GroupSet, ...]:
    """All sets of the scenario. Planted groups are sets of their own; no other set has a planted record.

    Raises:
        UsageError: fewer ordinary records than strata or blocks take.
    """
    rng = np.random.default_rng(world.seed_of("group sets"))
    taken = np.concatenate([np.zeros(0, dtype=np.int64), *planted.values()])
    ranks = mean_rank(tuple(scouts))
    ordinary = np.setdiff1d(np.arange(len(ranks)), taken)
    hardest_first = ordinary[np.argsort(-ranks[ordinary], kind="stable")]
    per_block = sizes.size * sizes.candidates
    if len(ordinary) < max(sizes.blocks * per_block, sizes.strata * sizes.size):
        raise UsageError(
            f"{world.name}: {sizes.strata} strata and {sizes.blocks} blocks of {per_block} records are more than the"
            f" {len(ordinary)} ordinary ones.",
            "Lower size, strata, blocks or candidates.",
        )
    found = [
        GroupSet(f"stratum {k + 1}", "ordinary", np.sort(rng.choice(stratum, sizes.size, replace=False)))
        for k, stratum in enumerate(np.array_split(hardest_first, sizes.strata))
    ]
    found.append(GroupSet("hardest", "ordinary", np.sort(hardest_first[: sizes.size])))
    for block in range(sizes.blocks):
        bins = hardest_first[block * per_block : (block + 1) * per_block].reshape(sizes.size, sizes.candidates)
        found += _of_block(world, scouts, bins, ordinary, block, sizes, rng)
    found += [GroupSet(name, planted_kind(name), rows) for name, rows in planted.items()]
    found += [
        GroupSet(f"random {k + 1}", "null", np.sort(rng.choice(ordinary, sizes.size, replace=False)))
        for k in range(sizes.random)
    ]
    for like in [own for own in found if own.name == "hardest" or own.kind == "one class"]:
        rows = label_matched(world, like.rows, world.seed_of("labels of", like.name), exclude=taken)
        found.append(GroupSet(f"labels of {like.name}", "null", rows))
    return tuple(found)


def planted_kind(name: str) -> Kind:
    """The kind of a planted group, from its name. Raises UsageError for a name that begins with no kind."""
    for kind in ("duplicates", "opposite labels", "wrong labels"):
        if name.startswith(kind):
            return kind
    raise UsageError(
        f"Planted groups {name!r} are of no kind.",
        'A name begins with "duplicates", "opposite labels" or "wrong labels".',
    )


def _of_block(
    world: World, scouts: Sequence[Original], bins: Rows, ordinary: Rows, block: int, sizes: SetSizes,
    rng: np.random.Generator,
) -> list[GroupSet]:  # fmt: skip
    """Four sets of one mean loss from bins [m, candidates], hardest first."""
    everyone = bins.ravel()
    gram = level_gram(_mean_gram(world, scouts, everyone, sizes.gram_checkpoints), bins.shape)
    places = np.arange(len(everyone)).reshape(bins.shape)
    drawn = places[np.arange(len(bins)), rng.integers(0, bins.shape[1], len(bins))]
    chosen: dict[Kind, Rows] = {
        "ordinary": everyone[drawn],
        "aligned": everyone[one_of_each(gram, places, drawn, 1)],
        "cancelling": everyone[one_of_each(gram, places, drawn, -1)],
        "one class": _one_class(world, scouts, bins, ordinary),
    }
    return [GroupSet(f"{kind}, block {block + 1}", kind, np.sort(rows), block) for kind, rows in chosen.items()]


def level_gram(gram: Array, shape: tuple[int, int]) -> Array:
    """The Gram matrix with every gradient as long as the others of its bin: only directions are left to choose by.

    gram [m c, m c] of bins `shape` (m, c), one after the other.
    """
    norms = np.sqrt(np.diag(gram).clip(min=np.finfo(np.float64).tiny))
    of_bin = np.repeat(norms.reshape(shape).mean(axis=1), shape[1])
    factors = of_bin / norms
    return gram * np.outer(factors, factors)


def one_of_each(gram: Array, places: Rows, start: Rows, sign: int) -> Rows:
    """One place of each bin, [m], so that the norm of the sum of gradients is large (sign 1) or small (-1).

    From `start` [m], bin after bin takes the best, until nothing changes: a local optimum, and no worse than `start`.
    """
    chosen = start.copy()
    for _ in range(_SWEEPS):
        before = chosen.copy()
        for k, bin_places in enumerate(places):
            others = np.delete(chosen, k)
            gain = 2 * gram[np.ix_(bin_places, others)].sum(axis=1) + gram[bin_places, bin_places]
            chosen[k] = bin_places[np.argmax(sign * gain)]
        if (chosen == before).all():
            break
    return chosen


def _mean_gram(world: World, scouts: Sequence[Original], rows: Rows, count: int) -> Array:
    """<g_l, g_m> over s^2, mean over the scouts' runs, [rows, rows], in the order of `rows`; what the sums of METHOD
    section 5 are made of, up to a factor."""
    order = np.argsort(rows)
    records = world.records(rows[order])
    x, y = torch.from_numpy(records.features), torch.from_numpy(records.targets)
    x, y = x.to(world.device), y.to(world.device)
    model = build_model(world.spec).to(world.device)
    total = np.zeros((len(rows), len(rows)))
    for scout in scouts:
        kept = scout.trajectory.kept
        used = [kept[k] for k in np.unique(np.linspace(0, len(kept) - 1, min(count, len(kept))).round().astype(int))]
        widths = checkpoint_widths([c.step for c in used], scout.trajectory.total_steps)
        for checkpoint, width in zip(used, widths, strict=True):
            model.load_state_dict(scout.trajectory.state(checkpoint).model_state())
            total += width * gradient_gram(model, x, y) / (checkpoint.s or 1.0) ** 2
    back = np.argsort(order)
    return total[np.ix_(back, back)] / len(scouts)


def _one_class(world: World, scouts: Sequence[Original], bins: Rows, ordinary: Rows) -> Rows:
    """Records of one class whose losses are nearest those of the bins, of the class with which that goes best."""
    log_loss = np.log(np.mean([own.loss for own in scouts], axis=0))
    wanted = log_loss[bins].mean(axis=1)
    best: tuple[float, Rows] | None = None
    for label in range(world.train.classes):
        own = ordinary[world.train.targets[ordinary] == label]
        if len(own) < len(bins):
            continue
        distance = np.abs(wanted[:, None] - log_loss[own][None])
        picked = linear_sum_assignment(distance)
        cost = float(distance[picked].sum())
        if best is None or cost < best[0]:
            best = (cost, own[picked[1]])
    if best is None:
        raise UsageError(f"{world.name}: no class has {len(bins)} ordinary records.", "Lower options.sets.size.")
    return best[1]
