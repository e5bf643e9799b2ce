"""Draw the lineage as a page. The audited versions are inputs, so that they are nodes of this run's DAG."""

from typing import Annotated

from zenml import step
from zenml.artifacts.unmaterialized_artifact import UnmaterializedArtifact

from adapters import lineage
from adapters.lineage_graph import page_of
from expunge.facts import Report


@step(enable_cache=False)
def publish_lineage(
    kind: str,
    name: str,
    run_ids: list[str],
    model_versions: list[str],
    training_records_before: UnmaterializedArtifact | None = None,
    trajectory_before: UnmaterializedArtifact | None = None,
    model_before: UnmaterializedArtifact | None = None,
    unlearning_plan: UnmaterializedArtifact | None = None,
    unlearning_run: UnmaterializedArtifact | None = None,
    evidence: UnmaterializedArtifact | None = None,
    gate_decision: UnmaterializedArtifact | None = None,
    training_records_after: UnmaterializedArtifact | None = None,
    trajectory_after: UnmaterializedArtifact | None = None,
    model_after: UnmaterializedArtifact | None = None,
) -> Annotated[Report, "lineage"]:
    found = lineage.of_runs(kind, name, run_ids, model_versions)
    return Report(f"Lineage of {kind} {name}", page_of(found), {"kind": kind, "runs": len(run_ids)})
