"""Publish a lineage into the dashboard: its page as output, the audited artifact versions as nodes of the DAG."""

from __future__ import annotations

from typing import Any

from zenml import pipeline

from adapters import artifacts
from adapters.lineage import Lineage
from adapters.runs import PipelineRun, run_pipeline
from steps.compliance.publish_lineage import publish_lineage
from steps.compliance.stand_in import stand_in

_BEFORE = ("training_records", "trajectory", "model")
_BETWEEN = ("unlearning_plan", "unlearning_run", "evidence", "gate_decision")
SLOTS = (*(f"{part}_{side}" for side in ("before", "after") for part in _BEFORE), *_BETWEEN)


@pipeline(name="audit")
def audit_pipeline(
    kind: str,
    name: str,
    run_ids: list[str],
    request_ids: list[str],
    model_versions: list[str],
    artifact_ids: dict[str, str],
) -> None:
    """Read metadata only, for a purged artifact has nothing else left."""
    known = {str(v.id): v for v in artifacts.versions()}
    inputs: dict[str, Any] = {slot: known[artifact_id] for slot, artifact_id in artifact_ids.items()}
    if lacking := [slot for slot in SLOTS if slot not in inputs]:
        inputs |= dict.fromkeys(lacking, stand_in())
    publish_lineage(kind, name, run_ids, request_ids, model_versions, **inputs)


def run_audit(found: Lineage) -> PipelineRun:
    """Publish; records and people appear under their keyed pseudonyms, for a pipeline's parameters stay for ever."""
    slots: dict[str, str] = {}
    finished = [link for link in found.links if link.after] or found.links
    before = finished[-1].before if finished else (found.holders[0] if found.holders else None)
    after = finished[-1].after if finished else None
    for side, version in (("before", before), ("after", after)):
        for part in _BEFORE:
            if version and part in version.parts:
                slots[f"{part}_{side}"] = str(version.parts[part].id)
    for part in _BETWEEN:
        if after and part in after.parts:
            slots[part] = str(after.parts[part].id)
    run_ids = [link.run["id"] for link in found.links]
    labels = [version.label for version in found.holders]
    requests = [request["id"] for request in found.ledger["requests"]]
    return run_pipeline(audit_pipeline, "audit", found.kind, found.public_name, run_ids, requests, labels, slots)
