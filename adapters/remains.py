"""What have killed processes left, and may it go? Called when nothing of this project is being answered.

Half-finished work, what was marked as destroyed and is not yet gone, files and checkpoints that no artifact names, and
model versions that were never finished. While another process runs a pipeline, what has no name may be its own, and
stays until the next time.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from zenml.client import Client

from adapters import artifacts, model_registry, prefixes, purging, workdir
from adapters.checkpoint_store import CheckpointStore, StoredDirectory
from adapters.project import current_project
from adapters.running import nobody_since

_LOGS, _OWN = "logs", "custom_artifacts"
_TEMPORARY = re.compile(r"\..+\.\d+\.[0-9a-f]{8}")
_TRAINED = ("trajectory", "model", "training_records", "held_out_records")


@dataclass(frozen=True)
class Nameless:
    """Folders of the artifact store and checkpoints that no artifact names."""

    folders: tuple[Path, ...] = ()
    trajectories: tuple[StoredDirectory, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.folders or self.trajectories)


def sweep() -> None:
    """Remove it. Does nothing twice, and nothing to what a living process works on."""
    every = artifacts.versions()
    for version in every:
        if artifacts.is_destroyed(version) and artifacts.still_stored(version):
            finish(version)
    before = nobody_since()
    if before is not None:
        _remove_temporary_files(before)
        found = _nameless(every, before)
        for folder in found.folders:
            shutil.rmtree(folder, ignore_errors=True)
        for stored in found.trajectories:
            CheckpointStore().destroy(stored)
    workdir.sweep()


def nameless() -> Nameless:
    """What `sweep` would remove of the stores, or nothing while another process runs a pipeline."""
    before = nobody_since()
    return Nameless() if before is None else _nameless(artifacts.versions(), before)


def finish(version: Any) -> None:
    """Delete what is left of an artifact that is marked as destroyed."""
    by = str(version.run_metadata.get(artifacts.DESTROYED_BY, ""))
    if version.artifact.name == "trajectory":
        purging.destroy_trajectory(version, by)
    elif version.artifact.name == prefixes.KIND:
        prefixes.destroy(prefixes.KeptPrefix(version), by)
    else:
        artifacts.destroy(version, by)


def discard(model_version: Any, run_id: str) -> None:
    """Take apart a model version that was being made when the process was killed: it never served.

    Its documents stay, as those of any run that promoted nothing.
    """
    label = model_registry.label(model_version)
    linked = {v.id for v in artifacts.versions(model_version_id=model_version.id)}
    for version in artifacts.versions():
        mine = version.id in linked or version.run_metadata.get(artifacts.MODEL_VERSION) == label
        if mine and version.artifact.name == "trajectory":
            purging.destroy_trajectory(version, run_id)
        elif mine and version.artifact.name in _TRAINED:
            artifacts.destroy(version, run_id)
    Client().delete_model_version(model_version.id)


def _remove_temporary_files(before: float) -> None:
    """What `write_whole` and the key files write beside a file before it gets its name; keys are among them."""
    project = current_project()
    for folder in (project.state, project.certificates, project.reports, project.signing_key.parent):
        for path in folder.glob(".*") if folder.is_dir() else ():
            if _TEMPORARY.fullmatch(path.name) and path.is_file() and path.stat().st_mtime < before:
                path.unlink(missing_ok=True)


def _nameless(every: list[Any], before: float) -> Nameless:
    folders = _nameless_folders({str(v.uri).rstrip("/") for v in every}, before)
    return Nameless(tuple(folders), tuple(_nameless_trajectories(every)))


def _nameless_folders(known: set[str], before: float) -> list[Path]:
    """Folders of the artifact store that a step filled, of which ZenML never heard. Only a store that is a folder here.

    They lie at <store>/<step>/<output>/<step run>/<id>, those of a step's own artifacts at <store>/custom_artifacts/
    <name>/<id>. A step run that ZenML does not know either means that its database is older than the store, from a
    backup say: then everything stays.
    """
    store = _store()
    if store is None:
        return []
    candidates = [*store.glob("*/*/*/*"), *store.glob(f"{_OWN}/*/*")]
    found = [
        folder
        for folder in candidates
        if folder.is_dir() and str(folder) not in known and folder.stat().st_mtime < before
        if (parts := folder.relative_to(store).parts)[0] != _LOGS and (parts[0] == _OWN) == (len(parts) == 3)
    ]
    runs = {folder.parent.name for folder in found if folder.relative_to(store).parts[0] != _OWN}
    return found if all(_is_step_run(name) for name in runs) else []


def _nameless_trajectories(every: list[Any]) -> list[StoredDirectory]:
    """Checkpoints that were stored for an artifact that never came to be, by whatever file may name them."""
    place = _store()
    if place is None:
        return []
    named = {str(v.run_metadata.get("dvc_hash", "")) for v in every if not artifacts.is_destroyed(v)}
    for file in place.rglob("dvc.json"):
        named.add(str(json.loads(file.read_text())["dvc_hash"]))
    return [stored for stored in CheckpointStore().trajectories() if stored.dvc_hash not in named]


def _store() -> Path | None:
    """The artifact store, where it is a folder of this machine."""
    path = Path(Client().active_stack.artifact_store.path)
    return path if path.is_dir() else None


def _is_step_run(name: str) -> bool:
    try:
        Client().get_run_step(UUID(name), hydrate=False)
    except (ValueError, KeyError):
        return False
    return True
