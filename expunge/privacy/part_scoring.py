"""How are the parts of a scoring computed, block by block, so that finished blocks are never computed again?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from expunge.errors import ExpungeError
from expunge.models import build_model
from expunge.privacy.gradient_norms import NormsNotFinite
from expunge.privacy.record_index import first_few
from expunge.privacy.scorer import GradientNormScorer, HowScored
from expunge.privacy.scoring_parts import LOSS, Part, ScoringParts
from expunge.privacy.shards import Block, Blocks

Rows = npt.NDArray[np.int64] | slice


@dataclass
class Tally:
    """What was done: gradients computed, in how many seconds (of all workers together); blocks made, and found.

    `how` by step: how all records were scored there.
    """

    gradients: int = 0
    seconds: float = 0.0
    blocks: int = 0
    reused: int = 0
    how: dict[int, HowScored] = field(default_factory=dict)

    @classmethod
    def of_shards(cls, shards: Sequence[Mapping[str, Any]], join: Tally) -> Tally:
        """Of shards that steps of their own scored, given as JSON, and of what was still missing when they were joined.

        Blocks that the join found are counted by the shards.
        """
        return cls(
            sum(shard["gradients"] for shard in shards) + join.gradients,
            sum(shard["seconds"] for shard in shards) + join.seconds,
            join.blocks,
            sum(shard["reused"] for shard in shards),
            join.how,
        )


def score_parts(
    parts: ScoringParts,
    kept: Blocks,
    steps: Iterable[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tally:
    """Compute what `kept` lacks of the parts at these checkpoints (default: all of them).

    Args:
        progress: called with (records times checkpoints done, in all).

    Raises:
        IntegrityError: a checkpoint that is missing or changed.
        UsageError: a checkpoint of another architecture, naming the first tensor that does not fit.
        ExpungeError: a norm that is not finite, naming the records and the checkpoint; a disk that refuses.
    """
    steps = list(parts.worked_on() if steps is None else steps)
    tally, total, done = Tally(), parts.work(steps), 0
    scorers = _Scorers(parts)
    for step in steps:
        for part in parts.at(step):
            for block, seconds in _blocks(parts, part, kept, scorers):
                done += len(block.norms)
                tally.blocks += 1
                if seconds is None:
                    tally.reused += 1
                else:
                    tally.gradients += len(block.norms)
                    tally.seconds += seconds
                if not part.sampled:
                    tally.how[step] = block.how
                if progress is not None:
                    progress(done, total)
    return tally


def column(parts: ScoringParts, part: Part, kept: Blocks) -> npt.NDArray[np.float32]:
    """The norms of a part whose blocks are all there, [records of the part]."""
    found = []
    for number, rows in enumerate(parts.blocks(part)):
        block = kept.get(_name(part, number), _count(parts, rows))
        assert block is not None, f"block {number} of {part.name} was not computed"
        found.append(block.norms)
    return np.concatenate(found)


def _blocks(parts: ScoringParts, part: Part, kept: Blocks, scorers: _Scorers) -> Iterator[tuple[Block, float | None]]:
    """The blocks of a part, each with the seconds it took, None where it was there.

    The first one settles the way for the others, whether it was made now or by a process that was killed: so the
    numbers do not depend on where that happened.
    """
    first: HowScored | None = None
    for number, rows in enumerate(parts.blocks(part)):
        name = _name(part, number)
        block, seconds = kept.get(name, _count(parts, rows)), None
        if block is None:
            started = time.perf_counter()
            block = scorers.score(part, rows, first)
            seconds = time.perf_counter() - started
            kept.put(name, block)
        first = first or block.how
        yield block, seconds


class _Scorers:
    """A scorer for each precision, holding the weights of the part it scored last."""

    def __init__(self, parts: ScoringParts) -> None:
        self.parts = parts
        self._scorers: dict[bool, GradientNormScorer] = {}
        self._holds: dict[bool, Part] = {}

    def score(self, part: Part, rows: Rows, first: HowScored | None) -> Block:
        """The block of these rows; `first`: how the part's first block was scored, if this is a later one."""
        scorer = self._scorer(part)
        if first is not None:
            scorer.go_on_as(first)
        numbers = np.arange(len(self.parts.records))[rows]
        try:
            norms = torch.cat([part.cpu() for part in scorer.norms(_batches(self.parts, rows, len(numbers)))])
        except NormsNotFinite as error:
            ids = first_few([self.parts.records.record_ids[numbers[row]] for row in error.rows])
            raise ExpungeError(
                f"Gradient norms are not finite at step {part.checkpoint.step}: {ids}.", error.hint
            ) from error
        return Block(norms.numpy().astype(np.float32), scorer.how)

    def _scorer(self, part: Part) -> GradientNormScorer:
        options = self.parts.options
        low = part.low_precision
        if low not in self._scorers:
            model = build_model(self.parts.trajectory.model_spec).to(options.device)
            self._scorers[low] = GradientNormScorer(
                model, LOSS, kernels=options.kernels, low_precision=low, chunk=options.batch
            )
        if self._holds.get(low) != part:
            self._scorers[low].load(self.parts.trajectory.state(part.checkpoint).model_state())
            self._holds[low] = part
        return self._scorers[low]


def _batches(parts: ScoringParts, rows: Rows, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The block's records, as many at once as a pass may take: no more of them lie on the device."""
    features, targets = (torch.from_numpy(array[rows]) for array in (parts.records.features, parts.records.targets))
    for at in range(0, count, parts.options.batch):
        some = slice(at, at + parts.options.batch)
        yield features[some], targets[some]


def _name(part: Part, number: int) -> str:
    return f"{part.name}-{number:05d}"


def _count(parts: ScoringParts, rows: Rows) -> int:
    return len(range(*rows.indices(len(parts.records)))) if isinstance(rows, slice) else len(rows)
