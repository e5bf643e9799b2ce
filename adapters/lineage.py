"""From a request to data versions, checkpoints and models, and back; tombstones included. Reads metadata only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from adapters import artifacts, model_registry, prefixes
from adapters.ledger import open_ledger, pseudonymizer
from expunge.errors import NotFoundError

# What a model version is made of, in the order of its making.
PARTS = ("training_records", "trajectory", "model", "gradient_norms", "privacy_losses")
DECISIONS = ("unlearning_plan", "unlearning_run", "evidence", "gate_decision", "erasure_report")


@dataclass(frozen=True)
class Version:
    """A model version with its artifacts, destroyed ones too."""

    label: str
    stage: str
    id: str
    parts: dict[str, Any]


@dataclass(frozen=True)
class Link:
    """One deletion run: the model before, the run as the ledger has it, the model after."""

    run: dict[str, Any]
    before: Version | None
    after: Version | None


@dataclass(frozen=True)
class Held:
    """That a model version held a record until the purge of a run: that run's records, of which it was one."""

    version: str
    destroyed_at: str
    run_id: str


@dataclass(frozen=True)
class Lineage:
    """Everything known of one record, person, request or model.

    Attributes:
        ledger: rows as plain JSON: requests, runs, tombstones, certificates, events, and what the question adds.
        holders: model versions that hold the record now; of a model, itself. held: those that did, until a purge.
        originals: requests that one of these repeats.
    """

    kind: str
    name: str
    ledger: dict[str, Any]
    links: list[Link] = field(default_factory=list)
    holders: list[Version] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    originals: list[dict[str, Any]] = field(default_factory=list)

    @property
    def public_name(self) -> str:
        """The name as pages and pipelines may carry it for ever: records and people under keyed pseudonyms."""
        names = pseudonymizer()
        if self.kind == "record":
            return names.record(self.name)[:32]
        return names.identity(self.name)[:32] if self.kind == "subject" else self.name


def of_record(record_id: str) -> Lineage:
    """Lineage of a record, deleted or not. Raises NotFoundError when neither ledger nor any trajectory knows it."""
    with open_ledger() as ledger:
        known = ledger.audit_record(record_id)
    labels = _trained_on(record_id)
    holders = [v for v in versions() if v.label in labels]
    if not known["known"] and not holders:
        raise NotFoundError(
            f"No request and no trajectory of this project knows record {record_id!r}.",
            "Check the id; `expunge score --top 20` shows some.",
        )
    return Lineage(
        "record", record_id, known, _links(known["runs"]), holders, _held(known["tombstones"]), _originals(known)
    )


def of_subject(subject: str) -> Lineage:
    """Lineage of a person's requests. Raises NotFoundError without any."""
    with open_ledger() as ledger:
        known = ledger.audit_subject(subject)
    if not known["known"]:
        raise NotFoundError(f"No request of {subject!r} is on the ledger.", "See `expunge request list`.")
    return Lineage("subject", subject, known, _links(known["runs"]), originals=_originals(known))


def of_request(request_id: str) -> Lineage:
    """Lineage of a request. Raises NotFoundError."""
    with open_ledger() as ledger:
        known = ledger.audit_request(request_id)
    return Lineage("request", request_id, known, _links(known["runs"]), originals=_originals(known))


def of_model(version: str) -> Lineage:
    """Lineage of a model version, by name, number, stage or "<model> <version>". Raises NotFoundError."""
    for found in versions():
        name = found.label.rsplit(" ", 1)[1]
        if version in (found.label, name, found.stage, found.id):
            with open_ledger() as ledger:
                runs = [run["id"] for run in ledger.audit_model(found.id, found.label, name)["runs"]]
            return of_runs("model", found.label, runs, [found.label])
    raise NotFoundError(
        f"There is no model version {version!r}.", f"Known: {', '.join(v.label for v in versions()) or 'none'}."
    )


def of_runs(
    kind: str, name: str, run_ids: Iterable[str], holders: Iterable[str], request_ids: Iterable[str] = ()
) -> Lineage:
    """The same from deletion runs, requests and model versions alone, for a page that names no record and no person."""
    wanted, held = set(run_ids), set(holders)
    with open_ledger() as ledger:
        runs = [run.to_dict() for run in ledger.list_runs() if run.id in wanted]
        requests = sorted({r for run in runs for r in run["details"].get("requests", [])} | set(request_ids))
        seen = {e.seq: e for run in runs for e in ledger.events(run_id=run["id"])}
        seen |= {e.seq: e for r in requests for e in ledger.events(r)}
        known: dict[str, Any] = {
            "requests": [ledger.get_request(r).to_dict() for r in requests],
            "runs": runs,
            "tombstones": [t.to_dict() for run in runs for t in ledger.tombstones(run_id=run["id"])],
            "certificates": [c.to_dict() for r in requests for c in ledger.certificates(r)],
            "events": [event.to_dict() for _, event in sorted(seen.items())],
            "records": [record.to_dict() for r in requests for record in ledger.request_records(r)],
        }
    holding = [v for v in versions() if v.label in held]
    until = _held(known["tombstones"]) if kind == "record" else []
    return Lineage(kind, name, known, _links(runs), holding, until, _originals(known))


def versions() -> list[Version]:
    """Every model version of the project, newest first, with its artifacts by name."""
    made = []
    for found in model_registry.all_versions():
        parts: dict[str, Any] = {}
        for artifact in artifacts.versions(model_version_id=found.id):
            parts.setdefault(artifact.artifact.name, artifact)
        made.append(Version(model_registry.label(found), found.stage or "none", str(found.id), parts))
    return made


def _trained_on(record_id: str) -> set[str]:
    """Labels of the model versions whose trajectory was trained on a record and still exists. Reads manifests alone."""
    labels = set()
    for version in artifacts.versions("trajectory", present_only=True):
        if record_id in artifacts.materializer_of(version).load_manifest().record_ids:
            labels.add(str(version.run_metadata.get(artifacts.MODEL_VERSION, "")))
    return labels


def _held(tombstones: Iterable[dict[str, Any]]) -> list[Held]:
    """Model versions whose training data or trajectory a purge destroyed."""
    found: dict[str, Held] = {}
    for stone in tombstones:
        label = str(stone["details"].get("model_version") or "")
        if stone["status"] == "destroyed" and stone["kind"] in ("training_records", "trajectory") and label:
            found.setdefault(label, Held(label, str(stone["destroyed_at"]), str(stone["run_id"])))
    return [found[label] for label in sorted(found)]


def _originals(known: dict[str, Any]) -> list[dict[str, Any]]:
    """The requests that one of these repeats, and that are not among them."""
    there = {request["id"] for request in known["requests"]}
    wanted = sorted({request["duplicate_of"] for request in known["requests"] if request["duplicate_of"]} - there)
    with open_ledger() as ledger:
        return [ledger.get_request(request_id).to_dict() for request_id in wanted]


def _links(runs: Iterable[dict[str, Any]]) -> list[Link]:
    known = versions()
    return [
        Link(
            run,
            next((v for v in known if run["model_version_before"] in (v.id, v.label)), None),
            next((v for v in known if v.label.rsplit(" ", 1)[1] == run["id"]), None),
        )
        for run in runs
    ]


@dataclass(frozen=True)
class Prefix:
    """What a run rewound past and left restricted: which steps, until when, for whom, and whether it still exists."""

    run_id: str
    kept: tuple[int, ...]
    destroyed: tuple[int, ...]
    destroy_by: str
    requests: tuple[str, ...]

    @property
    def words(self) -> str:
        if not self.kept:
            return f"{len(self.destroyed)} prefix checkpoints, destroyed (promised by {self.destroy_by})"
        gone = f", {len(self.destroyed)} more destroyed" if self.destroyed else ""
        return (
            f"{len(self.kept)} prefix checkpoints up to step {max(self.kept)} kept, restricted to rewinding, until"
            f" {self.destroy_by}{gone}"
        )


def prefixes_of(found: Lineage) -> list[Prefix]:
    """The prefixes that the runs of a lineage left, by their tombstones."""
    by_run: dict[str, list[dict[str, Any]]] = {}
    for one in found.ledger["tombstones"]:
        if one["kind"] == prefixes.KIND and "destroy_by" in one["details"]:
            by_run.setdefault(str(one["run_id"]), []).append(one)
    made = []
    for run_id, rows in by_run.items():
        steps = {status: sorted(_step(r) for r in rows if r["status"] == status) for status in ("kept", "destroyed")}
        details = rows[0]["details"]
        made.append(
            Prefix(
                run_id, tuple(steps["kept"]), tuple(steps["destroyed"]), details["destroy_by"],
                tuple(details["requests"]),
            )
        )  # fmt: skip
    return made


def _step(row: dict[str, Any]) -> int:
    return int(row["name"].split()[-1])


def facts_of(artifact: Any) -> dict[str, str]:
    """What may be said of an artifact for ever: hashes, dates, counts."""
    metadata = artifact.run_metadata
    shown = ("dvc_hash", "fingerprint", "sha256", "records", "checkpoints", "method", artifacts.DESTROYED_AT)
    facts = {name: str(metadata[name]) for name in shown if name in metadata}
    return {"artifact": str(artifact.id), "created": f"{artifact.created:%Y-%m-%d %H:%M:%S}", **facts}


def state_of(artifact: Any) -> str:
    """present or destroyed."""
    return "destroyed" if artifacts.is_destroyed(artifact) else "present"
