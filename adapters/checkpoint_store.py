"""Where do checkpoint bytes live? Once, in DVC's cache below the project, and once in its remote.

The files of a trajectory are one DVC directory object; the ZenML artifact keeps its hash and those of its files.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters import workdir
from adapters.disk_errors import REFUSALS, disk_errors
from adapters.dvc_root import FOLDER, DvcRoot, drop_folder, opened
from adapters.project import Project, current_project
from expunge.errors import ExpungeError, IntegrityError
from expunge.storage import StorageConfig

_LINKING = REFUSALS.keys() - {errno.EPERM, errno.EACCES}  # a link that is not permitted becomes a copy


@dataclass(frozen=True)
class StoredDirectory:
    """A DVC directory object: its hash ("<md5>.dir"), and file name -> md5."""

    dvc_hash: str
    files: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        return {"dvc_hash": self.dvc_hash, "files": dict(self.files)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> StoredDirectory:
        return cls(raw["dvc_hash"], dict(raw["files"]))

    @property
    def objects(self) -> list[str]:
        return [self.dvc_hash, *self.files.values()]


class CheckpointStore:
    """The project's DVC root and its remote.

    `storage` is what the settings say of the remote: UsageError where that is not the one in use. Everything but
    `cache_path`, and a `check_out` of what the cache holds, raises RemoteUnreachable where the remote does not answer;
    nothing is recorded or destroyed then.
    """

    def __init__(self, project: Project | None = None, storage: StorageConfig | None = None) -> None:
        self.project = project or current_project()
        self.storage = storage

    def check_writable(self) -> None:
        """Fail before any work when the store could not take its result, or could not give it up again.

        Raises ExpungeError.
        """
        with self._recovered() as root:
            # One name for all: what a killed process left of it is overwritten and removed by the next.
            probe = "probe"
            path = root.remote.odb.fs.join(root.remote.odb.path, probe)
            root.remote.write(path, b"expunge" * 1024)
            root.remote.remove([path])
            with disk_errors(self.project.dvc):
                folder = Path(root.cache.path)
                folder.mkdir(parents=True, exist_ok=True)
                try:
                    (folder / probe).write_bytes(b"expunge" * 1024)
                finally:
                    (folder / probe).unlink(missing_ok=True)

    def add(self, files: Mapping[str, Path]) -> StoredDirectory:
        """Move these files into the store and push them to the remote.

        Raises ExpungeError when the disk or the remote refuses; the files are then where they were and nothing of them
        is stored. What a killed process stored in part is removed by the next call that reaches the remote.
        """
        with self._recovered() as root:
            stored = _stored(files)
            pointer = root.pointer(stored.dvc_hash)
            folder = pointer.with_suffix("")
            new = set(stored.objects) - set(root.cached(stored.objects)) - root.held_remotely(stored.objects)
            self._intend(
                {"pointer": pointer.name, "known": pointer.read_text() if pointer.exists() else "", "oids": sorted(new)}
            )
            try:
                with disk_errors(self.project.dvc):
                    drop_folder(pointer)
                    folder.mkdir(parents=True)
                    for file, source in files.items():
                        _link_or_copy(source, folder / file)
                    (stage,) = root.repo.add(str(folder))
                    made = stage.outs[0].hash_info.value
                    if made != stored.dvc_hash:
                        raise IntegrityError(f"A checkpoint changed while it was stored ({made}).", "Run it again.")
                    root.describe(pointer, stored.files)
                root.push(stored.objects)
            except BaseException:
                with suppress(ExpungeError, OSError):  # else the next call does it
                    self._recover(root)
                raise
            finally:
                drop_folder(pointer)
            self._journal.unlink()
            return stored

    def check_out(self, stored: StoredDirectory) -> Path:
        """A folder with the files, linked to the cache; what the cache lacks is pulled from the remote first.

        The caller verifies the bytes. Raises IntegrityError naming a file that neither has.
        """
        with opened(self.project, self.storage) as root:
            held = root.cached(stored.objects)
            if missing := [o for o in stored.objects if o not in held]:
                root.pull(missing)
                held = root.cached(stored.objects)
            names = {md5: name for name, md5 in stored.files.items()}
            for o in stored.objects:
                if o not in held:
                    raise IntegrityError(
                        f"Checkpoint {names.get(o, 'directory')} ({o}) is neither in the DVC cache"
                        f" {root.cache.path} nor in the remote {root.remote.where}.",
                        "Restore the remote from a backup, or retrain with `expunge train`.",
                    )
            # A folder of this process alone: others read theirs while this one is filled or removed.
            folder = workdir.borrow(f"checkout-{stored.dvc_hash}")
            for name, md5 in stored.files.items():
                (folder / name).unlink(missing_ok=True)
                _link_or_copy(Path(root.cache.oid_to_path(md5)), folder / name)
            return folder

    def cache_path(self, md5: str) -> Path:
        """Where the cache keeps an object."""
        with opened(self.project, self.storage) as root:
            return Path(root.cache.oid_to_path(md5))

    def destroy(self, stored: StoredDirectory, needed: Collection[str] = ()) -> list[str]:
        """Remove the objects from the cache and the remote, except those that another trajectory holds too.

        Returns the names of the files that are left because of that (the same initial weights, say). Raises
        ExpungeError unless all others are gone; calling it again goes on where it stopped.

        Args:
            needed: objects of artifacts that stay. Two trainings of the same bytes are one directory here.
        """
        with self._recovered() as root:
            for pointer in root.pointers:
                if root.directory_of(pointer) == stored.dvc_hash and stored.dvc_hash not in needed:
                    pointer.unlink()
            for checkout in self.project.work.glob(f"checkout-{stored.dvc_hash}*"):  # other processes' too
                shutil.rmtree(checkout, ignore_errors=True)
            staying = {*needed, *root.objects_named()}
            root.erase(set(stored.objects) - staying)
            return sorted(name for name, md5 in stored.files.items() if md5 in staying)

    def present(self, stored: StoredDirectory) -> list[str]:
        """Which of the objects exist, in the cache or in the remote, there as old versions or in part too."""
        with self._recovered() as root:
            held = {*root.cached(stored.objects), *root.held_remotely(stored.objects)}
            return [o for o in stored.objects if o in held]

    def trajectories(self, before: float | None = None) -> list[StoredDirectory]:
        """Every trajectory that the store holds, those too that no artifact names. Raises IntegrityError.

        before: only what was stored before that moment (Unix time).
        """
        # a pointer that a killed `add` left may be cut in half
        with self._recovered() if self._journal.exists() else opened(self.project, self.storage) as root:
            old = [p for p in root.pointers if before is None or p.stat().st_mtime < before]
            return [StoredDirectory(*root.named(pointer)) for pointer in old]

    def describe(self) -> str:
        """The remote in words, after it was reached."""
        with opened(self.project, self.storage) as root:
            left = "".join(f"; {remote.where} is still to be emptied" for remote in root.remotes[1:])
            return f"{root.remote.where} ({root.remote.remark()}){left}"

    @property
    def _journal(self) -> Path:
        """What an `add` under way may leave behind."""
        return self.project.dvc / "adding.json"

    def _intend(self, plan: dict[str, Any]) -> None:
        with disk_errors(self.project.dvc):
            partial = self._journal.with_suffix(".partial")
            partial.write_text(json.dumps(plan))
            partial.replace(self._journal)

    @contextmanager
    def _recovered(self) -> Iterator[DvcRoot]:
        """The root, its remotes reached before anything else happens, without what a killed or failed `add` left."""
        with opened(self.project, self.storage) as root:
            _ = root.remotes
            if self._journal.exists():
                self._recover(root)
            yield root

    def _recover(self, root: DvcRoot) -> None:
        """Undo the `add` that the journal tells of."""
        plan = json.loads(self._journal.read_text())
        pointer = self.project.dvc / FOLDER / plan["pointer"]
        drop_folder(pointer)
        root.sweep_partial()
        if plan["known"]:  # whole again, if it was being written
            pointer.write_text(plan["known"])
        else:
            pointer.unlink(missing_ok=True)
        root.erase(set(plan["oids"]) - root.objects_named())
        self._journal.unlink()


def _stored(files: Mapping[str, Path]) -> StoredDirectory:
    """What DVC will make of these files."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    tree, md5 = Tree(), {}
    for name, path in files.items():
        with path.open("rb") as file:
            md5[name] = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        tree.add(tuple(name.split("/")), None, HashInfo("md5", md5[name]))
    tree.digest()
    return StoredDirectory(tree.hash_info.value, md5)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in _LINKING:
            raise
        shutil.copyfile(source, target)
