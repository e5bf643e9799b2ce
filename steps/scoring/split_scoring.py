"""Which checkpoints are scored together? Each shard becomes a step of its own."""

from typing import Annotated

from zenml import step
from zenml.artifacts.unmaterialized_artifact import UnmaterializedArtifact

from adapters import artifacts, progress
from adapters.scoring import claim_shards
from expunge.privacy.scoring_shards import ScoringShards, share_out
from expunge.settings import ProjectSettings


@step(enable_cache=False)
def split_scoring(
    trajectory: UnmaterializedArtifact, settings: ProjectSettings
) -> Annotated[ScoringShards, "scoring_shards"]:
    manifest = artifacts.materializer_of(trajectory).load_manifest()
    progress.begin("scoring")
    return share_out(
        [c.step for c in manifest.kept],
        len(manifest.record_ids),
        claim_shards(trajectory),
        settings.scoring.checkpoints_per_shard,
        settings.scoring.workers,
    )
