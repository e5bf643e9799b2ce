"""Which objects does the project's DVC root name, and where do they lie? In its cache and its remote.

A pointer is the .dvc file of one trajectory. It also lists the files (`meta`), so that what it needs is known even
where the directory object is lost.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from adapters.disk_errors import disk_errors
from adapters.project import Project
from adapters.remote_record import RemoteRecord, open_storage, options_of, reach, settle
from adapters.remotes import Remote, files_below
from expunge.errors import ExpungeError, IntegrityError
from expunge.storage import StorageConfig

REMOTE = "store"
FOLDER = "trajectories"
_OBJECT = re.compile(r"[0-9a-f]{30}(\.dir)?")


@contextmanager
def opened(project: Project, wanted: StorageConfig | None = None) -> Iterator[DvcRoot]:
    """The root, for this process alone; made where there is none. `wanted`: the remote that the settings name.

    Raises UsageError where that is not the one in use, ExpungeError where the disk refuses.
    """
    import dvc.logger  # noqa: F401  (sets levels when imported)
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    with FileLock(project.lock("dvc")):
        record = settle(project, wanted)
        if not (project.dvc / ".dvc").is_dir():
            with disk_errors(project.dvc):
                project.dvc.mkdir(parents=True, exist_ok=True)
                Repo.init(str(project.dvc), no_scm=True).close()
        # Left by a killed process, perhaps cut in half, which DVC never gets over. Ours is the lock that counts.
        (project.dvc / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)
        with Repo(str(project.dvc)) as repo:
            yield DvcRoot(project, repo, record)


@dataclass
class DvcRoot:
    """The opened root. The remote is contacted where it is named, and nowhere else."""

    project: Project
    repo: Any
    record: RemoteRecord

    def __post_init__(self) -> None:
        """DVC's own commands shall find the same remote."""
        wanted = {REMOTE: options_of(self.project, self.record.storage)}
        at = self.repo.config.load_one("repo")
        if at.get("remote") == wanted and at.get("core", {}).get("remote") == REMOTE:
            return
        with self.repo.config.edit() as config:
            config["remote"], config["core"]["remote"] = wanted, REMOTE
            config["core"]["analytics"] = False

    @property
    def cache(self) -> Any:
        return self.repo.cache.local

    @property
    def pointers(self) -> list[Path]:
        return sorted((self.project.dvc / FOLDER).glob("*.dvc"))

    def pointer(self, oid: str) -> Path:
        """Where the pointer of a directory object lies or would lie."""
        return self.project.dvc / FOLDER / f"{oid.removesuffix('.dir')[:16]}.dvc"

    @cached_property
    def remote(self) -> Remote:
        """The remote, after it was reached and found to be ours. Raises RemoteUnreachable."""
        return reach(open_storage(self.project, self.record.storage), self.record.id)

    @cached_property
    def remotes(self) -> list[Remote]:
        """It, and one that a move has not emptied yet."""
        left = self.record.leaving
        return [self.remote, *([] if left is None else [reach(open_storage(self.project, left), self.record.id)])]

    def cached(self, oids: Iterable[str]) -> list[str]:
        """Those that the cache holds."""
        return [o for o in oids if Path(self.cache.oid_to_path(o)).is_file()]

    def held_remotely(self, oids: Collection[str]) -> set[str]:
        """Those that a remote holds, as old versions or in part too."""
        found: set[str] = set()
        for remote in self.remotes:
            names = remote.names()
            found |= {o for o in oids if remote.odb.oid_to_path(o) in names}
        return found

    def erase(self, oids: Collection[str]) -> None:
        """Remove objects from the cache and every remote, old versions too. Raises ExpungeError where one stays."""
        for remote in self.remotes:
            held = remote.names()
            remote.remove([p for o in oids if (p := remote.odb.oid_to_path(o)) in held])
            stayed = remote.names() & {remote.odb.oid_to_path(o) for o in oids}
            reach(remote, self.record.id)  # what has vanished meanwhile was not emptied by us
            if stayed:
                raise ExpungeError(f"The DVC remote {remote.where} still holds {min(stayed)}.", "Run it again.")
        with disk_errors(self.project.dvc):
            for o in self.cached(oids):
                self.cache.delete(o)

    def push(self, oids: Collection[str]) -> None:
        """Copy objects from the cache to the remote. Raises ExpungeError unless it holds them all afterwards."""
        copy_objects(self.cache, self.remote, oids)

    def pull(self, oids: Collection[str]) -> None:
        """Copy those objects that the remote holds into the cache."""
        remote = self.remote
        held = remote.names()
        there = [o for o in oids if remote.odb.oid_to_path(o) in held]
        if there:
            with remote.reaching(self.project.dvc):
                paths = [remote.odb.oid_to_path(o) for o in there]
                self.cache.add(paths, remote.odb.fs, there, check_exists=False)

    def sweep_partial(self) -> None:
        """Remove what a killed process left half-written in the cache and the remotes."""
        for name in files_below(self.cache.path):
            if not _is_object(name):
                Path(name).unlink(missing_ok=True)
        for remote in self.remotes:
            remote.remove([name for name in remote.names() if not _is_object(name)])

    def describe(self, pointer: Path, files: dict[str, str]) -> None:
        """Write the files of a trajectory into its pointer."""
        raw = yaml.safe_load(pointer.read_text())
        partial = pointer.with_suffix(".partial")
        partial.write_text(yaml.safe_dump({**raw, "meta": {"files": files}}, sort_keys=False))
        partial.replace(pointer)

    def write_pointer(self, oid: str, files: dict[str, str]) -> None:
        """Name a trajectory whose pointer was lost."""
        pointer = self.pointer(oid)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        outs = [{"md5": oid, "nfiles": len(files), "hash": "md5", "path": pointer.stem}]
        pointer.write_text(yaml.safe_dump({"outs": outs}, sort_keys=False))
        self.describe(pointer, files)

    def directory_of(self, pointer: Path) -> str:
        """The directory object that a pointer names."""
        return str(yaml.safe_load(pointer.read_text())["outs"][0]["md5"])

    def named(self, pointer: Path) -> tuple[str, dict[str, str]]:
        """The directory object that a pointer names, and md5 by file. Raises IntegrityError where these are lost."""
        raw = yaml.safe_load(pointer.read_text())
        oid = raw["outs"][0]["md5"]
        if files := (raw.get("meta") or {}).get("files"):
            return oid, dict(files)
        if not self.cached([oid]):
            self.pull([oid])
        try:
            entries = json.loads(Path(self.cache.oid_to_path(oid)).read_bytes())
        except FileNotFoundError:
            raise IntegrityError(
                f"Directory object {oid} of {pointer} is lost: which files it shares with others cannot be known.",
                f"Restore it from a backup, or delete {pointer} if that trajectory is not needed.",
            ) from None
        return oid, {entry["relpath"]: entry["md5"] for entry in entries}

    def objects_named(self) -> set[str]:
        """Every object that some pointer needs."""
        found: set[str] = set()
        for pointer in self.pointers:
            oid, files = self.named(pointer)
            found |= {oid, *files.values()}
        return found


def copy_objects(cache: Any, remote: Remote, oids: Collection[str]) -> None:
    """Copy objects from the cache to a remote. Raises ExpungeError unless it holds them all afterwards."""
    held = remote.names()
    lacking = [o for o in oids if remote.odb.oid_to_path(o) not in held]
    if lacking:
        with remote.reaching():
            remote.odb.add([cache.oid_to_path(o) for o in lacking], cache.fs, lacking, check_exists=False)
        held = remote.names()
    lost = [o for o in oids if remote.odb.oid_to_path(o) not in held]
    if lost:
        raise ExpungeError(f"The DVC remote {remote.where} did not keep {lost[0]}.", "Run the command again.")


def _is_object(path: str) -> bool:
    return _OBJECT.fullmatch(Path(path).name) is not None


def drop_folder(pointer: Path) -> None:
    """The workspace copy that DVC leaves beside a pointer."""
    shutil.rmtree(pointer.with_suffix(""), ignore_errors=True)
