"""What ends a rewind's prefix, and what follows: it is destroyed, a scan is made, and its requests get their answer.

Called at the start and at the end of every scheduled run, also when nothing is due. Ledger and stores decide, so a call
that was cut short anywhere is finished by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from adapters import artifacts, clock, model_registry, prefixes, purge_kinds, purging, remains
from adapters.interim import final_certificate, waiting_requests
from adapters.ledger import open_ledger, write_epoch
from adapters.prefixes import KeptPrefix
from expunge.compliance.ledger import Ledger
from expunge.compliance.prefix_dates import days_late, end_reason
from expunge.errors import ExpungeError, IntegrityError, NotFoundError
from expunge.settings import ProjectSettings

Say = Callable[[str], None]


def end_prefixes(settings: ProjectSettings, say: Say, leave_faults: bool = False) -> tuple[str, ...]:
    """Destroy every prefix whose time has come and close the requests that waited for it; returns those.

    Args:
        leave_faults: say what failed instead of raising, for there is other work that must not wait for it.

    Raises ExpungeError where a store refuses, IntegrityError where the scan afterwards still finds something: the
    requests stay open.
    """
    try:
        for prefix in prefixes.kept():
            reason = _why_now(prefix, settings)
            if reason is not None:
                _end(prefix, reason, say)
        return _close_waiting(say)
    except ExpungeError as error:
        if not leave_faults:
            raise
        say(f"A rewind prefix could not be ended yet: {error.message} It is tried again at the end of this run.")
        return ()


def end_what_saw(request_ids: Iterable[str], say: Say) -> None:
    """End at once the prefixes that saw records of requests which are about to be answered without a run."""
    for request_id in request_ids:
        with open_ledger() as ledger:
            names = {r.record_pseudonym for r in ledger.request_records(request_id)}
        for prefix in prefixes.unlawful(names, everything=True):
            _end(prefix, f"request {request_id} is answered, and it saw its records", say)


def _why_now(prefix: KeptPrefix, settings: ProjectSettings) -> str | None:
    with open_ledger() as ledger:
        requests = [ledger.get_request(name) for name in prefix.request_ids]
        under_way = bool(ledger.list_requests("promoted"))
    own = settings.deletion
    reason = end_reason(
        prefix.destroy_by,
        {r.id: r.deadline if r.is_open else None for r in requests},
        own.prefix_margin_days,
        prefixes.today(),
        own.purge_prefix,
    )
    # While a run is between its promotion and its purge, what served before it may be continued yet.
    if reason is None and not under_way and not _serves(prefix, settings):
        return "no model that serves goes back to it"
    return reason


def _serves(prefix: KeptPrefix, settings: ProjectSettings) -> bool:
    try:
        serving = model_registry.production(settings.model.registered_as)
    except NotFoundError:  # it was destroyed
        return False
    trajectory = artifacts.newest("trajectory", model_version_id=serving.id)
    return trajectory is not None and trajectory.run_metadata.get("trajectory") == prefix.for_trajectory


def _end(prefix: KeptPrefix, reason: str, say: Say) -> None:
    late = days_late(prefix.destroy_by, prefixes.today())
    count, requests = int(prefix.version.run_metadata["checkpoints"]), ", ".join(prefix.request_ids)
    for version in prefixes.started_in(prefix):
        purging.destroy_trajectory(version, prefix.run_id)
        for model in artifacts.versions("model", present_only=True):
            if model.run_metadata.get("trajectory") == version.run_metadata.get("trajectory"):
                artifacts.destroy(model, prefix.run_id)
    prefixes.destroy(prefix, prefix.run_id)
    words = f"Destroyed the {count} restricted checkpoints that {prefix.run_id} left ({requests}): {reason}"
    say(f"{words}; {late} day(s) late." if late else f"{words}.")


def _close_waiting(say: Say) -> tuple[str, ...]:
    """The final certificate and the answer of every request on which no prefix is kept any more."""
    closed: list[str] = []
    faults: list[ExpungeError] = []
    with open_ledger() as ledger:
        prefixes.settle_tombstones(ledger, purge_kinds.METHOD)
        held = {request for prefix in prefixes.kept() for request in prefix.request_ids}
        for run_id in sorted({r.run_id for r in ledger.list_requests("purged") if r.run_id}):
            waiting = sorted(waiting_requests(ledger, run_id) - held)
            ready = [r for r in waiting if ledger.get_request(r).status == "purged"]
            scanned: dict[str, Any] = {}
            for request_id in ready:
                try:
                    if not scanned:
                        scanned = _scan(ledger, ready, run_id)
                    # what was found may be of one of them only: then each is looked for by itself
                    mine = _scan(ledger, [request_id], run_id) if scanned["found"] else scanned
                    _certify(ledger, request_id, run_id, mine)
                except ExpungeError as error:  # the others must not wait for this one
                    faults.append(error)
                else:
                    closed.append(request_id)
            _close(ledger, run_id, say)
    if closed:
        write_epoch()
    if faults:
        raise faults[0]
    return tuple(closed)


def _certify(ledger: Ledger, request_id: str, run_id: str, scanned: dict[str, Any]) -> None:
    rescan = _rescan(ledger, request_id, scanned)
    if rescan["found"]:
        raise IntegrityError(
            f"The scan after the prefix of {request_id} was destroyed still found: {'; '.join(rescan['found'])}.",
            "The request stays open; run `expunge run-due` again once the stores can be written.",
        )
    final_certificate(ledger, request_id, run_id, rescan, purge_kinds.METHOD)


def _close(ledger: Ledger, run_id: str, say: Say) -> None:
    """Close the requests of the run that have their final certificate, and the run with the last of them."""
    run = ledger.get_run(run_id)
    requests = run.details.get("requests", [])
    for request_id in requests:
        final = [c for c in ledger.certificates(request_id) if c.run_id == run_id and not c.interim]
        interim = [c for c in ledger.certificates(request_id) if c.run_id == run_id and c.interim]
        if final and interim and ledger.get_request(request_id).status == "purged":
            ledger.move(request_id, "closed", run_id)
            say(f"{request_id}: the checkpoints that were kept are destroyed; final certificate {final[-1].path}.")
    if requests and all(ledger.get_request(r).status == "closed" for r in requests) and run.status != "closed":
        ledger.update_run(run_id, status="closed", finished_at=clock.now())


def _scan(ledger: Ledger, requests: Iterable[str], run_id: str) -> dict[str, Any]:
    """The scan of a purge, for the records of these requests of a run; `remark`: what it could not look at."""
    names = {r.record_pseudonym for request_id in requests for r in ledger.request_records(request_id)}
    remains.remove_nameless()
    promoted = next((v for v in model_registry.all_versions() if v.name == run_id), None)
    own = [str(v.id) for v in artifacts.versions(model_version_id=promoted.id)] if promoted else []
    nameless, remark = remains.unnamed()
    return {**purging.rescan(names, own, (), nameless), "remark": remark}


def _rescan(ledger: Ledger, request_id: str, scan: dict[str, Any]) -> dict[str, Any]:
    """The scan, and whether any of the request's prefix is left in the stores: as artifact, or as bytes."""
    names = {r.record_pseudonym for r in ledger.request_records(request_id)}
    left = [f"{prefixes.KIND} {p.version.id}: {p.words}" for p in prefixes.unlawful(names, everything=True)]
    left += prefixes.objects_left(ledger, request_id)
    ended = sum(
        t.kind == prefixes.KIND and request_id in t.details.get("requests", ())
        for t in ledger.tombstones(status="destroyed")
    )
    found = [*scan["found"], *left]
    words = "nothing of the records was found" if not found else f"{len(found)} item(s) were found"
    words += " in the artifact store, the DVC cache and its remote"
    words += f" ({ended} prefix checkpoints checked){scan['remark']}"
    return {"at": scan["at"], "found": found, "words": words}
