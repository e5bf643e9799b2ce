"""audit record|subject|request|model."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.context import Json, start

app = typer.Typer(
    help="Lineage both ways: request, data version, checkpoints, models; tombstones too.", no_args_is_help=True
)
Publish = Annotated[bool, typer.Option("--publish", help="Put the lineage into the dashboard, as an audit run.")]


def add_to(parent: typer.Typer) -> None:
    parent.add_typer(app, name="audit")


@app.command("record")
def record(record_id: Annotated[str, typer.Argument()], publish: Publish = False, json: Json = False) -> None:
    """Where a record went: requests, data versions, trajectories, models; also after it was destroyed."""
    start()
    from adapters.lineage import of_record

    _show(of_record(record_id), publish, json)


@app.command("subject")
def subject(subject_id: Annotated[str, typer.Argument()], publish: Publish = False, json: Json = False) -> None:
    """A person's requests and what came of them."""
    start()
    from adapters.lineage import of_subject

    _show(of_subject(subject_id), publish, json)


@app.command("request")
def request(request_id: Annotated[str, typer.Argument()], publish: Publish = False, json: Json = False) -> None:
    """One request: from the records it named to the model that serves now."""
    start()
    from adapters.lineage import of_request

    _show(of_request(request_id), publish, json)


@app.command("model")
def model(
    version: Annotated[str, typer.Argument(help="A version's name or number, or a stage such as production.")],
    publish: Publish = False,
    json: Json = False,
) -> None:
    """One model version: what it was made from, what was asked of it, what took its place."""
    start()
    from adapters.lineage import of_model

    _show(of_model(version), publish, json)


def _show(found: Any, publish: bool, json: bool) -> None:
    from adapters.lineage import PARTS, facts_of, prefixes_of, state_of

    published = ""
    if publish:
        from pipelines.audit import run_audit

        published = run_audit(found).name
    seen = {v.label: v for link in found.links for v in (link.before, link.after) if v}
    seen |= {v.label: v for v in found.holders}
    if json:
        described = [
            {
                "version": v.label,
                "stage": v.stage,
                "artifacts": [
                    {"name": name, "state": state_of(artifact), **facts_of(artifact)}
                    for name, artifact in v.parts.items()
                ],
            }
            for v in seen.values()
        ]
        holders = [v.label for v in found.holders]
        output.as_json(
            {"kind": found.kind, "name": found.name, "model_versions": described, "held_by": holders,
             "published": published or None, **found.ledger}
        )  # fmt: skip
        return
    output.line(f"{found.kind.capitalize()} {found.name}")
    for one in found.ledger["requests"]:
        erased = f", data erased {one['data_erased_at']}" if one["data_erased_at"] else ""
        unlearned = f", model unlearned {one['model_unlearned_at']}" if one["model_unlearned_at"] else ""
        output.line(f"  request {one['id']}: {one['status']}, received {one['received_at']}{erased}{unlearned}")
    if found.kind in ("record", "model"):
        held = ", ".join(v.label for v in found.holders) or "no model version any more"
        output.line(f"  held by: {held}" if found.kind == "record" else f"  version: {held}")
    for link in found.links:
        ends = " -> ".join(v.label if v else "?" for v in (link.before, link.after))
        output.line(f"  run {link.run['id']}: {link.run['method']}, {link.run['status']}: {ends}")
    for prefix in prefixes_of(found):
        output.line(f"  run {prefix.run_id} left {prefix.words} (requests {', '.join(prefix.requests)})")
    rows = []
    for version in seen.values():
        for name in PARTS:
            if name in version.parts:
                facts = facts_of(version.parts[name])
                which = facts.get("dvc_hash") or facts.get("fingerprint") or facts.get("sha256") or facts["artifact"]
                rows.append(
                    (
                        version.label,
                        version.stage,
                        name,
                        which,
                        facts["created"],
                        f"destroyed {facts['destroyed_at']}" if "destroyed_at" in facts else "present",
                    )
                )
    output.table("Versions", ("model version", "stage", "artifact", "hash", "made", "state"), rows)
    for one in found.ledger["certificates"]:
        output.line(f"certificate of {one['request_id']}: {one['path']} (sha256 {one['sha256']})")
    if published:
        output.line(f"Published as run {published}: see its output `lineage` in the dashboard (`expunge dashboard`).")
