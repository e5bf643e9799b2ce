"""What descends from these records, and is it gone? Walks every artifact of the project, destroys, and scans again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from adapters import artifacts, clock, model_registry, prefixes, step_logs, workdir
from adapters.checkpoint_store import CheckpointStore, StoredDirectory
from adapters.ledger import pseudonymizer
from adapters.purge_kinds import KEPT, READERS, ROWS_GO, WITH_CHECKPOINTS
from adapters.scoring import shards_of
from expunge.errors import IntegrityError


@dataclass(frozen=True)
class Descendant:
    """An artifact that holds the records, or was computed from them. `digest` names a trajectory.

    `rows`: ids of the records, where only their rows go because the model it belongs to never saw them and stays.
    `rows_gone`: how many went before the run was interrupted. `stored`: the DVC objects of a trajectory.
    """

    version: Any
    why: str
    digest: str = ""
    rows: frozenset[str] = frozenset()
    stored: StoredDirectory | None = None
    rows_gone: int = 0

    @property
    def only_rows(self) -> int:
        """How many rows went, where nothing else did."""
        return len(self.rows) or self.rows_gone

    @property
    def kind(self) -> str:
        return str(self.version.artifact.name)


@dataclass
class Purged:
    """What was destroyed or lost rows, what was left for another trajectory's sake, and how many logs went."""

    destroyed: list[Descendant] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)


def descendants(pseudonyms: Collection[str], promoted: Iterable[str] = ()) -> list[Descendant]:
    """Every artifact that still exists and descends from the records with these pseudonyms.

    A trajectory descends when it was trained on one of them, or continues one that was and did not pass the gate.

    Args:
        promoted: ids of the artifact versions of the model that passed the gate.
    """
    passed = {str(i) for i in promoted}
    among = _matcher(pseudonyms)
    staying: set[str] = set()
    found: list[Descendant] = []
    contaminated: set[str] = set()
    later: list[tuple[Any, str, str]] = []
    for version in reversed(artifacts.versions("trajectory", present_only=True)):
        manifest = _reader(version).load_manifest()
        if among(manifest.record_ids):
            found.append(_trajectory(version, "trained on the records", manifest.digest))
            contaminated.add(manifest.digest)
        else:
            later.append((version, manifest.digest, str(manifest.run.get("parent", ""))))
    contaminated |= {
        str(v.run_metadata["trajectory"])
        for v in artifacts.versions("trajectory")
        if artifacts.is_destroyed(v) and "trajectory" in v.run_metadata
    }
    for version, digest, parent in later:
        if parent in contaminated and str(version.id) not in passed and not _serves(version):
            found.append(_trajectory(version, "continues a trajectory that saw the records, without passing", digest))
            contaminated.add(digest)
        else:
            staying.add(owner(version))
    leaving = {owner(d.version) for d in found} - {""}
    for version in artifacts.versions("model", present_only=True):
        own = str(version.run_metadata.get("trajectory", ""))
        if own in contaminated and (str(version.id) not in passed or owner(version) in leaving):
            found.append(Descendant(version, "the last weights of such a trajectory"))
    for name, ids in READERS.items():
        for version in artifacts.versions(name, present_only=True):
            held = among(ids(_reader(version)))
            if held and name in ROWS_GO and owner(version) in staying - {""}:
                found.append(Descendant(version, "has rows of the records, of a model that never saw them", rows=held))
            elif held and (str(version.id) not in passed or owner(version) in leaving):
                found.append(Descendant(version, "holds ids or values of the records"))
    unlawful = prefixes.unlawful(pseudonyms)
    why = "a rewind prefix that saw the records"
    return [*found, *(Descendant(p.version, why, stored=objects_of(p.version)) for p in unlawful)]


def returned() -> list[Descendant]:
    """What was destroyed once and is there again: a backup was put back."""
    gone = [v for v in artifacts.versions() if artifacts.is_destroyed(v)]
    stored = {v.id: made for v in gone if v.artifact.name in WITH_CHECKPOINTS and (made := objects_of(v))}
    objects = {o for made in stored.values() for o in made.objects} - live_objects()
    back = set(CheckpointStore().present(_as_directory(objects))) if objects else set()
    why = "was destroyed before and is there again, as after a restore from a backup"
    return [
        Descendant(v, why, str(v.run_metadata.get("trajectory", "")), stored=stored.get(v.id))
        for v in gone
        if artifacts.still_stored(v) or (v.id in stored and not back.isdisjoint(stored[v.id].objects))
    ]


def destroyed_by(run_id: str) -> list[Descendant]:
    """What a run has destroyed so far, and the tables that it took rows out of."""
    why = "destroyed before the run was interrupted"
    found = []
    for version in artifacts.versions():
        known = version.run_metadata
        if known.get(artifacts.DESTROYED_BY) == run_id:
            found.append(Descendant(version, why, str(known.get("trajectory", "")), stored=objects_of(version)))
        elif known.get(artifacts.ROWS_REMOVED_BY) == run_id and not artifacts.is_destroyed(version):
            found.append(Descendant(version, why, rows_gone=int(known.get(artifacts.ROWS_REMOVED, 1))))
    return found


def destroy(
    found: Iterable[Descendant], run_id: str, pseudonyms: Collection[str] = (), earlier: Iterable[Descendant] = ()
) -> Purged:
    """Destroy them and what was logged while they were made, take the model versions they made out of service, and
    clear half-finished work.

    The logs go first: by a log alone nobody knows what it was about, when the rest is gone and the process was killed.

    `pseudonyms`: of the records, to find other logs that name them. `earlier`: what the run destroyed before it was
    interrupted.
    """
    found = list(found)
    done = Purged(logs=logs_about([*found, *earlier], pseudonyms))
    step_logs.destroy(done.logs)
    for descendant in found:
        if descendant.rows:
            artifacts.remove_records(descendant.version, descendant.rows, run_id)
        elif descendant.kind == "trajectory":
            done.shared += destroy_trajectory(descendant.version, run_id, descendant.stored)
        elif descendant.kind == prefixes.KIND:
            done.shared += prefixes.destroy(prefixes.KeptPrefix(descendant.version), run_id)
        else:
            artifacts.destroy(descendant.version, run_id)
        done.destroyed.append(descendant)
    gone = {str(d.version.id) for d in done.destroyed if d.kind == "model"}
    for version in model_registry.all_versions():
        weights = artifacts.versions("model", model_version_id=version.id)
        if weights and all(str(w.id) in gone or artifacts.is_destroyed(w) for w in weights):
            model_registry.archive(version)
    workdir.sweep()
    step_logs.destroy(done.logs)  # what was written to them meanwhile
    return done


def logs_about(found: Iterable[Descendant], pseudonyms: Collection[str]) -> list[str]:
    """Logs of the runs that made these, and any other log that names one of the records."""
    made_by = step_logs.of_runs(d.version for d in found if not d.only_rows)
    return sorted({*made_by, *(step_logs.naming(pseudonyms, pseudonymizer()) if pseudonyms else ())})


def destroy_trajectory(version: Any, run_id: str, stored: StoredDirectory | None = None) -> list[str]:
    """Destroy one trajectory's checkpoints and its manifest; returns the files that another trajectory shares.

    `stored`: its objects, where the manifest may be gone already and they may not.
    """
    shared: list[str] = []
    for folder in shards_of({str(version.run_metadata.get("trajectory", ""))}):  # other processes' too
        shutil.rmtree(folder, ignore_errors=True)
    stored = stored or objects_of(version)
    artifacts.mark_destroyed(version, run_id)
    if stored is not None:
        shared = CheckpointStore().destroy(stored, live_objects({version.id}))
    artifacts.destroy(version, run_id)
    return shared


def rescan(
    pseudonyms: Collection[str],
    promoted: Iterable[str],
    destroyed: Iterable[Descendant],
    unnamed: Iterable[str] = (),
    remark: str = "",
) -> dict[str, Any]:
    """Look again, at the stores and not at the records of what was done: what still exists.

    `unnamed`, `remark`: what `remains.unnamed` says.
    """
    gone = list(destroyed)
    left = [f"{d.kind} {d.version.id}: {d.why}" for d in descendants(pseudonyms, promoted)]
    left += [f"log {path}: names one of the records" for path in step_logs.naming(pseudonyms, pseudonymizer())]
    left += still_present(d.stored for d in gone)
    for descendant in gone:
        if descendant.only_rows:  # `descendants` read the table again
            continue
        if artifacts.still_stored(descendant.version):
            left.append(f"{descendant.kind} {descendant.version.id}: the artifact store still holds it")
        for folder in shards_of({descendant.digest}) if descendant.digest else ():
            left.append(f"{folder}: norms of the records, which another process is computing")
    left += unnamed
    words = "nothing of the records was found" if not left else f"{len(left)} item(s) were found"
    where = "in the artifact store with its logs, the DVC cache and its remote"
    return {
        "at": clock.now().isoformat(timespec="seconds"),
        "found": left,
        "words": f"{words} {where} ({len(gone)} destroyed artifacts checked){remark}",
    }


def still_present(stored: Iterable[StoredDirectory | None]) -> list[str]:
    """DVC objects of destroyed trajectories that exist though no other trajectory needs them."""
    objects = {o for one in stored if one is not None for o in one.objects} - live_objects()
    present = CheckpointStore().present(_as_directory(objects)) if objects else []
    return [f"DVC object {o} still exists" for o in sorted(present)]


def kept() -> list[dict[str, Any]]:
    """What stays and why, by kind."""
    return [
        {"kind": name, "name": f"{count} artifact(s)", "action": "kept", "reason": reason}
        for name, reason in KEPT.items()
        if (count := len(artifacts.versions(name, present_only=True)))
    ]


def owner(version: Any) -> str:
    """Label of the model version that an artifact belongs to, or ""."""
    return str(version.run_metadata.get(artifacts.MODEL_VERSION, ""))


def _serves(version: Any) -> bool:
    """Whether it belongs to a model version that passed an earlier gate and serves, or served, by it."""
    return bool(owner(version))


def _matcher(pseudonyms: Collection[str]) -> Callable[[Iterable[str]], frozenset[str]]:
    """Which of some record ids are meant; each id is named once, however many artifacts hold it."""
    names, wanted = pseudonymizer(), frozenset(pseudonyms)
    known: dict[str, bool] = {}

    def among(record_ids: Iterable[str]) -> frozenset[str]:
        found = set()
        for record_id in record_ids:
            if record_id not in known:
                known[record_id] = not wanted.isdisjoint(names.records(record_id))
            if known[record_id]:
                found.add(record_id)
        return frozenset(found)

    return among


def _trajectory(version: Any, why: str, digest: str) -> Descendant:
    return Descendant(version, why, digest, stored=objects_of(version))


def objects_of(version: Any) -> StoredDirectory | None:
    """DVC objects of a trajectory or a prefix: by its manifest, else by what its metadata kept of it."""
    if artifacts.still_stored(version):
        try:
            stored: StoredDirectory = _reader(version).load_stored()
            return stored
        except IntegrityError:
            if not artifacts.is_destroyed(version):  # else a killed process has deleted a part of it
                raise
    metadata = version.run_metadata
    if "dvc_hash" not in metadata:
        return None
    return _as_directory({str(metadata["dvc_hash"]), *map(str, metadata.get("objects", ()))})


def _as_directory(objects: Iterable[str]) -> StoredDirectory:
    """Objects without their names: all that is left of a trajectory whose manifest is gone."""
    first, *others = sorted(objects, key=lambda o: (not o.endswith(".dir"), o))
    return StoredDirectory(str(first), {str(o): str(o) for o in others})


def live_objects(but: Collection[Any] = ()) -> set[str]:
    """DVC objects of the trajectories and prefixes that exist, but for those with one of these ids."""
    present = [v for name in WITH_CHECKPOINTS for v in artifacts.versions(name, present_only=True) if v.id not in but]
    held = [v for v in present if artifacts.still_stored(v)]
    return {o for version in held for o in _reader(version).load_stored().objects}


def _reader(version: Any) -> Any:
    return artifacts.materializer_of(version)
