"""Gradient norms of every training record: joined from shards, whatever they lack computed here."""

from typing import Annotated

from zenml import step
from zenml.artifacts.unmaterialized_artifact import UnmaterializedArtifact

from adapters.progress import progress
from adapters.runs import without_record_ids
from adapters.scoring import claim_shards, scoring_parts, shard_folder
from expunge.facts import Facts
from expunge.privacy.part_scoring import Tally, score_parts
from expunge.privacy.scores import GradientNorms
from expunge.privacy.scoring_report import scoring_report
from expunge.privacy.trajectory_scores import joined
from expunge.settings import ProjectSettings


@step(enable_cache=False)
def score_gradient_norms(
    trajectory: UnmaterializedArtifact,
    training_records: UnmaterializedArtifact,
    settings: ProjectSettings,
    previous: GradientNorms | None = None,
    shards: tuple[Facts, ...] = (),
) -> tuple[Annotated[GradientNorms, "gradient_norms"], Annotated[Facts, "scoring_report"]]:
    with without_record_ids():
        parts = scoring_parts(trajectory, training_records, previous, settings)
        folder = shards[0].values["folder"] if shards else claim_shards(trajectory)
        kept = shard_folder(folder, parts)
        here = score_parts(parts, kept, progress=progress("joining shards" if shards else "scoring"))
        tally = Tally.of_shards([shard.values["tally"] for shard in shards], here) if shards else here
        norms = joined(parts, kept)
        report = scoring_report(parts, kept, norms, tally, settings.scoring.order, settings.scoring.r0)
    return norms, Facts("Scoring", report | {"workers": settings.scoring.workers})
