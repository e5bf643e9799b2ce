"""How are some records purged, and what is written down of it? Find, destroy, scan again, tombstones."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from adapters import artifacts, clock, purging, remains
from adapters.ledger import open_ledger
from adapters.purge_kinds import LOGS_METHOD, METHOD, ROWS_METHOD
from adapters.purging import Descendant
from expunge.errors import IntegrityError


@dataclass(frozen=True)
class PurgeResult:
    """What was destroyed and what was kept, as certificates list it; shared files; what the second scan found."""

    parts: list[dict[str, Any]]
    shared: list[str]
    rescan: dict[str, Any]

    @property
    def destroyed(self) -> list[dict[str, Any]]:
        return [part for part in self.parts if part["action"] == "destroyed"]


def purge_records(pseudonyms: Collection[str], promoted: Iterable[str], run_id: str) -> PurgeResult:
    """Destroy everything that descends from these records, also what a backup brought back; scan again; record the
    tombstones.

    Args:
        promoted: ids of the artifact versions of the model that passed the gate.

    Raises IntegrityError when the second scan still finds something; the tombstones are recorded all the same.
    """
    passed = list(promoted)
    found = [*purging.descendants(pseudonyms, passed), *purging.returned()]
    known = {d.version.id for d in found}
    earlier = [d for d in purging.destroyed_by(run_id) if d.version.id not in known]  # before it was killed, if it was
    done = purging.destroy(found, run_id, pseudonyms, earlier)
    done.destroyed += earlier
    remains.remove_nameless()  # of a process that was killed since this run began
    again = purging.rescan(pseudonyms, passed, done.destroyed, *remains.unnamed())
    parts = [_part(d) for d in done.destroyed]
    if done.logs or any(not d.only_rows for d in earlier):  # then some went before the rest did
        count = f"{len(done.logs)} log file(s)" if not earlier else "log files"
        words = f"{count} of the runs that had the records in their hands"
        parts.append({"kind": "step_logs", "name": words, "action": "destroyed", "method": LOGS_METHOD})
    parts += purging.kept()
    by_name = {str(d.version.id): d for d in done.destroyed}
    with open_ledger() as ledger:
        ledger.add_tombstones(_tombstone(part, by_name.get(part["name"]), run_id) for part in parts)
    if again["found"]:
        raise IntegrityError(
            f"The scan after the purge still found: {'; '.join(again['found'])}.",
            "The requests stay open; run `expunge run-due` again once the stores can be written.",
        )
    return PurgeResult(parts, sorted(set(done.shared)), again)


def _part(descendant: Descendant) -> dict[str, Any]:
    version = descendant.version
    return {
        "kind": f"rows of {descendant.kind}" if descendant.only_rows else descendant.kind,
        "name": str(version.id),
        "content_hash": version.content_hash or version.run_metadata.get("dvc_hash"),
        "action": "destroyed",
        "method": ROWS_METHOD if descendant.only_rows else METHOD,
    }


def _tombstone(part: dict[str, Any], descendant: Descendant | None, run_id: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "kind": part["kind"],
        "name": part["name"],
        "status": part["action"],
        "content_hash": part.get("content_hash"),
        "method": part.get("method"),
        "reason": part.get("reason"),
        "run_id": run_id,
    }
    if descendant is None:
        return row
    metadata = descendant.version.run_metadata
    row["created_at"] = descendant.version.created.replace(tzinfo=UTC)
    row["destroyed_at"] = clock.now()
    row["details"] = {
        "why": descendant.why,
        "model_version": str(metadata.get(artifacts.MODEL_VERSION, "")),
        "dvc_hash": str(metadata.get("dvc_hash", "")),
    }
    if descendant.only_rows:
        row["details"]["rows"] = descendant.only_rows
    if descendant.stored is not None:  # hashes: enough to know the bytes again should a backup bring them back
        row["details"]["objects"] = sorted(descendant.stored.objects)
    return row
