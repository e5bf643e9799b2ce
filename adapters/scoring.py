"""How does scoring find its options, its records and its shards in a project?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapters import artifacts, kernel_table, workdir
from adapters.project import current_project
from expunge.privacy.scores import GradientNorms
from expunge.privacy.scoring_parts import ScoringOptions, ScoringParts
from expunge.privacy.shards import ShardFolder
from expunge.settings import ProjectSettings

_PREFIX = "shards-"
_NAMED_BY = 12  # digits of a trajectory's digest


def scoring_options(settings: ProjectSettings) -> ScoringOptions:
    """Options of the scenario, with the project's kernel table. Raises as `kernel_table.usable`."""
    chosen = settings.scoring
    return ScoringOptions(
        batch=chosen.batch,
        block=chosen.block,
        device=settings.device,
        checkpoints=chosen.checkpoints,
        low_precision=chosen.precision == "bfloat16",
        kernels=kernel_table.usable(settings.device),
        sample=chosen.sample,
    )


def scoring_parts(
    trajectory: Any, records: Any, previous: GradientNorms | None, settings: ProjectSettings
) -> ScoringParts:
    """What is to be scored; `trajectory` and `records` are artifact versions.

    In one run of a dynamic pipeline ZenML then reads each once, however many steps ask for it.
    """
    return ScoringParts(trajectory.load(), records.load(), previous, scoring_options(settings))


def claim_shards(trajectory: Any) -> str:
    """Name of the folder for this trajectory's blocks: that of a killed process, unless another one is at work."""
    digest = artifacts.materializer_of(trajectory).load_manifest().digest
    return workdir.claim(f"{_PREFIX}{digest[:_NAMED_BY]}").name


def shard_folder(name: str, parts: ScoringParts) -> ShardFolder:
    """The blocks in a claimed folder; those of other settings, data or code count as absent."""
    return ShardFolder(current_project().work / name, parts.key)


def shards_of(trajectory_digests: set[str]) -> list[Path]:
    """Folders with blocks of these trajectories: numbers of records, though no ids."""
    named = {digest[:_NAMED_BY] for digest in trajectory_digests}
    found = current_project().work.glob(f"{_PREFIX}*")
    return [path for path in found if path.name.removeprefix(_PREFIX)[:_NAMED_BY] in named]
