"""Which records do the requests of a run mean? The ledger knows pseudonyms; they are matched with ids at hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from adapters.ledger import open_ledger, pseudonymizer
from expunge.compliance.ledger import Ledger


def requests_of(run_id: str) -> tuple[str, ...]:
    """Requests that a run works on, in the order of their deadline."""
    with open_ledger() as ledger:
        asked = [ledger.get_request(name) for name in ledger.get_run(run_id).details["requests"]]
    return tuple(r.id for r in sorted(asked, key=lambda r: (r.deadline, r.received_at, r.id)))


def records_of(request_ids: Iterable[str], candidates: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Those of the candidate record ids that each request asks for."""
    names = pseudonymizer()
    by_pseudonym = {p: record_id for record_id in candidates for p in names.records(record_id)}
    found = {}
    with open_ledger() as ledger:
        for request_id in request_ids:
            asked = (r.record_pseudonym for r in ledger.request_records(request_id))
            found[request_id] = tuple(sorted({by_pseudonym[p] for p in asked if p in by_pseudonym}))
    return found


def move_all(ledger: Ledger, run_id: str, status: str) -> None:
    """Move every request of a run on; those that are there already stay."""
    for request_id in ledger.get_run(run_id).details["requests"]:
        ledger.move(request_id, status, run_id)
