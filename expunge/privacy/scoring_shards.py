"""Which checkpoints are scored together, as one step of a pipeline?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# A step of a pipeline costs some tenths of a second: fewer gradients than this are not worth one of their own.
_WORTH_A_STEP = 1 << 19


@dataclass(frozen=True)
class ScoringShard:
    """Checkpoints by step, in the order of the trajectory; `folder`: where the project keeps the blocks."""

    number: int
    steps: tuple[int, ...]
    folder: str


@dataclass(frozen=True)
class ScoringShards:
    """All shards of one scoring; at least one."""

    shards: tuple[ScoringShard, ...]

    def __len__(self) -> int:
        return len(self.shards)


def share_out(
    steps: Sequence[int], records: int, folder: str, per_shard: int | None = None, workers: int = 1
) -> ScoringShards:
    """Split checkpoints into shards of neighbours of about one size.

    Args:
        steps: of the checkpoints. records: scored at each. per_shard: most checkpoints of a shard; None: so many that
            a shard has some 500,000 gradients, but no fewer shards than workers.
    """
    if per_shard is None:
        per_shard = max(1, _WORTH_A_STEP // max(1, records))
        per_shard = min(per_shard, math.ceil(len(steps) / workers) or 1)
    count = max(1, math.ceil(len(steps) / per_shard))
    bounds = [round(i * len(steps) / count) for i in range(count + 1)]
    return ScoringShards(tuple(ScoringShard(i, tuple(steps[bounds[i] : bounds[i + 1]]), folder) for i in range(count)))
