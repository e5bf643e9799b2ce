"""Losses along straight lines between models: what the loss-barrier check reads; numbers only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expunge.errors import UsageError

Array = NDArray[np.float64]
GROUPS = ("retain", "forget")


@dataclass(frozen=True, eq=False)
class PathLosses:
    """Mean loss, in nats, at T even points from a model (t = 0) to each of A anchor oracles (t = 1).

    original, unlearned [A, T]; baseline [N, A, T]: the oracles ranked among; held_back [H, A, T]: more oracles, the
    positive control; half_kept [M, A, T]: retrained with half of the forget set kept.

    Raises:
        UsageError: shapes that do not go together, no baseline, NaN or infinite losses.
    """

    original: Array
    unlearned: Array
    baseline: Array
    held_back: Array
    half_kept: Array

    def __post_init__(self) -> None:
        one = self.unlearned.shape
        stacks = (self.baseline, self.held_back, self.half_kept)
        if len(one) != 2 or one[0] < 1 or one[1] < 3 or self.original.shape != one:
            raise UsageError(f"Paths of shape {one} and {self.original.shape}.", "Give [anchors, points], 3 or more.")
        if not len(self.baseline) or any(stack.shape[1:] != one for stack in stacks):
            raise UsageError("Every model needs a path to every anchor, and there must be a baseline.")
        if not all(np.isfinite(losses).all() for losses in (self.original, self.unlearned, *stacks)):
            raise UsageError("A loss along a path is NaN or infinite.", "The models or the features are not usable.")

    def heights(self, role: str) -> Array:
        """Height of each model of a role, the mean over anchors: [] for one model, [models] for several."""
        result: Array = barrier_height(getattr(self, role)).mean(axis=-1)
        return result


@dataclass(frozen=True, eq=False)
class BarrierPaths:
    """Losses along paths on the groups ``retain`` and ``forget``, between the models as they are and, where the
    architecture allows, with every model's hidden units first aligned to the anchor's; else ``not_aligned`` says why.

    records: how many records of each group the losses are means over; of: how many there are.

    Raises:
        UsageError: a group is missing, or neither aligned paths nor a reason is given.
    """

    plain: Mapping[str, PathLosses]
    aligned: Mapping[str, PathLosses] | None
    not_aligned: str
    records: Mapping[str, int]
    of: Mapping[str, int]

    def __post_init__(self) -> None:
        if self.aligned is None and not self.not_aligned:
            raise UsageError("Paths without alignment need the reason why.")
        given = (self.plain, self.records, self.of, *([self.aligned] if self.aligned is not None else []))
        if any(set(part) != set(GROUPS) for part in given):
            raise UsageError("Loss paths are needed on the retain and on the forget records.")

    @property
    def judged(self) -> Mapping[str, PathLosses]:
        """The aligned paths where there are any: the order of hidden units is no difference between models."""
        return self.plain if self.aligned is None else self.aligned


def barrier_height(losses: ArrayLike) -> Any:
    """B of losses at even points of a path: [..., points] -> [...], in nats. At least 0, which both ends give.

    Raises:
        UsageError: fewer than three points.
    """
    path = np.asarray(losses, dtype=np.float64)
    if path.ndim < 1 or path.shape[-1] < 3:
        raise UsageError("A barrier needs at least three points.", "METHOD section 7 uses 25.")
    t = np.linspace(0.0, 1.0, path.shape[-1])
    chord = (1.0 - t) * path[..., :1] + t * path[..., -1:]
    return (path - chord).max(axis=-1)
