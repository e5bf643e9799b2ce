"""trajectory -> shards of gradient norms, fanned out -> gradient norms -> privacy losses."""

from __future__ import annotations

from zenml import pipeline, unmapped

from adapters import model_registry, workdir
from adapters.progress import stopping_parts
from adapters.runs import PipelineRun, run_pipeline, runs_dynamic_pipelines
from adapters.scoring import scoring_options
from expunge.settings import ProjectSettings
from pipelines.inputs import optional, required
from steps.scoring.attach_to_model import attach_to_model
from steps.scoring.compute_privacy_losses import compute_privacy_losses
from steps.scoring.score_gradient_norms import score_gradient_norms
from steps.scoring.score_shard import score_shard
from steps.scoring.split_scoring import split_scoring


@pipeline(name="scoring", dynamic=True)
def scoring_pipeline(model_version: str, settings: ProjectSettings) -> None:
    """Score every training record of a model version along its trajectory, some checkpoints a step."""
    trajectory = required("trajectory", model_version)
    records = required("training_records", model_version)
    # After a rewind the checkpoints before its start are tombstones: their norms come from the scores there are.
    earlier = optional("gradient_norms", model_version)
    given = {} if earlier is None else {"previous": earlier}
    mapped = {name: unmapped(value) for name, value in given.items()}
    shards = split_scoring(trajectory, settings)
    with stopping_parts():
        scored = score_shard.map(shards, unmapped(trajectory), unmapped(records), unmapped(settings), **mapped)
        norms, _ = score_gradient_norms(trajectory, records, settings, shards=scored, **given)
    losses = compute_privacy_losses(norms, trajectory, records, settings)
    attach_to_model(norms, losses, model_version)


@pipeline(name="scoring")
def scoring_in_one_step(model_version: str, settings: ProjectSettings) -> None:
    """The same for orchestrators that have no dynamic pipelines."""
    trajectory = required("trajectory", model_version)
    records = required("training_records", model_version)
    norms, _ = score_gradient_norms(trajectory, records, settings, optional("gradient_norms", model_version))
    losses = compute_privacy_losses(norms, trajectory, records, settings)
    attach_to_model(norms, losses, model_version)


def run_scoring(settings: ProjectSettings, model_version: str | None = None) -> PipelineRun:
    """Score a model version, by default the one that serves; the shards are gone once its norms are stored."""
    scoring_options(settings)  # refused here, a kernel table that cannot be used starts nothing
    version = model_version or str(model_registry.production(settings.model.registered_as).id)
    chosen = scoring_pipeline if runs_dynamic_pipelines() else scoring_in_one_step
    done = run_pipeline(chosen, "scoring", version, settings, workers=settings.scoring.workers)
    workdir.release()
    return done
