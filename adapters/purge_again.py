"""Is anything of an erased record back, as after a restore from a backup? It is destroyed again, and said to be."""

from __future__ import annotations

import secrets
from typing import Any

from adapters import artifacts, clock, model_registry, purging, remains, step_logs
from adapters.ledger import open_ledger, pseudonymizer, write_epoch
from adapters.ledger_age import erased_by_certificates, require_current
from adapters.purge_records import PurgeResult, purge_records
from adapters.turn import turn


def erased() -> frozenset[str]:
    """Pseudonyms of the erased records, by the ledger and by the certificates. Raises as `require_current`."""
    with open_ledger() as ledger:
        require_current(ledger)
        return ledger.erased_pseudonyms() | erased_by_certificates()


def whats_back() -> list[str]:
    """In words: what still descends from erased records or names one, what was destroyed once and exists again, and
    what a killed process left without a name.
    """
    with open_ledger() as ledger:
        gone = ledger.erased_pseudonyms() | erased_by_certificates()
    found = [*(purging.descendants(gone, passed()) if gone else ()), *purging.returned()]
    logs = step_logs.naming(gone, pseudonymizer()) if gone else []
    return [
        *(f"{d.kind} {d.version.id}: {d.why}" for d in found),
        *(f"log {path}: names an erased record" for path in logs),
        *remains.unnamed()[0],
    ]


def purge_again() -> tuple[str, PurgeResult | None]:
    """Destroy it, with tombstones and an event; returns the id they carry, and what was done (None: there was
    nothing). Raises IntegrityError when it is still there afterwards, or when the ledger is an older copy;
    AtWork while a deletion run is under way.
    """
    with turn(wait=False):
        return destroy_again()


def destroy_again() -> tuple[str, PurgeResult | None]:
    """The same for a caller that has the turn."""
    gone = erased()
    if not whats_back():
        return "", None
    run_id = f"purge-{secrets.token_hex(4)}"
    with open_ledger() as ledger:
        ledger.add_run(run_id, method="purge", details={"requests": []})
    done = purge_records(gone, passed(), run_id)
    remains.sweep()
    with open_ledger() as ledger:
        counts: dict[str, Any] = {"destroyed": len(done.destroyed), "left": len(done.rescan["found"])}
        ledger.append_event("purge.repeated", counts, run_id=run_id)
        ledger.update_run(run_id, status="closed", finished_at=clock.now())
    write_epoch()
    return run_id, done


def passed() -> list[str]:
    """Artifacts of the models that passed a gate for what they were asked to forget: made by a run of the ledger."""
    with open_ledger() as ledger:
        runs = {run.id for run in ledger.list_runs() if run.model_version_after is not None}
    versions = [v for v in model_registry.all_versions() if v.name in runs]
    return [str(a.id) for v in versions for a in artifacts.versions(model_version_id=v.id)]
