"""Which groups does no data set hold by chance? Near-duplicates, wrong labels and opposite labels, planted in training.

The images of planted records were held out before, so that no record that stays says the same as one that goes.
Planted records take the places of as many ordinary ones: the number of training records stays as declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from expunge.data import RecordTable
from expunge.data.record_table import make_table
from expunge.errors import UsageError
from expunge.reproduction.world import Rows, World
from expunge.training.config import Strict

Labels = Literal["right", "wrong", "both"]


class Planted(Strict):
    """A kind of planted group.

    Attributes:
        images: different images in a group; its other records are near-copies of them, in equal numbers.
        labels: all right, all wrong (one wrong class an image), or "both": every second copy of each image is wrong.
        groups: how many such groups, with images of their own.
    """

    images: int = Field(gt=0)
    labels: Labels
    groups: int = Field(default=1, gt=0)

    def copies(self, size: int) -> int:
        """Near-copies of each image in a group of `size`. Raises UsageError where they do not come out even."""
        parts = self.images * (2 if self.labels == "both" else 1)
        if size % parts:
            raise UsageError(f"A group of {size} records is not {parts} equal parts.", "Change images or size.")
        return size // self.images


@dataclass(frozen=True, eq=False)
class Group:
    """Planted records: features [m, ...], targets [m], ids [m]."""

    features: NDArray[np.generic]
    targets: NDArray[np.int64]
    ids: tuple[str, ...]


def plant(world: World, kinds: Mapping[str, Planted], size: int, jitter: float) -> tuple[World, dict[str, Rows]]:
    """The world with planted groups of `size` records each, and their rows of its `train` by name ("KIND NUMBER").

    Args:
        jitter: deviation of what is added to every feature of every copy, as a share of the features' own deviation;
            0 plants exact copies, and is what integer features (token ids) need.

    Raises:
        UsageError: more planted than training records, more images than held-out records, or unequal copies.
    """
    rng = np.random.default_rng(world.seed_of("planted"))
    names = [f"{kind} {number + 1}" for kind, own in kinds.items() for number in range(own.groups)]
    wanted = [own for own in kinds.values() for _ in range(own.groups)]
    images = sum(own.images for own in wanted)
    if len(names) * size >= len(world.train) or images >= len(world.held_out):
        raise UsageError(
            f"{world.name}: {len(names)} groups of {size} are planted among {len(world.train)} records, from {images}"
            f" of {len(world.held_out)} held-out images.",
            "Plant fewer or smaller groups, or train on more records.",
        )
    sources = np.split(rng.choice(len(world.held_out), images, replace=False), np.cumsum([o.images for o in wanted]))
    groups = {
        name: _group(world.held_out, name, own, source, size, jitter, rng)
        for name, own, source in zip(names, wanted, sources[:-1], strict=True)
    }
    gone = rng.choice(len(world.train), len(names) * size, replace=False)
    train = _joined(world.train.without([world.train.record_ids[row] for row in gone]), groups)
    used = [world.held_out.record_ids[row] for rows in sources for row in rows]
    planted = replace(world, train=train, held_out=world.held_out.without(used))
    return planted, {name: np.sort(train.rows(group.ids)) for name, group in groups.items()}


def _group(
    table: RecordTable, name: str, own: Planted, images: Rows, size: int, jitter: float, rng: np.random.Generator
) -> Group:
    rows = np.repeat(images, own.copies(size))
    features = table.features[rows]
    if jitter:
        scale = jitter * table.features.std()
        features = (features + rng.normal(0, scale, features.shape)).astype(table.features.dtype)
    right = table.targets[rows]
    moved = np.repeat(rng.integers(1, table.classes, len(images)), own.copies(size))
    wrong = (right + moved) % table.classes
    every_second = np.arange(size) % 2 == 1
    flipped = {"right": np.zeros(size, dtype=bool), "wrong": np.ones(size, dtype=bool), "both": every_second}
    targets = np.where(flipped[own.labels], wrong, right)
    return Group(features, targets, tuple(f"planted {name} {number:03d}" for number in range(size)))


def _joined(table: RecordTable, groups: Mapping[str, Group]) -> RecordTable:
    """One table of ordinary and planted records; a planted record belongs to nobody else."""
    ids = [record_id for group in groups.values() for record_id in group.ids]
    return make_table(
        features=np.concatenate([table.features, *(group.features for group in groups.values())]),
        targets=np.concatenate([table.targets, *(group.targets for group in groups.values())]),
        record_ids=[*table.record_ids, *ids], subject_ids=[*table.subject_ids, *ids], classes=table.classes,
        name=table.name, source=table.source, class_names=table.class_names, image_shape=table.image_shape,
    )  # fmt: skip
