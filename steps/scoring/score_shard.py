"""Gradient norms at some of the checkpoints, into blocks that a restart reuses."""

from dataclasses import asdict
from typing import Annotated

from zenml import step
from zenml.artifacts.unmaterialized_artifact import UnmaterializedArtifact

from adapters.progress import progress_of_part
from adapters.runs import without_record_ids
from adapters.scoring import scoring_parts, shard_folder
from expunge.facts import Facts
from expunge.privacy.part_scoring import score_parts
from expunge.privacy.scores import GradientNorms
from expunge.privacy.scoring_shards import ScoringShard
from expunge.settings import ProjectSettings


@step(enable_cache=False)
def score_shard(
    shard: ScoringShard,
    trajectory: UnmaterializedArtifact,
    training_records: UnmaterializedArtifact,
    settings: ProjectSettings,
    previous: GradientNorms | None = None,
) -> Annotated[Facts, "scored_shard"]:
    with without_record_ids():
        parts = scoring_parts(trajectory, training_records, previous, settings)
        report = progress_of_part("scoring", shard.number, parts.work())
        tally = score_parts(parts, shard_folder(shard.folder, parts), shard.steps, report)
    done = {name: value for name, value in asdict(tally).items() if name != "how"}  # the join reads that off the blocks
    return Facts("Scored shard", {"folder": shard.folder, "checkpoints": list(shard.steps), "tally": done})
