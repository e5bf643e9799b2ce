"""How does a project change its remote, or get a lost one back? With nothing left behind where no purge would look."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from adapters.checkpoint_store import StoredDirectory
from adapters.dvc_root import DvcRoot, copy_objects, opened
from adapters.project import Project
from adapters.remote_record import (
    MARKER,
    described,
    holder_of,
    is_same,
    open_storage,
    reach,
    read_record,
    take,
    write_record,
)
from adapters.remotes import Remote, RemoteUnreachable
from expunge.errors import IntegrityError, UsageError
from expunge.storage import StorageConfig


@dataclass(frozen=True)
class Moved:
    """What was done. `objects`: how many the remote in use now holds; `removed`: how many the old one held."""

    remote: str
    objects: int
    removed: int = 0


@dataclass(frozen=True)
class Repaired:
    """What was done. `lost`: files of trajectories that neither the cache nor the remote has."""

    remote: str
    restored: int
    removed: int
    lost: tuple[str, ...]


def move(project: Project, wanted: StorageConfig, renamed: bool = False, lost: bool = False) -> Moved:
    """Copy every checkpoint to the remote that the settings name, use it, and empty the one before.

    A killed or failed move goes on where it was when it is called again.

    Args:
        renamed: the remote in use has a new address, and the old address is gone; nothing is copied.
        lost: the old remote does not exist any more, so it is not emptied. Refused where it still answers.

    Raises UsageError where there is nothing to move or the new remote is not for us, RemoteUnreachable, and
    IntegrityError where a checkpoint is in neither cache nor remote: then nothing was changed.
    """
    record = read_record(project)
    if record is None or not record.taken:
        raise UsageError("No checkpoint was stored yet: there is nothing to move.", "The first training uses it.")
    if record.leaving is None and not is_same(project, wanted, record.storage):
        _switch(project, wanted, renamed, lost)
    elif record.leaving is None or not is_same(project, wanted, record.storage):
        raise UsageError(
            f"Nothing to move: the checkpoints are in {described(project, record.storage)}"
            + ("." if record.leaving is None else f", and {described(project, record.leaving)} is not emptied yet."),
            "Set storage.remote to where they shall go.",
        )
    with opened(project) as root:
        removed = 0
        if root.record.leaving is not None and not (lost and not _answers(root, root.record.leaving)):
            left = root.remotes[1]
            names = left.names()
            removed = len(names)
            left.remove(names)
            write_record(project, replace(root.record, leaving=None))
            left.remove([left.path(MARKER)])
        else:
            write_record(project, replace(root.record, leaving=None))
        return Moved(root.remote.where, len(root.remote.names()), removed)


def repair(project: Project, known: Iterable[StoredDirectory]) -> Repaired:
    """Make the remote whole again: mark it, fill it from the cache, remove what no trajectory needs.

    For a remote that was lost, emptied or restored from an old backup.

    Args:
        known: the trajectories whose manifests exist; a pointer of one of them that was lost is written again.

    Raises UsageError where the remote belongs to another project, RemoteUnreachable where it does not answer.
    """
    with opened(project) as root:
        remote = open_storage(project, root.record.storage)
        ours = holder_of(remote) == root.record.id
        if not ours:
            take(remote, root.record.id, empty=False)
        named = {root.directory_of(pointer) for pointer in root.pointers}
        for stored in known:
            if stored.dvc_hash not in named:
                root.write_pointer(stored.dvc_hash, stored.files)
        needed = root.objects_named()
        held = _held(remote, needed)
        cached = set(root.cached(needed))
        copy_objects(root.cache, remote, sorted(cached - held))
        paths = {remote.odb.oid_to_path(o) for o in needed}
        stale = [name for name in remote.names() if name not in paths]
        if ours:
            remote.remove(stale)
        elif stale:
            raise UsageError(
                f"The DVC remote {remote.where} also holds {len(stale)} object(s) that no trajectory of this project"
                f" needs, such as {min(stale)}.",
                "If they are this project's (an old backup, say), run the command again: it removes them.",
            )
        return Repaired(remote.where, len(cached - held), len(stale), _lost(root, held | cached))


def _switch(project: Project, wanted: StorageConfig, renamed: bool, lost: bool) -> None:
    """Fill the new remote and record it as the one in use, the old one as still to be emptied."""
    with opened(project) as root:
        new = open_storage(project, wanted)
        ours = holder_of(new) == root.record.id
        if renamed:
            if not ours:
                raise UsageError(
                    f"The DVC remote {new.where} does not carry this project's marker: it is not the one in use.",
                    "Without --renamed the checkpoints are copied.",
                )
            if missing := _not_held(root, new):
                raise IntegrityError(f"The DVC remote {new.where} lacks {missing}.", "It is not the one in use.")
            write_record(project, replace(root.record, storage=wanted))
            return
        needed = root.objects_named()
        uncached = needed - set(root.cached(needed))
        if not (lost and not _answers(root, root.record.storage)):
            try:
                old = root.remote
            except RemoteUnreachable as error:
                raise RemoteUnreachable(
                    error.message,
                    "It must be emptied, so it must answer. Add --renamed if it only has a new address, or --lost if it"
                    " does not exist any more.",
                ) from error
            if ours and _is_one(old, new):
                write_record(project, replace(root.record, storage=wanted))
                return
            if uncached:
                root.pull(uncached)
        if gone := _lost(root, root.cached(needed)):
            raise IntegrityError(
                f"{len(gone)} file(s) are neither in the cache nor in the remote, such as {gone[0]}.",
                "Restore the remote from a backup, then move.",
            )
        take(new, root.record.id)
        copy_objects(root.cache, new, sorted(needed))
        write_record(project, replace(root.record, storage=wanted, leaving=root.record.storage))


def _answers(root: DvcRoot, storage: StorageConfig) -> bool:
    """Whether this remote can be reached and is ours."""
    try:
        reach(open_storage(root.project, storage), root.record.id)
    except RemoteUnreachable:
        return False
    return True


def _is_one(old: Remote, new: Remote) -> bool:
    """Whether two addresses lead to one place: what is written at one is read at the other."""
    name = f"{MARKER}.probe"
    new.write(new.path(name), b"expunge")
    try:
        return old.read(name) is not None
    finally:
        new.remove([new.path(name)])


def _held(remote: Remote, oids: Collection[str]) -> set[str]:
    names = remote.names()
    return {o for o in oids if remote.odb.oid_to_path(o) in names}


def _not_held(root: DvcRoot, remote: Remote) -> str:
    """A file that the remote lacks, in words; empty where it lacks none."""
    lost = _lost(root, _held(remote, root.objects_named()))
    return f"{len(lost)} file(s), such as {lost[0]}" if lost else ""


def _lost(root: DvcRoot, held: Collection[str]) -> tuple[str, ...]:
    """Files of trajectories whose objects are not among these."""
    found = []
    for pointer in root.pointers:
        oid, files = root.named(pointer)
        if oid not in held:
            found.append(f"the directory of {pointer.stem}")
        found += [f"{name} of {oid}" for name, md5 in files.items() if md5 not in held]
    return tuple(found)
