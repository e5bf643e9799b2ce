"""What was derived from a model, and how is it destroyed with the model? (As regulators order it: model and all.)"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from zenml.client import Client
from zenml.utils.pagination_utils import depaginate

from adapters import artifacts, clock, model_registry, prefixes, purge_kinds, purging, workdir
from adapters.ledger import open_ledger, write_epoch
from expunge.errors import IntegrityError, UsageError

# What is evidence of how requests were answered stays: numbers about models, no weights and no records.
EVIDENCE = {
    name: f"evidence of how requests were answered: {purge_kinds.KEPT[name]}"
    for name in (
        "certificates", "due_requests", "erasure_report", "evidence", "gate_decision", "lineage", "promotion", "purge",
        "registered_model", "unlearning_plan", "unlearning_run",
    )
}  # fmt: skip


@dataclass(frozen=True)
class Destruction:
    """What would go or went with a model version: versions with how they came from it, artifacts, and what stays."""

    versions: list[tuple[Any, str]]
    artifacts: list[Any]
    kept: list[tuple[str, str]]

    @property
    def labels(self) -> list[str]:
        return [model_registry.label(version) for version, _ in self.versions]

    @property
    def serves(self) -> bool:
        return any(version.stage == model_registry.PRODUCTION for version, _ in self.versions)


def derived_from(version: Any) -> Destruction:
    """The version, the versions that were unlearned from it, and every artifact that any of them went into.

    A model that was retrained from scratch in its place took nothing of its weights: it stays, and is named.
    """
    chosen = [(version, "named")]
    kept: list[tuple[str, str]] = []
    by_name = {v.name: v for v in model_registry.all_versions(version.model.name)}
    with open_ledger() as ledger:
        runs = ledger.list_runs()
    for parent, _ in chosen:  # grows while it is walked
        for run in runs:
            child = by_name.get(run.id)
            if child is None or run.model_version_before not in (str(parent.id), model_registry.label(parent)):
                continue
            if run.method == "retrain":
                kept.append((model_registry.label(child), "retrained from scratch: took nothing of its weights"))
            else:
                chosen.append((child, f"unlearned from {model_registry.label(parent)}"))
    own = [a for v, _ in chosen for a in artifacts.versions(model_version_id=v.id)]
    names = {name for v, _ in chosen for name in (str(v.id), model_registry.label(v))}
    left_by = {run.id for run in runs if run.model_version_before in names}
    own += [prefix.version for prefix in prefixes.kept() if prefix.run_id in left_by]  # checkpoints of these models
    found = _flow({str(a.id): a for a in own}, chosen)
    stays = {name: sum(a.artifact.name == name for a in found) for name in EVIDENCE}
    kept += [(f"{count} {name}", EVIDENCE[name]) for name, count in stays.items() if count]
    gone = [a for a in found if a.artifact.name not in EVIDENCE and not artifacts.is_destroyed(a)]
    return Destruction(chosen, gone, kept)


def destroy_model(version: Any, found: Destruction) -> dict[str, Any]:
    """Destroy them, with tombstones under a run of their own and an event; requests keep their lineage.

    Called again after a crash it finishes. Raises UsageError when everything is destroyed already, IntegrityError
    when something is still there afterwards.
    """
    run_id = f"destroy-{version.model.name}-{version.name}"
    with open_ledger() as ledger:
        known = next((run for run in ledger.list_runs() if run.id == run_id), None)
        if known is not None and known.status == "closed" and not found.artifacts:
            raise UsageError(f"{model_registry.label(version)} is destroyed already.", "See expunge model list.")
        details = {"requests": [], "versions": found.labels}
        ledger.add_run(run_id, method="destroy", model_version_before=model_registry.label(version), details=details)
    # Also what a killed process had marked, and perhaps not deleted to the end.
    everything = {a.id: a for a in [*_destroyed_by(run_id), *found.artifacts]}
    checkpoints = [a for a in everything.values() if a.artifact.name in purge_kinds.WITH_CHECKPOINTS]
    stored = {a.id: purging.objects_of(a) for a in checkpoints}
    for artifact in everything.values():
        if artifact.artifact.name == prefixes.KIND:
            prefixes.destroy(prefixes.KeptPrefix(artifact), run_id)
        elif artifact.artifact.name == "trajectory":
            purging.destroy_trajectory(artifact, run_id, stored[artifact.id])
        else:
            artifacts.destroy(artifact, run_id)
    for one, _ in found.versions:
        model_registry.archive(one)
    workdir.sweep()
    left = [f"{a.artifact.name} {a.id}" for a in everything.values() if artifacts.still_stored(a)]
    left += purging.still_present(stored.values())
    rows = [_tombstone(a, run_id) for a in everything.values()]
    with open_ledger() as ledger:
        ledger.add_tombstones(rows)
        if left:
            raise IntegrityError(f"Still there after the destruction: {'; '.join(left)}.", "Run the command again.")
        if ledger.get_run(run_id).status != "closed":
            counts = {"versions": found.labels, "artifacts": len(everything)}
            ledger.append_event("model.destroyed", counts, run_id=run_id)
            ledger.update_run(run_id, status="closed", finished_at=clock.now())
        ledger.advance_epoch("model destroyed")
    write_epoch()
    return {"run": run_id, "versions": found.labels, "artifacts": [row["name"] for row in rows]}


def _flow(found: dict[str, Any], chosen: list[tuple[Any, str]]) -> list[Any]:
    """These artifacts and every one that a step made with one of them, but for those of other model versions."""
    labels = {model_registry.label(version) for version, _ in chosen}
    known = {str(a.id): a for a in artifacts.versions()}
    steps = depaginate(Client().list_run_steps, hydrate=True, size=artifacts.PAGE)
    for step in sorted(steps, key=lambda step: step.created):
        if not any(str(a.id) in found for group in step.inputs.values() for a in group):
            continue
        for made in (a for group in step.outputs.values() for a in group):
            artifact = known.get(str(made.id))
            if artifact is None or purging.owner(artifact) not in {"", *labels}:
                continue
            found[str(made.id)] = artifact
    return list(found.values())


def _destroyed_by(run_id: str) -> Iterable[Any]:
    return [d.version for d in purging.destroyed_by(run_id)]


def _tombstone(artifact: Any, run_id: str) -> dict[str, Any]:
    metadata = artifact.run_metadata
    details: dict[str, Any] = {
        "why": "derived from a model that was destroyed",
        "model_version": purging.owner(artifact),
    }
    if "objects" in metadata:
        details["objects"] = list(metadata["objects"])
    return {
        "kind": artifact.artifact.name,
        "name": str(artifact.id),
        "status": "destroyed",
        "content_hash": artifact.content_hash or metadata.get("dvc_hash"),
        "method": purge_kinds.METHOD,
        "run_id": run_id,
        "created_at": artifact.created.replace(tzinfo=UTC),
        "destroyed_at": clock.now(),
        "details": details,
    }
