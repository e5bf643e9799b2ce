"""What have killed processes left, and may it go? Called when nothing of this project is being answered.

Half-finished work, what was marked as destroyed and is not yet gone, files and checkpoints that no artifact names, and
model versions that were never finished. While another process runs a pipeline, what has no name may be its own, and
stays until the next time.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from zenml.client import Client

from adapters import artifacts, model_registry, prefixes, purging, workdir
from adapters.checkpoint_store import CheckpointStore, StoredDirectory
from adapters.ledger import open_ledger
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


def sweep() -> bool:
    """Remove it. Does nothing twice, and nothing to what a living process works on.

    Returns whether something is stored that the ledger says was destroyed: no killed process left it, a backup brought
    it back, and its end goes on record (`purge_again`).
    """
    every = artifacts.versions()
    back = _back(every)
    for version in every:
        if version.id not in back and artifacts.is_destroyed(version) and artifacts.still_stored(version):
            finish(version)
    remove_nameless(frozenset(back.values()))
    workdir.sweep()
    return bool(back)


def remove_nameless(but: Collection[str] = ()) -> None:
    """Remove what no artifact names, and files that were never finished. `but`: DVC directories that stay."""
    before = nobody_since()
    if before is None:
        return
    _remove_temporary_files(before)
    found = _nameless(before)
    for folder in found.folders:
        shutil.rmtree(folder, ignore_errors=True)
    for stored in found.trajectories:
        if stored.dvc_hash not in but:
            CheckpointStore().destroy(stored)


def nameless() -> Nameless:
    """What `sweep` would remove of the stores, or nothing while another process runs a pipeline."""
    before = nobody_since()
    return Nameless() if before is None else _nameless(before)


def unnamed() -> tuple[list[str], str]:
    """The same for a scan, in words: what is there, and why nobody could look ("" where one could)."""
    before, store = nobody_since(), _store()
    if before is None:
        return [], "; not looked for what has no name: another process runs a pipeline"
    if store is None:
        return [], "; not looked for what has no name: the artifact store is not a folder of this machine"
    found, words = _nameless(before), "no artifact names it: a killed process left it"
    left = [f"folder {folder.relative_to(store)}: {words}" for folder in found.folders]
    return [*left, *(f"DVC directory {stored.dvc_hash}: {words}" for stored in found.trajectories)], ""


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


def _back(every: list[Any]) -> dict[Any, str]:
    """DVC directory ("" for none) by id of the versions that the ledger says were destroyed and that are stored again.

    Of a prefix it knows the checkpoints: its manifest alone was left by the process that was killed destroying it.
    """
    with open_ledger() as ledger:
        rows = ledger.tombstones(status="destroyed")
    by_id, runs = {(t.kind, t.name) for t in rows}, {t.run_id for t in rows if t.kind == prefixes.KIND}
    stored = {s.dvc_hash for s in CheckpointStore().trajectories()} if rows else set()
    stored -= {str(v.run_metadata.get("dvc_hash", "")) for v in every if not artifacts.is_destroyed(v)}
    found = {}
    for version in every:
        kind, directory = version.artifact.name, str(version.run_metadata.get("dvc_hash", ""))
        if not artifacts.is_destroyed(version):
            continue
        if (kind, str(version.id)) in by_id:
            again = directory in stored or artifacts.still_stored(version)
        else:
            again = kind == prefixes.KIND and version.run_metadata.get("run") in runs and directory in stored
        if again:
            found[version.id] = directory
    return found


def _remove_temporary_files(before: float) -> None:
    """What `write_whole` and the key files write beside a file before it gets its name; keys are among them."""
    project = current_project()
    for folder in (project.state, project.certificates, project.reports, project.signing_key.parent):
        for path in folder.glob(".*") if folder.is_dir() else ():
            if _TEMPORARY.fullmatch(path.name) and path.is_file() and path.stat().st_mtime < before:
                path.unlink(missing_ok=True)


def _nameless(before: float) -> Nameless:
    """What was there by then and has no name now: looked up after `before`, else what just got its name had none."""
    every = artifacts.versions()
    folders = _nameless_folders({str(v.uri).rstrip("/") for v in every}, before)
    return Nameless(tuple(folders), tuple(_nameless_trajectories(every, frozenset(folders), before)))


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


def _nameless_trajectories(every: list[Any], folders: frozenset[Path], before: float) -> list[StoredDirectory]:
    """Checkpoints that were stored for an artifact that never came to be.

    Whatever file may name them keeps them, but for those in nameless folders, and those that were cut in half.
    """
    place = _store()
    if place is None:
        return []
    named = {str(v.run_metadata.get("dvc_hash", "")) for v in every if not artifacts.is_destroyed(v)}
    for file in place.rglob("dvc.json"):
        if folders.isdisjoint(file.parents):
            with suppress(OSError, ValueError, KeyError):
                named.add(str(json.loads(file.read_text())["dvc_hash"]))
    return [stored for stored in CheckpointStore().trajectories(before) if stored.dvc_hash not in named]


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
