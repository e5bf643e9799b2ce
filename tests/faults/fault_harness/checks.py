"""What must hold after every kill, and what at the end? Judged from the files, by code that the program does not run.

The databases are read with plain sqlite3, from copies (so that reading repairs nothing), the chain and the certificates
with the stand-alone verifier.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expunge.compliance.verify.check import verify_certificate
from expunge.compliance.verify.envelope import is_signed, open_envelope, read_public_key
from expunge.compliance.verify.ledger_file import read_ledger
from fault_harness.house import MODEL, House

STATES = frozenset(
    {
        "received", "identity_unverified", "accepted", "refused", "not_found", "duplicate", "quarantined", "planned",
        "awaiting_approval", "unlearning", "verified", "failed", "promoted", "purged", "closed", "cancelled",
    }
)  # fmt: skip
_MARK = "expunge.json"
"""What says in a remote whose it is."""
_PARTS_ONLY = ("rows of ", "step_logs")
"""Tombstones of what goes before any model changes: rows in tables of models that never saw a record, and logs."""
SETTLED = frozenset({"closed", "interrupted", "failed", "refused"})


@dataclass(frozen=True)
class Artifact:
    """An artifact version as ZenML's database knows it."""

    id: str
    name: str
    uri: Path
    facts: dict[str, Any]
    versions: frozenset[str]

    @property
    def destroyed(self) -> bool:
        return "destroyed_at" in self.facts

    def objects(self) -> dict[str, str]:
        """MD5 by file of a trajectory's DVC objects, the directory among them; empty without its manifest."""
        path = self.uri / "dvc.json"
        if not path.is_file():
            return {}
        stored = json.loads(path.read_text())
        return {**stored["files"], "directory": stored["dvc_hash"]}


@dataclass
class Look:
    """Everything that the files of a project say at one moment."""

    house: House
    requests: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    certificates: list[dict[str, Any]] = field(default_factory=list)
    tombstones: list[dict[str, Any]] = field(default_factory=list)
    epoch: str = ""
    first_bad: int | None = None
    changed_rows: tuple[str, ...] = ()
    stages: dict[str, str] = field(default_factory=dict)
    artifacts: list[Artifact] = field(default_factory=list)
    pipeline_runs: int = 0

    @property
    def head(self) -> tuple[int, str]:
        return (self.events[-1]["seq"], self.events[-1]["hash"]) if self.events else (0, "")

    @property
    def serving(self) -> list[str]:
        return [name for name, stage in self.stages.items() if stage == "production"]

    def moves(self, request: str) -> list[str]:
        """The states that a request was moved to, in order."""
        found = []
        for event in self.events:
            if event["request_id"] == request and event["kind"] in ("request.moved", "request.reopened"):
                found.append(json.loads(event["payload"])["to"])
        return found

    def objects(self) -> dict[str, list[Path]]:
        """Every file of DVC's cache and remote, by the hash that its name says: where it lies."""
        found: dict[str, list[Path]] = {}
        for home in (self.house.state / "dvc" / ".dvc" / "cache", self.house.state / "dvc-remote"):
            for path in home.rglob("*") if home.is_dir() else ():
                if path.is_file() and path.name != _MARK:
                    found.setdefault(path.parent.name + path.name, []).append(path)
        return found


def look(house: House) -> Look:
    """Read everything. A journal that a kill left is taken along, as any reader of the database would meet it."""
    seen = Look(house)
    with tempfile.TemporaryDirectory(dir=house.place) as folder:
        ledger = _copied(house.state / "ledger.db", Path(folder))
        if ledger is not None:
            with closing(sqlite3.connect(ledger)) as connection:
                connection.row_factory = sqlite3.Row
                seen.requests = {r["id"]: dict(r) for r in connection.execute("select * from request")}
                seen.events = [dict(r) for r in connection.execute("select * from event order by seq")]
                seen.runs = {r["id"]: dict(r) for r in connection.execute("select * from deletion_run")}
                seen.certificates = [dict(r) for r in connection.execute("select * from certificate")]
                seen.tombstones = [dict(r) for r in connection.execute("select * from tombstone")]
                epoch = connection.execute("select value from meta where key = 'epoch'").fetchone()
                seen.epoch = epoch[0] if epoch else ""
            facts = read_ledger(ledger)
            seen.first_bad, seen.changed_rows = facts.first_bad_seq, facts.changed_rows
        zenml = _copied(house.state / "stores" / "default_zen_store" / "zenml.db", Path(folder))
        if zenml is not None:
            with closing(sqlite3.connect(zenml)) as connection:
                _read_zenml(seen, connection)
    return seen


def _copied(database: Path, folder: Path) -> Path | None:
    if not database.is_file():
        return None
    for suffix in ("", "-journal", "-wal"):
        source = database.with_name(database.name + suffix)
        if source.is_file():
            shutil.copyfile(source, folder / source.name)
    return folder / database.name


def _read_zenml(seen: Look, connection: sqlite3.Connection) -> None:
    query = "select v.name, v.stage from model_version v join model m on m.id = v.model_id where m.name = ?"
    seen.stages = {name: stage or "none" for name, stage in connection.execute(query, (MODEL,))}
    seen.pipeline_runs = connection.execute("select count(*) from pipeline_run").fetchone()[0]
    facts: dict[str, dict[str, Any]] = {}
    for resource, key, value in connection.execute(
        "select r.resource_id, m.key, m.value from run_metadata m join run_metadata_resource r"
        " on r.run_metadata_id = m.id where r.resource_type = 'artifact_version' order by m.created"
    ):
        facts.setdefault(resource, {})[key] = json.loads(value)
    links: dict[str, set[str]] = {}
    for artifact, version in connection.execute(
        "select l.artifact_version_id, v.name from model_versions_artifacts l"
        " join model_version v on v.id = l.model_version_id"
    ):
        links.setdefault(artifact, set()).add(version)
    for id_, name, uri in connection.execute(
        "select v.id, a.name, v.uri from artifact_version v join artifact a on a.id = v.artifact_id order by v.created"
    ):
        seen.artifacts.append(Artifact(id_, name, Path(uri), facts.get(id_, {}), frozenset(links.get(id_, ()))))


@dataclass(frozen=True)
class Original:
    """What there was before any request: the model, all that was made of it and its records, and the record ids."""

    version: str
    artifacts: tuple[Artifact, ...]
    files: tuple[Path, ...]
    objects: frozenset[str]
    records: tuple[str, ...]
    features: Mapping[str, bytes]

    @classmethod
    def of(cls, house: House) -> Original:
        seen = look(house)
        (version,) = seen.serving
        files = tuple(f for a in seen.artifacts for f in sorted(a.uri.rglob("*")) if f.is_file())
        records = next(a for a in seen.artifacts if a.name == "training_records").uri / "records.json"
        ids = tuple(json.loads(records.read_text())["record_ids"])
        return cls(version, tuple(seen.artifacts), files, frozenset(seen.objects()), ids, house.features())

    def missing(self, seen: Look) -> list[str]:
        """Which of its files and objects are gone."""
        present = seen.objects()
        gone = [str(path) for path in self.files if not path.is_file()]
        return gone + [f"object {o}" for o in self.objects if o not in present]


def always(seen: Look, original: Original, asked: Collection[str]) -> list[str]:
    """What must hold at any moment: after a kill, before the restart."""
    found = [*_chain(seen), *_requests(seen, asked), *_serving(seen), *_certificate_files(seen)]
    found += _purge_after_promotion(seen, original)
    for request in asked:
        moves = Counter(seen.moves(request))
        for state in ("promoted", "purged", "closed"):
            if moves[state] > 1:
                found.append(f"doubled: {request} was moved to {state} {moves[state]} times")
        after = seen.moves(request)
        if "promoted" in after and "unlearning" in after[after.index("promoted") :]:
            found.append(f"doubled: {request} was unlearned again after its model was promoted")
        closed = seen.requests.get(request, {}).get("status") == "closed" and not _untrained(seen, request)
        if closed and request not in {c["request_id"] for c in seen.certificates}:
            found.append(f"certificate: {request} is closed without one")
    return found


def _chain(seen: Look) -> list[str]:
    found = [] if seen.first_bad is None else [f"chain: broken at event {seen.first_bad}"]
    return found + [f"chain: row {name} is not as its last event left it" for name in seen.changed_rows]


def _requests(seen: Look, asked: Collection[str]) -> list[str]:
    found = [f"lost: request {r} is not on the ledger" for r in asked if r not in seen.requests]
    for name, row in seen.requests.items():
        if row["status"] not in STATES:
            found.append(f"state: {name} is {row['status']!r}")
        if name not in asked:
            found.append(f"state: nobody made request {name}")
    return found


def _serving(seen: Look) -> list[str]:
    """Exactly one model serves, and every byte of it and of its trajectory is there."""
    if len(seen.serving) != 1:
        return [f"serving: {len(seen.serving)} production models ({seen.stages})"]
    return [f"serving: {words}" for words in broken_parts(seen, seen.serving[0])]


def broken_parts(seen: Look, version: str) -> list[str]:
    """What is wrong with the bytes of a model version."""
    own = [a for a in seen.artifacts if version in a.versions and not a.destroyed]
    found = []
    for name in ("model", "trajectory", "training_records", "held_out_records"):
        if not [a for a in own if a.name == name]:
            found.append(f"{version} has no {name}")
    present = seen.objects()
    for artifact in own:
        index = artifact.uri / "index.json"
        if not index.is_file():
            found.append(f"{artifact.name} of {version} has no files")
            continue
        for file, digest in json.loads(index.read_text()).items():
            path = artifact.uri / file
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                found.append(f"{artifact.name}/{file} of {version} is missing or changed")
        for file, md5 in artifact.objects().items() if artifact.name == "trajectory" else ():
            homes = present.get(md5, [])
            if len(homes) != 2:
                found.append(f"checkpoint {file} of {version} lies in {len(homes)} of the cache and the remote")
            for path in homes:
                if hashlib.md5(path.read_bytes()).hexdigest() != md5.removesuffix(".dir"):
                    found.append(f"checkpoint {path} of {version} has changed")
    return found


def _purge_after_promotion(seen: Look, original: Original) -> list[str]:
    """Nothing of the original is gone unless a whole successor serves and the ledger says that it was promoted."""
    gone = original.missing(seen)
    whole = [t for t in seen.tombstones if not t["kind"].startswith(_PARTS_ONLY)]
    gone += [f"tombstone {t['kind']} {t['name']}" for t in whole if t["status"] == "destroyed"]
    gone += [f"{a.name} {a.id} is marked destroyed" for a in original_now(seen, original) if a.destroyed]
    if not gone:
        return []
    serving = [version for version in seen.serving if version != original.version]
    if not serving:
        return [f"premature purge: {len(gone)} part(s) are gone, such as {gone[0]}, but no successor serves"]
    promoted = {r for r in seen.requests if "promoted" in seen.moves(r)}
    if not promoted:
        return [f"premature purge: {gone[0]} is gone, but no request was promoted"]
    return []


def original_now(seen: Look, original: Original) -> list[Artifact]:
    ids = {a.id for a in original.artifacts}
    return [a for a in seen.artifacts if a.id in ids]


def _certificate_files(seen: Look) -> list[str]:
    """A file of a certificate's name is whole and signed, whether the ledger knows it yet or not."""
    found = []
    keys = seen.house.state / "keys" / "certificate.pub.pem"
    for path in sorted((seen.house.state / "certificates").glob("*.json")):
        if path.name.startswith("."):
            continue
        try:
            payload, _, signature = open_envelope(path.read_bytes())
            if not is_signed(payload, signature, read_public_key(keys)):
                found.append(f"certificate: {path.name} is not signed by the project's key")
        except Exception as error:
            found.append(f"certificate: {path.name} is not whole: {error}")
    for row in seen.certificates:
        path = seen.house.state / row["path"]
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
            found.append(f"certificate: {row['path']} is not the file that the ledger knows")
        state = seen.requests.get(row["request_id"], {})
        if state.get("status") not in ("purged", "closed") or not state.get("data_erased_at"):
            found.append(f"certificate: {row['request_id']} has one, but is {state.get('status')}")
    return found


def _untrained(seen: Look, request: str) -> bool:
    return seen.requests[request]["outcome"] == "not_in_training"


def at_end(
    seen: Look, original: Original, asked: Collection[str], erased: Collection[str], cancelled: Collection[str] = ()
) -> list[str]:
    """What must hold when every request was answered. `erased`: the record ids that they named."""
    found = always(seen, original, asked)
    answered = [r for r in asked if r not in cancelled]
    for request in answered:
        found += _answered_once(seen, request)
    for request in cancelled:
        if seen.requests.get(request, {}).get("status") != "cancelled":
            found.append(f"state: {request} was cancelled, and is {seen.requests.get(request, {}).get('status')}")
    for name, run in seen.runs.items():
        if run["status"] not in SETTLED:
            found.append(f"run: {name} is left as {run['status']}")
    batches = {seen.requests[r]["run_id"] for r in answered if r in seen.requests and not _untrained(seen, r)}
    made = {name for name in seen.stages if name != original.version}
    if made != batches:
        found.append(f"doubled: model versions {sorted(made)} for the runs {sorted(map(str, batches))}")
    if batches and seen.stages.get(original.version) != "archived":
        found.append(f"serving: the original is {seen.stages.get(original.version)}")
    return [*found, *left_overs(seen), *traces(seen, original, erased)]


def _answered_once(seen: Look, request: str) -> list[str]:
    row = seen.requests.get(request)
    if row is None:
        return []
    if row["status"] != "closed":
        return [f"lost: {request} is {row['status']} at the end"]
    found = []
    moves = Counter(seen.moves(request))
    for state in ("promoted", "purged", "closed"):
        if moves[state] != 1:
            found.append(f"doubled: {request} was moved to {state} {moves[state]} times")
    issued = [c for c in seen.certificates if c["request_id"] == request]
    if _untrained(seen, request):
        return found + [f"certificate: {request} has {len(issued)}" for _ in issued[:1]]
    if len(issued) != 1:
        return [*found, f"certificate: {request} has {len(issued)} on the ledger"]
    verified = verify_certificate(seen.house.state / issued[0]["path"])
    # a model that served once goes with the next request for a record that it saw
    superseded = issued[0]["run_id"] not in seen.serving
    bad = [
        f"{check.name}: {check.words}"
        for check in verified.checks
        if check.status != "passed" and not (superseded and check.name == "model" and check.status != "failed")
    ]
    return found + [f"certificate: {request}: {words}" for words in bad]


def left_overs(seen: Look) -> list[str]:
    """Half-finished work, objects of nobody, folders of no artifact, an epoch that is behind."""
    state, found = seen.house.state, []
    work = [p.name for p in (state / "work").iterdir()] if (state / "work").is_dir() else []
    found += [f"leftover: work/{name}" for name in work]
    for folder in ("certificates", "reports", "keys", "."):
        found += [f"leftover: {p.relative_to(state)}" for p in (state / folder).glob(".*.*") if p.is_file()]
    alive = {md5 for a in seen.artifacts if a.name == "trajectory" for md5 in a.objects().values()}
    found += [f"leftover: DVC object {o} of no trajectory" for o in seen.objects() if o not in alive]
    known = {a.uri for a in seen.artifacts if not a.destroyed}
    for path in sorted((state / "stores").rglob("index.json")):
        if path.parent not in known:
            found.append(f"leftover: {path.parent.relative_to(state)} of no artifact")
    for artifact in seen.artifacts:
        if artifact.destroyed and artifact.uri.exists():
            found.append(f"leftover: {artifact.name} {artifact.id} is a tombstone, but its files are there")
    epoch = state / "epoch"
    if not epoch.is_file() or epoch.read_text().strip() != seen.epoch:
        found.append("epoch: the file is not the ledger's")
    return found


def traces(seen: Look, original: Original, erased: Collection[str]) -> list[str]:
    """Files below the state folder that hold an erased record's id or the bytes of its features."""
    needles = [(r, r.encode()) for r in erased] + [(f"features of {r}", original.features[r]) for r in erased]
    found = []
    for path in sorted(seen.house.state.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes() + str(path).encode()
            hits = [name for name, needle in needles if needle in content]
            if hits:
                found.append(f"trace: {path.relative_to(seen.house.state)} holds {len(hits)}, such as {hits[0]}")
    return found
