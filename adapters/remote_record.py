"""Which remote is this project's? Recorded below the project, and in the remote itself by a marker.

An empty folder where a disk should be mounted, or the bucket of somebody else, must not pass for ours: nothing that is
not found there would be proof of anything.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from pydantic import ValidationError

from adapters.project import Project
from adapters.remotes import Remote, RemoteUnreachable, dvc_options, open_remote
from expunge.errors import ExpungeError, UsageError
from expunge.storage import StorageConfig

MARKER = "expunge.json"


@dataclass(frozen=True)
class RemoteRecord:
    """The remote in use. `leaving`: one that a move has not emptied yet. `taken`: it carries our marker."""

    id: str
    storage: StorageConfig
    leaving: StorageConfig | None = None
    taken: bool = True


def folder_of(project: Project, storage: StorageConfig) -> Path:
    """Where the remote lies when it is a folder."""
    if storage.remote is None or storage.is_bucket:
        return project.dvc_remote
    return (project.root / Path(storage.remote).expanduser()).resolve()


def open_storage(project: Project, storage: StorageConfig) -> Remote:
    """The remote of this section."""
    return open_remote(storage, folder_of(project, storage))


def options_of(project: Project, storage: StorageConfig) -> dict[str, str]:
    """What DVC's configuration says of it."""
    return dvc_options(storage, folder_of(project, storage))


def is_same(project: Project, a: StorageConfig, b: StorageConfig) -> bool:
    """Whether both name the same place; how it is reached may differ."""

    def place(storage: StorageConfig) -> tuple[str, str]:
        if storage.is_bucket:
            return str(storage.remote), (storage.endpoint_url or "").rstrip("/")
        return str(folder_of(project, storage).resolve()), ""

    return place(a) == place(b)


def settings_of(project: Project) -> StorageConfig:
    """The `storage` section that later commands go by. Raises UsageError."""
    for path in (project.active_settings, project.own_settings):
        if path.is_file():
            try:
                section = (yaml.safe_load(path.read_text()) or {}).get("storage") or {}
                return StorageConfig.model_validate(section)
            except (yaml.YAMLError, AttributeError, ValidationError) as error:
                raise UsageError(f"{path}: the section storage cannot be read: {error}.", "Mend it.") from error
    return StorageConfig()


def read_record(project: Project) -> RemoteRecord | None:
    """What is recorded; None before the first checkpoint. Raises ExpungeError for a file that cannot be read."""
    try:
        raw = json.loads(project.remote_record.read_text())
        leaving = raw.get("leaving")
        return RemoteRecord(
            raw["id"],
            StorageConfig.model_validate(raw["storage"]),
            None if leaving is None else StorageConfig.model_validate(leaving),
            bool(raw["taken"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise ExpungeError(
            f"{project.remote_record} cannot be read: {error}.", "Restore it from a backup: it names the DVC remote."
        ) from error


def write_record(project: Project, record: RemoteRecord) -> None:
    """Record it, whole or not at all."""
    raw = {
        "id": record.id,
        "storage": record.storage.model_dump(mode="json"),
        "leaving": None if record.leaving is None else record.leaving.model_dump(mode="json"),
        "taken": record.taken,
    }
    project.state.mkdir(parents=True, exist_ok=True)
    partial = project.remote_record.with_suffix(".partial")
    partial.write_text(json.dumps(raw, indent=1) + "\n")
    partial.replace(project.remote_record)


def settle(project: Project, wanted: StorageConfig | None) -> RemoteRecord:
    """The record, made now if there is none; `wanted` must name the remote in use.

    Raises UsageError where it names another one: what the old one holds must move along, or a purge would miss it.
    """
    record = read_record(project)
    if record is None:
        older = (project.dvc / ".dvc").is_dir()  # made before remotes could be chosen
        storage = StorageConfig() if older else wanted if wanted is not None else settings_of(project)
        record = RemoteRecord(secrets.token_hex(16), storage, taken=False)
        if older:
            take(open_storage(project, storage), record.id, empty=False)
        write_record(project, record)
    if not record.taken:
        if wanted is not None:
            record = replace(record, storage=wanted)
        take(open_storage(project, record.storage), record.id)
        record = replace(record, taken=True)
        write_record(project, record)
    if wanted is not None and wanted != record.storage:
        if not is_same(project, wanted, record.storage):
            raise UsageError(
                f"storage.remote is {described(project, wanted)}, but this project's checkpoints are in"
                f" {described(project, record.storage)}.",
                "Move them with `expunge storage move`, or set storage.remote back: a purge must reach them all.",
            )
        record = replace(record, storage=wanted)
        write_record(project, record)
    return record


def take(remote: Remote, project_id: str, empty: bool = True) -> None:
    """Mark a remote as this project's. Raises UsageError where it is another's, or holds something unmarked."""
    holder = holder_of(remote)
    if holder == project_id:
        return
    if holder is not None:
        raise UsageError(
            f"The DVC remote {remote.where} belongs to another project (its {MARKER} names {holder[:8]}).",
            "Give every project a folder or prefix of its own: destroying in one would destroy in both.",
        )
    if empty and remote.names():
        raise UsageError(
            f"The DVC remote {remote.where} already holds objects that are not this project's.",
            "Give the project a folder or prefix of its own: a purge must know what it destroys.",
        )
    remote.write(remote.path(MARKER), json.dumps({"expunge_project": project_id}).encode())


def holder_of(remote: Remote) -> str | None:
    """The id of the project whose marker the remote carries; None without one."""
    raw = remote.read(MARKER)
    if raw is None:
        return None
    try:
        return str(json.loads(raw)["expunge_project"])
    except (ValueError, KeyError, TypeError):
        return "something unreadable"


def reach(remote: Remote, project_id: str) -> Remote:
    """The same remote, after its marker was read there. Raises RemoteUnreachable."""
    holder = holder_of(remote)
    if holder is None:
        raise RemoteUnreachable(
            f"The DVC remote {remote.where} is not the one that was in use: its {MARKER} is missing there.",
            "Bring it back (is its disk mounted?). If it is lost, `expunge storage repair` fills it from the cache.",
        )
    if holder != project_id:
        raise RemoteUnreachable(
            f"The DVC remote {remote.where} belongs to another project (its {MARKER} names {holder[:8]}).",
            "Mend storage.remote, or bring the right one back.",
        )
    return remote


def described(project: Project, storage: StorageConfig) -> str:
    """The remote in words, without asking it."""
    if storage.is_bucket:
        return f"{storage.remote}" + (f" at {storage.endpoint_url}" if storage.endpoint_url else "")
    return str(folder_of(project, storage))
