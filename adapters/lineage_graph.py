"""A lineage as nodes and edges, for the page that draws it."""

from __future__ import annotations

from typing import Any

from adapters.lineage import DECISIONS, PARTS, Lineage, Version, facts_of, prefixes_of, state_of
from expunge.reporting.lineage_page import LineageEdge, LineageNode, lineage_page

_LABELS = {
    "training_records": "training data",
    "trajectory": "trajectory",
    "model": "model",
    "gradient_norms": "gradient norms",
    "privacy_losses": "privacy losses",
}


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


def page_of(found: Lineage) -> str:
    """The lineage as one static page."""
    graph = _Graph()
    for version in found.holders:
        graph.version(version)
    requests = {r["id"]: r for r in found.ledger["requests"]}
    for link in found.links:
        run_id = link.run["id"]
        run = graph.node(
            run_id, "deletion run", f"{run_id} ({link.run['method'] or 'not planned'})", "present",
            {k: str(link.run[k]) for k in ("status", "method", "started_at", "stop_reason") if link.run[k]},
        )  # fmt: skip
        for request_id in link.run["details"].get("requests", []):
            if request_id in requests:
                request = requests[request_id]
                facts = {k: str(request[k]) for k in ("status", "regulation", "received_at", "due_at", "outcome")}
                graph.edge(graph.node(request_id, "request", request_id, "present", facts), run)
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
                    key = graph.node(
                        str(artifact.id), run_id, name.replace("_", " "), state_of(artifact), facts_of(artifact)
                    )
                    graph.edge(run, key)
            for certificate in found.ledger["certificates"]:
                if certificate["run_id"] == run_id:
                    key = graph.node(
                        certificate["sha256"], certificate["request_id"], "certificate", "present",
                        {"sha256": certificate["sha256"], "path": certificate["path"], "issued": certificate["at"]},
                    )  # fmt: skip
                    graph.edge(after.get("model"), key)
    for prefix in prefixes_of(found):
        facts = {
            "steps": ", ".join(map(str, prefix.kept or prefix.destroyed)),
            "destroyed by": prefix.destroy_by,
            "waited for by": ", ".join(prefix.requests),
        }
        state = "kept" if prefix.kept else "destroyed"
        key = graph.node(f"prefix {prefix.run_id}", prefix.run_id, "rewind prefix, restricted", state, facts)
        graph.edge(prefix.run_id, key)
    about = {"about": f"{found.kind} {found.name}", "requests": str(len(requests)), "runs": str(len(found.links))}
    events = [
        (e["at"], e["kind"] + (f" {e['request_id']}" if e["request_id"] else ""), e["run_id"] or "")
        for e in found.ledger["events"]
    ]
    return lineage_page(f"Lineage of {found.kind} {found.name}", about, list(graph.nodes.values()), graph.edges, events)
