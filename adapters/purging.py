"""What descends from these records, and is it gone? Walks every artifact of the project, destroys, and scans again."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from adapters import artifacts, clock, model_registry, prefixes, workdir
from adapters.checkpoint_store import CheckpointStore, StoredDirectory
from adapters.ledger import pseudonymizer
from adapters.scoring import shards_of

METHOD = "deleted from the artifact store, the DVC cache and its remote (Clear, NIST SP 800-88 Rev. 2)"

_NUMBERS = "numbers about models and record sets; holds no record, no id and no weights"
KEPT = {
    "budget_predictor": _NUMBERS,
    "audit_evidence": f"{_NUMBERS} (records under keyed pseudonyms)",
    "due_requests": "opaque request ids only",
    "drift_report": _NUMBERS,
    "erasure_report": _NUMBERS,
    "evidence": f"{_NUMBERS} (records under keyed pseudonyms)",
    "gate_decision": _NUMBERS,
    "scored_shard": _NUMBERS,
    "scoring_report": _NUMBERS,
    "shadow_evidence": f"{_NUMBERS} (records under keyed pseudonyms)",
    "scoring_shards": "step numbers only",
    "unlearning_plan": _NUMBERS,
    "unlearning_run": f"{_NUMBERS} (requests under their opaque ids)",
    "utility": _NUMBERS,
}


@dataclass(frozen=True)
class Descendant:
    """An artifact that holds the records, or was computed from them. `digest` names a trajectory."""

    version: Any
    why: str
    digest: str = ""

    @property
    def kind(self) -> str:
        return str(self.version.artifact.name)


@dataclass
class Purged:
    """What was destroyed, what was left for another trajectory's sake, and which model versions it made."""

    destroyed: list[Descendant] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)


def descendants(pseudonyms: Collection[str], promoted: Iterable[str] = ()) -> list[Descendant]:
    """Every artifact that still exists and descends from the records with these pseudonyms.

    A trajectory descends when it was trained on one of them, or continues one that was and did not pass the gate.

    Args:
        promoted: ids of the artifact versions of the model that passed the gate.
    """
    passed = {str(i) for i in promoted}
    names = pseudonymizer()
    wanted = frozenset(pseudonyms)

    def holds(record_ids: Iterable[str]) -> bool:
        return any(not wanted.isdisjoint(names.records(record_id)) for record_id in record_ids)

    found: list[Descendant] = []
    contaminated: set[str] = set()
    later: list[tuple[Any, str, str]] = []
    for version in reversed(artifacts.versions("trajectory", present_only=True)):
        manifest = _reader(version).load_manifest()
        if holds(manifest.record_ids):
            found.append(Descendant(version, "trained on the records", manifest.digest))
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
            found.append(Descendant(version, "continues a trajectory that saw the records, without passing", digest))
            contaminated.add(digest)
    for version in artifacts.versions("model", present_only=True):
        own = str(version.run_metadata.get("trajectory", ""))
        if own in contaminated and str(version.id) not in passed:
            found.append(Descendant(version, "the last weights of such a trajectory"))
    for name, ids in _READERS.items():
        for version in artifacts.versions(name, present_only=True):
            if str(version.id) not in passed and holds(ids(_reader(version))):
                found.append(Descendant(version, "holds ids or values of the records"))
    unlawful = prefixes.unlawful(pseudonyms)
    return [*found, *(Descendant(p.version, "a rewind prefix that saw the records") for p in unlawful)]


def destroy(found: Iterable[Descendant], run_id: str) -> Purged:
    """Destroy them, take the model versions they made out of service, and clear half-finished work."""
    done = Purged()
    for descendant in found:
        if descendant.kind == "trajectory":
            done.shared += destroy_trajectory(descendant.version, run_id)
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
    return done


def destroy_trajectory(version: Any, run_id: str) -> list[str]:
    """Destroy one trajectory's checkpoints and its manifest; returns the files that another trajectory shares."""
    if artifacts.is_destroyed(version):
        return []
    shared: list[str] = []
    for folder in shards_of({str(version.run_metadata.get("trajectory", ""))}):  # other processes' too
        shutil.rmtree(folder, ignore_errors=True)
    if artifacts.still_stored(version):
        shared = CheckpointStore().destroy(_reader(version).load_stored())
    artifacts.destroy(version, run_id)
    return shared


def rescan(pseudonyms: Collection[str], promoted: Iterable[str], destroyed: Iterable[Descendant]) -> dict[str, Any]:
    """Look again, at the stores and not at the records of what was done: what still exists."""
    store = CheckpointStore()
    left = [f"{d.kind} {d.version.id}: {d.why}" for d in descendants(pseudonyms, promoted)]
    checked = 0
    for descendant in destroyed:
        checked += 1
        if artifacts.still_stored(descendant.version):
            left.append(f"{descendant.kind} {descendant.version.id}: the artifact store still holds it")
        for folder in shards_of({descendant.digest}) if descendant.digest else ():
            left.append(f"{folder}: norms of the records, which another process is computing")
        dvc_hash = descendant.version.run_metadata.get("dvc_hash")
        if dvc_hash and store.present(StoredDirectory(str(dvc_hash), {})):
            left.append(f"DVC object {dvc_hash} still exists")
    words = "nothing of the records was found" if not left else f"{len(left)} item(s) were found"
    return {
        "at": clock.now().isoformat(timespec="seconds"),
        "found": left,
        "words": f"{words} in the artifact store, the DVC cache and its remote ({checked} destroyed artifacts checked)",
    }


def kept() -> list[dict[str, Any]]:
    """What stays and why, by kind."""
    return [
        {"kind": name, "name": f"{count} artifact(s)", "action": "kept", "reason": reason}
        for name, reason in KEPT.items()
        if (count := len(artifacts.versions(name, present_only=True)))
    ]


def _serves(version: Any) -> bool:
    """Whether it belongs to a model version that passed an earlier gate and serves, or served, by it."""
    return artifacts.MODEL_VERSION in version.run_metadata


def _reader(version: Any) -> Any:
    return artifacts.materializer_of(version)


def _parquet_ids(name: str) -> Callable[[Any], list[str]]:
    def ids(reader: Any) -> list[str]:
        import pyarrow.parquet as pq

        table = pq.read_table(io.BytesIO(reader.read_file(name)), columns=["record_id"])
        return list(table["record_id"].to_pylist())

    return ids


def _json_ids(name: str, key: str | None) -> Callable[[Any], list[str]]:
    def ids(reader: Any) -> list[str]:
        raw = json.loads(reader.read_file(name))
        return list(raw if key is None else raw[key])

    return ids


_READERS: dict[str, Callable[[Any], list[str]]] = {
    "training_records": _json_ids("records.json", "record_ids"),
    "held_out_records": _json_ids("records.json", "record_ids"),
    "gradient_norms": _parquet_ids("norms.parquet"),
    "privacy_losses": _parquet_ids("losses.parquet"),
    "planted_outputs": _json_ids("planted.json", None),
    "reference_pool": _json_ids("pool.json", "record_ids"),
    "forget_set": _json_ids("forget_set.json", "record_ids"),
    "evaluation_outputs": _json_ids("names.json", "record_ids"),
}
