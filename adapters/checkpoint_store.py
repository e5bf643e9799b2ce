"""Where do checkpoint bytes live? Once, in DVC's cache below the project, and once in its remote.

The files of a trajectory are one DVC directory object; the ZenML artifact keeps its hash and those of its files.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from adapters import workdir
from adapters.project import Project, current_project
from expunge.errors import ExpungeError, IntegrityError

REMOTE = "store"
_FOLDER = "trajectories"
_DISK = {
    errno.ENOSPC: "is full",
    errno.EDQUOT: "is over its quota",
    errno.EROFS: "is read-only",
    errno.EACCES: "cannot be written",
    errno.EPERM: "cannot be written",
}


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
    """The project's DVC root and its remote folder."""

    def __init__(self, project: Project | None = None) -> None:
        self.project = project or current_project()

    def check_writable(self) -> None:
        """Fail before any work when the store could not take its result. Raises ExpungeError."""
        with self._opened() as repo:
            folders = (Path(repo.cache.local.path), Path(repo.cloud.get_remote_odb(REMOTE).path))
            for folder in folders:
                probe = folder / f"probe-{os.getpid()}"
                with _disk_errors(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                    probe.write_bytes(b"expunge" * 1024)
                probe.unlink()

    def add(self, files: Mapping[str, Path]) -> StoredDirectory:
        """Move these files into the store and push them to the remote.

        Raises ExpungeError when the disk refuses; the files are then where they were and nothing of them is stored.
        """
        with self._opened() as repo:
            folder = self.project.dvc / _FOLDER / _key(files)
            pointer = folder.with_name(folder.name + ".dvc")
            known = pointer.exists()
            before = self._files_of_stores(repo)
            try:
                with _disk_errors(self.project.dvc):
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.mkdir(parents=True)
                    for file, source in files.items():
                        _link_or_copy(source, folder / file)
                    (stage,) = repo.add(str(folder))
                    out = stage.outs[0]
                    made = StoredDirectory(
                        out.hash_info.value, {"/".join(key): info.value for key, _, info in out.get_obj()}
                    )
                with _disk_errors(self.project.dvc_remote):
                    repo.push(targets=[str(folder)], remote=REMOTE)
                    self._require(repo.cloud.get_remote_odb(REMOTE), made.objects)
            except BaseException:
                if not known:
                    pointer.unlink(missing_ok=True)
                for file_left in self._files_of_stores(repo) - before:  # half-written ones too
                    file_left.unlink(missing_ok=True)
                raise
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return made

    def check_out(self, stored: StoredDirectory) -> Path:
        """A folder with the files, linked to the cache; what the cache lacks is pulled from the remote first.

        The caller verifies the bytes. Raises IntegrityError naming a file that neither has.
        """
        with self._opened() as repo:
            cache = repo.cache.local
            missing = [o for o in stored.objects if not Path(cache.oid_to_path(o)).is_file()]
            if missing:
                self._pull(repo, missing)
            names = {md5: name for name, md5 in stored.files.items()}
            for o in stored.objects:
                if not Path(cache.oid_to_path(o)).is_file():
                    raise IntegrityError(
                        f"Checkpoint {names.get(o, 'directory')} ({o}) is neither in the DVC cache"
                        f" {cache.path} nor in the remote.",
                        "Restore the remote from a backup, or retrain with `expunge train`.",
                    )
            # A folder of this process alone: others read theirs while this one is filled or removed.
            folder = workdir.borrow(f"checkout-{stored.dvc_hash}")
            for name, md5 in stored.files.items():
                (folder / name).unlink(missing_ok=True)
                _link_or_copy(Path(cache.oid_to_path(md5)), folder / name)
            return folder

    def cache_path(self, md5: str) -> Path:
        """Where the cache keeps an object."""
        with self._opened() as repo:
            return Path(repo.cache.local.oid_to_path(md5))

    def destroy(self, stored: StoredDirectory) -> list[str]:
        """Remove the objects from the cache and the remote, except those that another trajectory holds too.

        Returns the names of the files that are left because of that (the same initial weights, say).
        """
        with self._opened() as repo:
            for pointer in (self.project.dvc / _FOLDER).glob("*.dvc"):
                if stored.dvc_hash in pointer.read_text():
                    pointer.unlink()
            for checkout in self.project.work.glob(f"checkout-{stored.dvc_hash}*"):  # other processes' too
                shutil.rmtree(checkout, ignore_errors=True)
            shared = self._delete(repo, stored)
            return sorted(name for name, md5 in stored.files.items() if md5 in shared)

    def present(self, stored: StoredDirectory) -> list[str]:
        """Which of the objects exist, in the cache or in the remote."""
        with self._opened() as repo:
            homes = (repo.cache.local, repo.cloud.get_remote_odb(REMOTE))
            return [o for o in stored.objects if any(Path(h.oid_to_path(o)).is_file() for h in homes)]

    def objects(self) -> set[str]:
        """Every object of a store that is the project's own, in the cache or in the remote; none of another's."""
        with self._opened() as repo:
            if not repo.config["core"].get("no_scm"):
                return set()
            return {o for odb in (repo.cache.local, repo.cloud.get_remote_odb(REMOTE)) for o in odb.all()}

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        import dvc.logger  # noqa: F401  (sets levels when imported)
        from dvc.repo import Repo

        logging.getLogger("dvc").setLevel(logging.ERROR)
        with FileLock(self.project.lock("dvc")):
            if not (self.project.dvc / ".dvc").is_dir():
                with _disk_errors(self.project.dvc):
                    self._create()
            with Repo(str(self.project.dvc)) as repo:
                yield repo

    def _create(self) -> None:
        from dvc.repo import Repo

        self.project.dvc.mkdir(parents=True, exist_ok=True)
        self.project.dvc_remote.mkdir(parents=True, exist_ok=True)
        repo = Repo.init(str(self.project.dvc), no_scm=True)
        with repo.config.edit() as config:
            config["remote"][REMOTE] = {"url": str(self.project.dvc_remote)}  # DVC makes it relative itself
            config["core"]["remote"] = REMOTE
            config["core"]["analytics"] = False
        repo.close()

    def _pull(self, repo: Any, objects: Sequence[str]) -> None:
        from dvc_data.hashfile.hash_info import HashInfo

        remote = repo.cloud.get_remote_odb(REMOTE)
        held = [o for o in objects if Path(remote.oid_to_path(o)).is_file()]
        with _disk_errors(self.project.dvc):
            repo.cloud.pull([HashInfo("md5", o) for o in held], remote=REMOTE)

    def _files_of_stores(self, repo: Any) -> set[Path]:
        """Every file of the cache and of the remote."""
        homes = (repo.cache.local.path, repo.cloud.get_remote_odb(REMOTE).path)
        return {Path(folder) / name for home in homes for folder, _, names in os.walk(home) for name in names}

    def _require(self, odb: Any, objects: Sequence[str]) -> None:
        lacking = [o for o in objects if not Path(odb.oid_to_path(o)).is_file()]
        if lacking:
            raise ExpungeError(f"DVC did not store {len(lacking)} object(s), such as {lacking[0]}.", "See its log.")

    def _delete(self, repo: Any, stored: StoredDirectory) -> set[str]:
        """Delete what no pointer names; returns the objects that one does."""
        named = self._named_by_pointers(repo)
        for odb in (repo.cache.local, repo.cloud.get_remote_odb(REMOTE)):
            for o in stored.objects:
                if o not in named:
                    odb.delete(o)
        return named & set(stored.objects)

    def _named_by_pointers(self, repo: Any) -> set[str]:
        """Every object that a .dvc file of this root stands for."""
        import json

        import yaml

        named: set[str] = set()
        for pointer in (self.project.dvc / _FOLDER).glob("*.dvc"):
            for out in yaml.safe_load(pointer.read_text())["outs"]:
                named.add(out["md5"])
                for odb in (repo.cache.local, repo.cloud.get_remote_odb(REMOTE)):
                    directory = Path(odb.oid_to_path(out["md5"]))
                    if directory.is_file():
                        named.update(entry["md5"] for entry in json.loads(directory.read_bytes()))
                        break
        return named


def _key(files: Mapping[str, Path]) -> str:
    import hashlib

    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in _DISK and error.errno not in (errno.EPERM, errno.EACCES):
            raise
        shutil.copyfile(source, target)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Say which disk refused instead of a traceback through DVC."""
    try:
        yield
    except ExpungeError:
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError) and cause.errno in _DISK:
                raise ExpungeError(
                    f"The disk of the DVC store {folder} {_DISK[cause.errno]}: nothing was recorded.",
                    "Make room or make it writable, then run the command again; finished steps are not repeated.",
                ) from error
            cause = cause.__cause__ or cause.__context__
        raise
