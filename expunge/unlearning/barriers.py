"""What are the losses between the models? Paths from original, unlearned and reference models to anchor oracles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expunge.data import RecordTable
from expunge.errors import UsageError
from expunge.evaluation.loss_paths import GROUPS, BarrierPaths, PathLosses
from expunge.training.alignment import Aligned, align
from expunge.training.interpolation import POINTS, loss_along
from expunge.training.randomness import generator
from expunge.training.trainer import Progress
from expunge.unlearning.methods import Procedure

State = Mapping[str, Tensor]
Array = NDArray[np.float64]
MOST_RECORDS = 2000


def measure_barriers(
    procedure: Procedure,
    original: State,
    unlearned: State,
    oracles: Sequence[State],
    retain: RecordTable,
    forget: RecordTable,
    pairs: int = 6,
    seed: int = 0,
    *,
    anchors: int = 2,
    held_back: int = 1,
    half_kept: Sequence[State] = (),
    points: int = POINTS,
    most_records: int = MOST_RECORDS,
    progress: Progress | None = None,
) -> BarrierPaths:
    """Losses along (2 + pairs + held_back + half_kept) x anchors paths, each also with hidden units aligned.

    The oracles are dealt out in a random order, from `seed`: anchors first, then held back, then the `pairs` that are
    ranked among; with too few oracles fewer pairs, and fewer anchors before that. A verdict at 5 % needs 19 pairs.
    The losses are means over a random sample of at most `most_records` records of each group, stated in the result;
    BatchNorm statistics come from the retain sample.

    Raises:
        UsageError: fewer than one oracle for each purpose, states that do not fit, losses that are not finite.
    """
    if min(anchors, held_back, pairs) < 1 or len(oracles) < 3:
        raise UsageError(
            f"Barriers between {len(oracles)} oracles have no baseline.",
            "Keep the weights of at least 3: an anchor, a held-back one and one to rank among.",
        )
    held_back = min(held_back, len(oracles) - 2)
    anchors = max(1, min(anchors, len(oracles) - held_back - pairs))
    order = torch.randperm(len(oracles), generator=generator(seed, "barrier oracles")).tolist()
    dealt = [oracles[i] for i in order]
    roles: dict[str, Sequence[State]] = {
        "original": [original],
        "unlearned": [unlearned],
        "baseline": dealt[anchors + held_back :][:pairs],
        "held_back": dealt[anchors : anchors + held_back],
        "half_kept": half_kept,
    }
    tables = [_sample(table, most_records, seed) for table in (retain, forget)]
    reason = ""  # why not aligned; one model that cannot be is enough
    total = sum(map(len, roles.values())) * anchors
    losses: dict[str, dict[bool, Array]] = {}
    device = procedure.device
    done = 0
    for role, states in roles.items():
        paths = {kind: np.empty((len(GROUPS), len(states), anchors, points)) for kind in (False, True)}
        for i, state in enumerate(states):
            for a, anchor in enumerate(dealt[:anchors]):
                paths[False][:, i, a] = loss_along(procedure.spec, state, anchor, tables, points, device=device)
                moved = Aligned(None, reason) if reason else align(procedure.spec, anchor, state)
                reason = moved.reason
                if moved.state is not None:
                    paths[True][:, i, a] = loss_along(
                        procedure.spec, moved.state, anchor, tables, points, device=device
                    )
                done += 1
                if progress is not None:
                    progress(done, total)
        losses[role] = paths
    return BarrierPaths(
        plain=_by_group(losses, False),
        aligned=None if reason else _by_group(losses, True),
        not_aligned=reason,
        records={group: len(table) for group, table in zip(GROUPS, tables, strict=True)},
        of={"retain": len(retain), "forget": len(forget)},
    )


def _by_group(losses: Mapping[str, Mapping[bool, Array]], aligned: bool) -> dict[str, PathLosses]:
    groups = {}
    for row, group in enumerate(GROUPS):
        own = {role: paths[aligned][row] for role, paths in losses.items()}
        groups[group] = PathLosses(
            original=own["original"][0],
            unlearned=own["unlearned"][0],
            baseline=own["baseline"],
            held_back=own["held_back"],
            half_kept=own["half_kept"],
        )
    return groups


def _sample(table: RecordTable, most: int, seed: int) -> RecordTable:
    if len(table) <= most:
        return table
    rows = torch.randperm(len(table), generator=generator(seed, "barrier records"))[:most].tolist()
    return table.select([table.record_ids[row] for row in rows])
