"""Draw the lineage as a page. The audited versions are inputs, so that they are nodes of this run's DAG.

What a lineage lacks has `stand_in` in its place. ZenML leaves an input unloaded only for this exact annotation: None
is no part of it, and no default is allowed.
"""

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
    request_ids: list[str],
    model_versions: list[str],
    training_records_before: UnmaterializedArtifact,
    trajectory_before: UnmaterializedArtifact,
    model_before: UnmaterializedArtifact,
    unlearning_plan: UnmaterializedArtifact,
    unlearning_run: UnmaterializedArtifact,
    evidence: UnmaterializedArtifact,
    gate_decision: UnmaterializedArtifact,
    training_records_after: UnmaterializedArtifact,
    trajectory_after: UnmaterializedArtifact,
    model_after: UnmaterializedArtifact,
) -> Annotated[Report, "lineage"]:
    found = lineage.of_runs(kind, name, run_ids, model_versions, request_ids)
    return Report(f"Lineage of {kind} {name}", page_of(found, name), {"kind": kind, "runs": len(run_ids)})
