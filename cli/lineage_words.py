"""How is a lineage told on a terminal, and as JSON?"""

from __future__ import annotations

from collections import Counter
from typing import Any

from cli import output


def as_json(found: Any) -> dict[str, Any]:
    """The lineage as plain JSON values."""
    from adapters.lineage import facts_of, state_of

    described = [
        {
            "version": v.label,
            "stage": v.stage,
            "artifacts": [
                {"name": name, "state": state_of(artifact), **facts_of(artifact)} for name, artifact in v.parts.items()
            ],
        }
        for v in _versions(found)
    ]
    return {
        "kind": found.kind,
        "name": found.name,
        "model_versions": described,
        "held_by": [v.label for v in found.holders],
        "held_until_purged": [vars(held) for held in found.held],
        "originals": found.originals,
        **found.ledger,
    }


def show(found: Any) -> None:
    """The lineage as lines and tables."""
    from adapters.lineage import prefixes_of

    output.line(f"{found.kind.capitalize()} {found.name}")
    for one in found.ledger["requests"]:
        output.line(f"  request {_request(one)}")
    for one in found.originals:
        output.line(f"  it repeats request {_request(one)}")
    if found.kind == "record":
        output.line("  held by: " + (", ".join(v.label for v in found.holders) or "no model version any more"))
        for held in found.held:
            output.line(f"  held by {held.version} until {held.run_id} destroyed it on {_minute(held.destroyed_at)}")
    elif found.kind == "model":
        output.line("  version: " + ", ".join(f"{v.label} ({v.stage})" for v in found.holders))
    for link in found.links:
        ends = " -> ".join(v.label if v else "?" for v in (link.before, link.after))
        output.line(f"  run {link.run['id']}: {link.run['method']}, {link.run['status']}: {ends}")
        if names := link.run["details"].get("requests"):
            output.line(f"    answers {', '.join(_with_records(found, name) for name in names)}")
        for line in _tombstones(found, link.run["id"]):
            output.line(f"    {line}")
    for prefix in prefixes_of(found):
        output.line(f"  run {prefix.run_id} left {prefix.words} (requests {', '.join(prefix.requests)})")
    if rows := _artifacts(found):
        output.table("Versions", ("model version", "stage", "artifact", "hash", "made", "state"), rows)
    if not found.links and found.ledger["events"]:
        events = [(e["at"], e["kind"], e["request_id"] or "") for e in found.ledger["events"]]
        output.table("What happened", ("at", "what", "request"), events)
    for one in found.ledger["certificates"]:
        kind = "interim certificate" if one["interim"] else "certificate"
        output.line(f"{kind} of {one['request_id']}: {one['path']} (sha256 {one['sha256']})")


def _versions(found: Any) -> list[Any]:
    seen = {v.label: v for link in found.links for v in (link.before, link.after) if v}
    return list({**seen, **{v.label: v for v in found.holders}}.values())


def _request(one: dict[str, Any]) -> str:
    """One request in a line: its state, its dates, and why nothing was done where nothing was."""
    parts = [f"{one['id']}: {one['status']}", f"received {_minute(one['received_at'])}"]
    if one["outcome"] and one["outcome"] != one["status"]:
        parts[0] += f" ({one['outcome'].replace('_', ' ')})"
    if one["refusal_ground"]:
        parts.append(f"on the ground {one['refusal_ground']}")
    if one["duplicate_of"]:
        parts.append(f"repeats {one['duplicate_of']}")
    parts.append(f"due {one['extended_to'] or one['due_at']}{' (extended)' if one['extended_to'] else ''}")
    for name in ("data_erased_at", "model_unlearned_at", "answered_at"):
        if one[name]:
            parts.append(f"{name.removesuffix('_at').replace('_', ' ')} {_minute(one[name])}")
    return ", ".join(parts)


def _minute(moment: str) -> str:
    """A ledger moment, in UTC, as people read it."""
    return moment[:16].replace("T", " ")


def _with_records(found: Any, request_id: str) -> str:
    count = sum(record["request_id"] == request_id for record in found.ledger.get("records", []))
    return f"{request_id} ({count} record{'' if count == 1 else 's'})" if count else request_id


def _tombstones(found: Any, run_id: str) -> list[str]:
    """What the run's purge destroyed and kept, by kind; the reasons of what it kept."""
    mine = [stone for stone in found.ledger["tombstones"] if stone["run_id"] == run_id]
    lines = []
    destroyed = Counter(stone["kind"] for stone in mine if stone["status"] == "destroyed")
    if destroyed:
        lines.append("destroyed: " + ", ".join(f"{count} {kind}" for kind, count in sorted(destroyed.items())))
    reasons: dict[str, list[str]] = {}
    for stone in mine:
        if stone["status"] == "kept":
            reasons.setdefault(str(stone["reason"]), []).append(stone["kind"])
    lines += [f"kept: {', '.join(sorted(set(kinds)))}: {reason}" for reason, kinds in sorted(reasons.items())]
    return lines


def _artifacts(found: Any) -> list[tuple[str, ...]]:
    from adapters.lineage import PARTS, facts_of, state_of

    rows: list[tuple[str, ...]] = []
    for version in _versions(found):
        for name in PARTS:
            if name in version.parts:
                artifact = version.parts[name]
                facts = facts_of(artifact)
                which = facts.get("dvc_hash") or facts.get("fingerprint") or facts.get("sha256") or facts["artifact"]
                state = f"destroyed {facts['destroyed_at']}" if "destroyed_at" in facts else state_of(artifact)
                rows.append((version.label, version.stage, name, which, facts["created"], state))
    return rows
