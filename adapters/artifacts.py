"""Find, load and destroy artifacts of this project."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from zenml.client import Client
from zenml.utils.metadata_utils import log_metadata
from zenml.utils.pagination_utils import depaginate

from adapters import clock
from expunge.errors import NotFoundError

DESTROYED_AT = "destroyed_at"
DESTROYED_BY = "destroyed_by"
MODEL_VERSION = "model_version"
ROWS_REMOVED_AT = "rows_removed_at"
ROWS_REMOVED_BY = "rows_removed_by"
ROWS_REMOVED = "rows_removed"
PAGE = 1000
"""Artifact versions that are asked for at once: a project of some years has thousands, and a page costs a query."""


def versions(name: str | None = None, *, model_version_id: Any = None, present_only: bool = False) -> list[Any]:
    """Artifact versions by name and model version, newest first."""
    found = depaginate(
        Client().list_artifact_versions,
        artifact=name,
        model_version_id=model_version_id,
        hydrate=True,
        sort_by="desc:created",
        size=PAGE,
    )
    return [v for v in found if not (present_only and is_destroyed(v))]


def hydrated(version: Any) -> Any:
    """The same version with its metadata."""
    return Client().get_artifact_version(version.id, hydrate=True)


def newest(name: str, *, model_version_id: Any = None) -> Any | None:
    """The newest version that is not destroyed, or None."""
    return next(iter(versions(name, model_version_id=model_version_id, present_only=True)), None)


def is_destroyed(version: Any) -> bool:
    """Whether its content was destroyed; its record, its metadata and its place in the lineage stay."""
    return DESTROYED_AT in version.run_metadata


def load(version: Any) -> Any:
    """The artifact's content, verified. Raises NotFoundError for a destroyed one, IntegrityError for changed bytes."""
    if is_destroyed(version):
        raise NotFoundError(
            f"Artifact {version.artifact.name} ({version.id}) was destroyed at {version.run_metadata[DESTROYED_AT]}.",
            "What is left of it: `expunge audit`.",
        )
    return version.load()


def destroy(version: Any, run_id: str) -> None:
    """Delete the content and its pages from the artifact store; the version stays as a tombstone. Idempotent."""
    mark_destroyed(version, run_id)
    client = Client()
    if client.active_stack.artifact_store.exists(version.uri):  # also what a backup brought back
        client.delete_artifact_version(version.id, delete_metadata=False, delete_from_artifact_store=True)


def mark_destroyed(version: Any, run_id: str) -> None:
    """Say that an artifact is destroyed, before anything of it is deleted.

    A process that is killed in between leaves a mark that the next one goes by (`remains`), never an artifact that
    looks whole and cannot be read.
    """
    if not is_destroyed(version):
        note(version, {DESTROYED_AT: clock.now().isoformat(timespec="seconds"), DESTROYED_BY: run_id})


def remove_records(version: Any, record_ids: Collection[str], run_id: str) -> None:
    """Take these records out of an artifact that stays; what is known of it says so, before it is done. Idempotent."""
    moment = clock.now().isoformat(timespec="seconds")
    note(version, {ROWS_REMOVED_AT: moment, ROWS_REMOVED_BY: run_id, ROWS_REMOVED: len(record_ids)})
    facts = materializer_of(version).remove_records(record_ids)
    if kept := {name: value for name, value in facts.items() if name in version.run_metadata}:
        note(version, kept)


def size(version: Any) -> int:
    """Bytes that the artifact store holds of it."""
    store = Client().active_stack.artifact_store
    if not store.exists(version.uri):
        return 0
    paths = [f"{folder}/{name}" for folder, _, names in store.walk(version.uri) for name in names]
    return sum(int(store.size(path) or 0) for path in paths)


def note(version: Any, metadata: dict[str, Any]) -> None:
    """Add metadata to an artifact version."""
    log_metadata(metadata=metadata, artifact_version_id=version.id)


def still_stored(version: Any) -> bool:
    """Whether the artifact store still holds anything of it: asked of the store, not of the records."""
    exists: bool = Client().active_stack.artifact_store.exists(version.uri)
    return exists


def materializer_of(version: Any) -> Any:
    """The version's own materializer, to read parts of it (a manifest without its bytes)."""
    from zenml.utils import source_utils

    kind = source_utils.load_and_validate_class(version.materializer, expected_class=object)
    return kind(version.uri, Client().active_stack.artifact_store)
