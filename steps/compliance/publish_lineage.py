"""Draw the lineage as a page. The audited versions are inputs, so that they are nodes of this run's DAG.

A version may lack some of them. ZenML leaves an input unloaded only for this exact annotation: None is no part of it.
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
    model_versions: list[str],
    training_records_before: UnmaterializedArtifact = None,
    trajectory_before: UnmaterializedArtifact = None,
    model_before: UnmaterializedArtifact = None,
    unlearning_plan: UnmaterializedArtifact = None,
    unlearning_run: UnmaterializedArtifact = None,
    evidence: UnmaterializedArtifact = None,
    gate_decision: UnmaterializedArtifact = None,
    training_records_after: UnmaterializedArtifact = None,
    trajectory_after: UnmaterializedArtifact = None,
    model_after: UnmaterializedArtifact = None,
) -> Annotated[Report, "lineage"]:
    found = lineage.of_runs(kind, name, run_ids, model_versions)
    return Report(f"Lineage of {kind} {name}", page_of(found), {"kind": kind, "runs": len(run_ids)})
