"""Destroy what still remembers, list what stays and why, and scan again."""

from datetime import UTC
from typing import Annotated, Any

from zenml import step

from adapters import artifacts, clock, prefixes, purging
from adapters.ledger import open_ledger, write_epoch
from expunge.errors import IntegrityError
from expunge.facts import Facts


@step(enable_cache=False)
def purge_descendants(promotion: Facts, run_id: str) -> Annotated[Facts, "purge"]:
    with open_ledger() as ledger:
        requests = ledger.get_run(run_id).details["requests"]
        pseudonyms = {r.record_pseudonym for request in requests for r in ledger.request_records(request)}
    promoted = [str(v.id) for v in artifacts.versions(model_version_id=promotion.values["id"])]
    found = purging.descendants(pseudonyms, promoted)
    done = purging.destroy(found, run_id)
    again = purging.rescan(pseudonyms, promoted, done.destroyed)
    parts: list[dict[str, Any]] = [
        {
            "kind": d.kind,
            "name": str(d.version.id),
            "content_hash": d.version.content_hash or d.version.run_metadata.get("dvc_hash"),
            "action": "destroyed",
            "method": purging.METHOD,
        }
        for d in done.destroyed
    ]
    parts += purging.kept()
    with open_ledger() as ledger:
        ledger.add_tombstones(_tombstone(part, done, run_id) for part in parts)
        if again["found"]:
            raise IntegrityError(
                f"The scan after the purge still found: {'; '.join(again['found'])}.",
                "The requests stay open; run `expunge run-due` again once the stores can be written.",
            )
        for request_id in requests:
            ledger.move(request_id, "purged", run_id)
            ledger.mark_erased(request_id, run_id)
        ledger.update_run(run_id, status="purged")
    write_epoch()
    parts = prefixes.listed(parts, run_id)
    return Facts("Purge", {"artifacts": parts, "shared_files": sorted(set(done.shared)), "rescan": again})


def _tombstone(part: dict[str, Any], done: purging.Purged, run_id: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "kind": part["kind"],
        "name": part["name"],
        "status": part["action"],
        "content_hash": part.get("content_hash"),
        "method": part.get("method"),
        "reason": part.get("reason"),
        "run_id": run_id,
    }
    match = next((d for d in done.destroyed if str(d.version.id) == part["name"]), None)
    if match is not None:
        metadata = match.version.run_metadata
        row["created_at"] = match.version.created.replace(tzinfo=UTC)
        row["destroyed_at"] = clock.now()
        row["details"] = {
            "why": match.why,
            "model_version": str(metadata.get(artifacts.MODEL_VERSION, "")),
            "dvc_hash": str(metadata.get("dvc_hash", "")),
        }
    return row
