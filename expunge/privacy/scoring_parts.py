"""What must be computed to score a trajectory, in which parts, and what do the numbers depend on?

A part is one column: all records, or a sample of them, at one checkpoint. Parts are cut into blocks of records. The
sample is scored at checkpoints that are left out (what does that lose?) and in float32 beside bfloat16 (what does
that change?).
"""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from expunge.data import RecordTable
from expunge.errors import UsageError
from expunge.functions import load_function
from expunge.models import ModelSpec, build_model
from expunge.privacy.kernel_choice import KernelChoice
from expunge.privacy.record_index import first_few
from expunge.privacy.scores import GradientNorms
from expunge.training import Checkpoint, Trajectory
from expunge.training.schedule import spaced

LOSS = "cross_entropy"
_SAMPLE_SEED = 0


@dataclass(frozen=True)
class ScoringOptions:
    """How to score.

    Attributes:
        batch: most records per pass. block: records per block, the unit that a restart reuses.
        checkpoints: score only so many, evenly spaced, both ends included; None or more than there are: all.
        low_precision: multiply matrices in bfloat16.
        kernels: kernel names by layer key, from `expunge doctor --tune`.
        sample: records that are also scored at the checkpoints left out, and in float32 beside bfloat16.
    """

    batch: int = 4096
    block: int = 1 << 14
    device: str = "cpu"
    checkpoints: int | None = None
    low_precision: bool = False
    kernels: Mapping[str, str] = field(default_factory=dict)
    sample: int = 1000

    def __post_init__(self) -> None:
        if self.batch < 1 or self.block < 1 or self.sample < 2:
            raise UsageError(f"batch {self.batch} and block {self.block} must be 1 or more, sample {self.sample} 2.")
        if self.checkpoints is not None and self.checkpoints < 2:
            raise UsageError(f"{self.checkpoints} checkpoint(s) make no trajectory.", "Score at least 2, or all.")

    @property
    def precision(self) -> str:
        return "bfloat16" if self.low_precision else "float32"


@dataclass(frozen=True)
class Part:
    """One column. `sampled`: the sample's records only. `low_precision`: as asked for, or not, to compare."""

    checkpoint: Checkpoint
    sampled: bool
    low_precision: bool

    @property
    def name(self) -> str:
        records = "sample" if self.sampled else "all"
        precision = "bfloat16" if self.low_precision else "float32"
        return f"step-{self.checkpoint.step:07d}-{self.checkpoint.sha256[:12]}-{records}-{precision}"


def chosen_steps(trajectory: Trajectory, count: int | None) -> tuple[int, ...]:
    """Steps of `count` of the trajectory's checkpoints, evenly spaced, both ends included; all where there are fewer.

    Tombstones count, so that a run that follows a rewind is scored at the steps of the run before it.
    """
    steps = [c.step for c in trajectory.checkpoints]
    if count is None or count >= len(steps):
        return tuple(steps)
    return tuple(steps[i] for i in spaced(len(steps), count, "even"))


class ScoringParts:
    """The parts of one scoring.

    Args:
        table: holds the records that the trajectory was trained on.
        previous: norms of an earlier trajectory, for the checkpoints that a rewind destroyed.

    Raises:
        UsageError: no records; a target that is no class of the model; destroyed checkpoints whose norms are gone.
        NotFoundError: a record that `table` lacks.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        table: RecordTable,
        previous: GradientNorms | None = None,
        options: ScoringOptions = ScoringOptions(),
    ) -> None:
        # the same table where it can be: its fingerprint is known, and its features are not copied
        same = table.record_ids == trajectory.record_ids
        self.records = table if same else table.select(trajectory.record_ids)
        self.trajectory, self.previous, self.options = trajectory, previous, options
        self.steps = chosen_steps(trajectory, options.checkpoints)
        _refuse_records(self.records, trajectory.model_spec)
        _refuse_missing(trajectory, previous)

    @property
    def scored(self) -> list[Checkpoint]:
        """Checkpoints at which every record is scored: the chosen ones whose bytes exist."""
        return [c for c in self.trajectory.kept if c.step in self.steps]

    @property
    def known(self) -> tuple[int, ...]:
        """Steps of destroyed checkpoints whose norms are at hand."""
        known = set(self.previous.steps) if self.previous is not None else set()
        return tuple(c.step for c in self.trajectory.checkpoints if c.destroyed and c.step in known)

    @property
    def fewer(self) -> bool:
        """Whether checkpoints whose bytes exist are left out."""
        return len(self.scored) < len(self.trajectory.kept)

    @cached_property
    def sample(self) -> npt.NDArray[np.int64]:
        """Rows of the sample, ascending: drawn once, by a fixed seed."""
        size = min(self.options.sample, len(self.records))
        drawn = np.random.default_rng(_SAMPLE_SEED).choice(len(self.records), size, replace=False)
        return np.sort(drawn)

    def at(self, step: int) -> list[Part]:
        """The parts of one checkpoint."""
        checkpoint = next(c for c in self.trajectory.kept if c.step == step)
        low = self.options.low_precision
        if step not in self.steps:
            return [Part(checkpoint, sampled=True, low_precision=low)]
        parts = [Part(checkpoint, sampled=False, low_precision=low)]
        return [*parts, Part(checkpoint, sampled=True, low_precision=False)] if low else parts

    def worked_on(self) -> tuple[int, ...]:
        """Steps of the checkpoints that have a part: the chosen ones, and those left out, for the sample."""
        return tuple(c.step for c in self.trajectory.kept)

    def blocks(self, part: Part) -> list[npt.NDArray[np.int64] | slice]:
        """The rows of each block of a part."""
        if part.sampled:
            return [self.sample[i : i + self.options.block] for i in range(0, len(self.sample), self.options.block)]
        return [slice(i, i + self.options.block) for i in range(0, len(self.records), self.options.block)]

    def size(self, part: Part) -> int:
        """Records of a part."""
        return len(self.sample) if part.sampled else len(self.records)

    def work(self, steps: Iterable[int] | None = None) -> int:
        """Records times checkpoints to compute, at these checkpoints or at all."""
        every = self.worked_on() if steps is None else steps
        return sum(self.size(part) for step in every for part in self.at(step))

    @cached_property
    def key(self) -> str:
        """SHA-256 of everything, besides the checkpoint, that the numbers of a block depend on."""
        spec = self.trajectory.model_spec
        parts = {
            "records": self.records.fingerprint,
            "sample": [len(self.sample), _SAMPLE_SEED],
            "model": spec.to_dict(),
            "layers": str(build_model(spec)),
            "loss": LOSS,
            "batch": self.options.batch,
            "block": self.options.block,
            "device": self.options.device,
            "kernels": KernelChoice(self.options.kernels).digest(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "machine": [platform.machine(), torch.backends.cpu.get_cpu_capability()],
            "code": _code_digest(spec.name),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@cache
def _code_digest(model_name: str) -> str:
    """SHA-256 of the files that compute norms, and of the user's own model function; as they were at first, for that is
    what this process runs."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    if ":" in model_name:
        own = inspect.getsourcefile(inspect.unwrap(load_function(model_name)))
        files += [Path(own)] if own else []
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _refuse_records(records: RecordTable, spec: ModelSpec) -> None:
    if not len(records):
        raise UsageError("There is no record to score.", "Train on at least one record.")
    wrong = np.flatnonzero((records.targets < 0) | (records.targets >= spec.classes))
    if len(wrong):
        named = first_few([records.record_ids[row] for row in wrong])
        raise UsageError(
            f"Targets of {len(wrong)} record(s) are outside 0..{spec.classes - 1}, the classes of the model: {named}.",
            "Recode the targets, or train a model with as many classes.",
        )


def _refuse_missing(trajectory: Trajectory, previous: GradientNorms | None) -> None:
    """Norms of destroyed checkpoints must be at hand, except those that the earlier scoring left out itself."""
    destroyed = [c.step for c in trajectory.checkpoints if c.destroyed]
    known = set(previous.steps) if previous is not None else set()
    left_out = previous is not None and "checkpoints" in previous.settings
    missing = [step for step in destroyed if step not in known]
    if missing and not (left_out and destroyed[0] in known):
        raise UsageError(
            f"The checkpoint at step {missing[0]} was destroyed and its gradient norms are not at hand.",
            "Retrain to get a trajectory that can be scored.",
        )
