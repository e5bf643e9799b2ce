"""A lineage as nodes and edges, for the page that draws it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from adapters.lineage import DECISIONS, PARTS, Lineage, Link, Version, facts_of, prefixes_of, state_of
from expunge.reporting.lineage_page import LineageEdge, LineageNode, lineage_page

_LABELS = {
    "training_records": "training data",
    "trajectory": "trajectory",
    "model": "model",
    "gradient_norms": "gradient norms",
    "privacy_losses": "privacy losses",
}
_OF_REQUEST = (
    "status", "regulation", "received_at", "due_at", "extended_to", "answered_at", "outcome", "refusal_ground",
    "duplicate_of", "data_erased_at", "model_unlearned_at",
)  # fmt: skip


class _Graph:
    def __init__(self) -> None:
        self.nodes: dict[str, LineageNode] = {}
        self.edges: list[LineageEdge] = []

    def node(self, key: str, kind: str, label: str, state: Any, detail: dict[str, str]) -> str:
        self.nodes.setdefault(key, LineageNode(key, kind, label, state, detail))
        return key

    def edge(self, source: str | None, target: str | None, label: str = "") -> None:
        made = LineageEdge(source or "", target or "", label)
        if source and target and made not in self.edges:
            self.edges.append(made)

    def version(self, version: Version) -> dict[str, str]:
        """data -> trajectory -> model and scores, of one model version; keys by artifact name."""
        keys = {}
        for name in PARTS:
            if name in version.parts:
                artifact = version.parts[name]
                label = _LABELS[name] + (f" ({version.stage})" if name == "model" else "")
                keys[name] = self.node(str(artifact.id), version.label, label, state_of(artifact), facts_of(artifact))
        self.edge(keys.get("training_records"), keys.get("trajectory"))
        for name in ("model", "gradient_norms"):
            self.edge(keys.get("trajectory"), keys.get(name))
        self.edge(keys.get("gradient_norms"), keys.get("privacy_losses"))
        return keys

    def request(self, request: dict[str, Any]) -> str:
        facts = {name: str(request[name]) for name in _OF_REQUEST if request[name]}
        kind = "request" if request["outcome"] in (None, "erased") else f"request, {request['outcome']}"
        return self.node(request["id"], kind.replace("_", " "), request["id"], "present", facts)

    def run(self, link: Link, found: Lineage) -> str:
        """A deletion run, with what its purge destroyed beside the artifacts that are drawn, and what it kept."""
        run_id = link.run["id"]
        facts = {k: str(link.run[k]) for k in ("status", "method", "started_at", "stop_reason") if link.run[k]}
        return self.node(run_id, "deletion run", f"{run_id} ({link.run['method'] or 'not planned'})", "present", facts)

    def tombstones(self, link: Link, found: Lineage, before: dict[str, str]) -> None:
        """What a run's purge destroyed beside the artifacts that are drawn, by kind, and what it kept and why."""
        run_id = link.run["id"]
        mine = [
            stone
            for stone in found.ledger["tombstones"]
            if stone["run_id"] == run_id and "destroy_by" not in stone["details"]  # what is kept for a while: not here
        ]
        others = [s for s in mine if s["status"] == "destroyed" and s["name"] not in self.nodes]
        for kind, count in sorted(Counter(stone["kind"] for stone in others).items()):
            first = next(stone for stone in others if stone["kind"] == kind)
            facts = {"destroyed_at": str(first["destroyed_at"]), "method": str(first["method"])}
            if first["content_hash"]:
                facts = {"content_hash": str(first["content_hash"]), **facts}
            label = kind.replace("_", " ") + (f" ({count})" if count > 1 else "")
            key = self.node(f"destroyed {run_id} {kind}", run_id, label, "destroyed", facts)
            self.edge(before.get("training_records"), key)
        kept = [s for s in mine if s["status"] == "kept"]
        if kept:
            reasons = {stone["kind"].replace("_", " "): str(stone["reason"]) for stone in kept}
            key = self.node(f"kept {run_id}", run_id, f"kept: {len(reasons)} kinds", "kept", reasons)
            self.edge(run_id, key)


def page_of(found: Lineage, public_name: str) -> str:
    """The lineage as one static page; its title has `public_name`, a pseudonym if it is of a record or a person."""
    graph = _Graph()
    for version in found.holders:
        graph.version(version)
    for request in [*found.originals, *found.ledger["requests"]]:
        graph.request(request)
    requests = {r["id"]: r for r in found.ledger["requests"]}
    for request in requests.values():
        graph.edge(request["duplicate_of"], request["id"], "repeated by")
    for link in found.links:
        _draw_run(graph, link, found, requests)
    for prefix in prefixes_of(found):
        facts = {
            "steps": ", ".join(map(str, prefix.kept or prefix.destroyed)),
            "destroyed by": prefix.destroy_by,
            "waited for by": ", ".join(prefix.requests),
        }
        state = "kept" if prefix.kept else "destroyed"
        key = graph.node(f"prefix {prefix.run_id}", prefix.run_id, "rewind prefix, restricted", state, facts)
        graph.edge(prefix.run_id, key)
    name = f"{found.kind} {public_name}"
    about = {"about": name, "requests": str(len(requests)), "runs": str(len(found.links))}
    if found.kind == "record":
        about["held now by"] = ", ".join(v.label for v in found.holders) or "no model version"
        about["held until a purge by"] = ", ".join(h.version for h in found.held) or "none that is known"
    events = [
        (e["at"], e["kind"] + (f" {e['request_id']}" if e["request_id"] else ""), e["run_id"] or "")
        for e in found.ledger["events"]
    ]
    return lineage_page(f"Lineage of {name}", about, list(graph.nodes.values()), graph.edges, events)


def _draw_run(graph: _Graph, link: Link, found: Lineage, requests: dict[str, Any]) -> None:
    run = graph.run(link, found)
    before: dict[str, str] = {}
    for request_id in link.run["details"].get("requests", []):
        if request_id in requests:
            graph.edge(request_id, run)
    if link.before:
        before = graph.version(link.before)
        graph.edge(before.get("trajectory"), run)
        graph.edge(before.get("privacy_losses"), run)
    if link.after:
        after = graph.version(link.after)
        graph.edge(run, after.get("training_records"))
        graph.edge(run, after.get("trajectory"))
        for name in DECISIONS:
            if artifact := link.after.parts.get(name):
                label = name.replace("_", " ")
                key = graph.node(str(artifact.id), run, label, state_of(artifact), facts_of(artifact))
                graph.edge(run, key)
        for certificate in found.ledger["certificates"]:
            if certificate["run_id"] == run:
                key = graph.node(
                    certificate["sha256"], certificate["request_id"],
                    "interim certificate" if certificate["interim"] else "certificate", "present",
                    {"sha256": certificate["sha256"], "path": certificate["path"], "issued": certificate["at"]},
                )  # fmt: skip
                graph.edge(after.get("model"), key)
    graph.tombstones(link, found, before)
