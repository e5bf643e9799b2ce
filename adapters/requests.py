"""Which records do the requests of a run mean? The ledger knows pseudonyms; they are matched with ids at hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from adapters.ledger import open_ledger, pseudonymizer
from expunge.compliance.ledger import Ledger
from expunge.compliance.lifecycle import HOLDS_QUARANTINE, IllegalMove, Status
from expunge.compliance.rows import Request
from expunge.errors import ExpungeError


class RequestsLeft(ExpungeError):
    """Requests of a run were cancelled, refused or put on hold after it was planned: the others want another plan."""


def has_left(request: Request) -> bool:
    """Whether it was taken out of the hands of whatever run it was in: cancelled, refused, put on hold."""
    return request.status not in HOLDS_QUARANTINE and request.status != Status.CLOSED


def requests_of(run_id: str) -> tuple[str, ...]:
    """Requests that a run works on, in the order of their deadline; the run lets go of those that left meanwhile.

    Raises RequestsLeft when none is left.
    """
    with open_ledger() as ledger:
        named = ledger.get_run(run_id).details["requests"]
        asked = [r for r in map(ledger.get_request, named) if not has_left(r)]
        if not asked:
            raise _left(named)
        if len(asked) < len(named):
            ledger.update_run(run_id, details={"requests": [r.id for r in asked]})
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
    """Move every request of a run on; those that are there already stay. Raises RequestsLeft if some left, when all
    others are moved.
    """
    gone = []
    for request_id in ledger.get_run(run_id).details["requests"]:
        try:
            ledger.move(request_id, status, run_id)
        except IllegalMove:
            if not has_left(ledger.get_request(request_id)):
                raise
            gone.append(request_id)
    if gone:
        raise _left(gone)


def require_all(ledger: Ledger, run_id: str) -> None:
    """Raises RequestsLeft if some request of the run left."""
    if gone := [r for r in ledger.get_run(run_id).details["requests"] if has_left(ledger.get_request(r))]:
        raise _left(gone)


def _left(request_ids: Sequence[str]) -> RequestsLeft:
    names = ", ".join(request_ids)
    return RequestsLeft(
        f"Taken back, refused or put on hold after the run was planned: {names}.", "Run `expunge run-due` again."
    )
