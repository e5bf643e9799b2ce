"""What did killed or abandoned runs leave of their requests, and how does each go on?"""

from __future__ import annotations

from collections.abc import Callable

from adapters import clock, model_registry, remains, workdir
from adapters.interim import INTERIM
from adapters.ledger import open_ledger, write_epoch
from adapters.purge_records import purge_records
from adapters.requests import has_left
from adapters.runs import PipelineRun, run_pipeline
from expunge.compliance.ledger import Ledger
from expunge.compliance.lifecycle import IllegalMove
from expunge.compliance.rows import DeletionRun
from expunge.settings import ProjectSettings
from pipelines.deletion import completion_pipeline

UNDER_WAY = ("planned", "unlearning", "verified", "promoted", "purged")
UNTRAINED = "none"
UNSETTLED = ("started", "planned", "verified", "promoted", "purged", INTERIM)
Say = Callable[[str], None]
Resumed = tuple[tuple[str, ...], tuple[str, PipelineRun]]


def resume(settings: ProjectSettings, say: Say) -> list[Resumed]:
    """Finish runs that were killed: what had promoted is completed, everything else starts over as a new run.

    Returns the completed runs, with their requests.
    """
    with open_ledger() as ledger:
        return _resume(ledger, settings, say)


def _resume(ledger: Ledger, settings: ProjectSettings, say: Say) -> list[Resumed]:
    done: list[Resumed] = []
    for run in ledger.runs_holding(UNDER_WAY):
        held = [r for r in map(ledger.get_request, run.details.get("requests", [])) if r.run_id == run.id]
        mine = tuple(r.id for r in held if r.status in UNDER_WAY)
        if not mine:
            continue  # done, or all of it waits for a person, which is no interruption
        if run.status == INTERIM:
            continue
        if run.method == UNTRAINED:
            for request_id in mine:
                answer_untrained(request_id)
            continue
        mine += tuple(r.id for r in held if r.status == "awaiting_approval")  # killed while it moved them on
        made = model_registry.find(settings.model.registered_as, run.id)
        if run.status in ("promoted", "purged") or model_registry.has_served(made):
            say(f"{run.id} had promoted its model when it was interrupted: completing it.")
            if run.status != "purged":
                ledger.update_run(run.id, status="promoted", model_version_after=model_registry.label(made))
            for request_id in mine:
                if ledger.get_request(request_id).status == "verified":
                    ledger.move(request_id, "promoted", run.id)
            finished = run_pipeline(completion_pipeline, "completion", run.id, settings)
            workdir.release()
            done.append((mine, (run.id, finished)))
            continue
        if made is not None:
            remains.discard(made, run.id)
        say(f"{run.id} was interrupted: its requests are planned again.")
        let_go(ledger, run.id)
    _settle(ledger)
    return done


def let_go(ledger: Ledger, run_id: str) -> tuple[str, ...]:
    """End a run that comes to nothing; returns its requests that are still to be answered, by another one."""
    named = ledger.get_run(run_id).details.get("requests", [])
    for request in map(ledger.get_request, named):
        if request.run_id == run_id and request.status in ("unlearning", "verified"):
            ledger.move(request.id, "failed", run_id)
        elif request.run_id == run_id and request.status in ("planned", "awaiting_approval"):
            ledger.move(request.id, "quarantined", run_id)
    ledger.update_run(run_id, status="interrupted")
    return tuple(r.id for r in map(ledger.get_request, named) if r.status in ("quarantined", "failed"))


def _settle(ledger: Ledger) -> None:
    """Runs that were killed before they had a request, or after the last was closed, say how they ended."""
    for run in (run for status in UNSETTLED for run in ledger.list_runs(status)):
        held = [r.status for r in map(ledger.get_request, run.details.get("requests", [])) if r.run_id == run.id]
        if run.details.get("requests") and not {*UNDER_WAY, "awaiting_approval"} & set(held):
            _settle_one(ledger, run)


def _settle_one(ledger: Ledger, run: DeletionRun) -> None:
    ends = run.status in ("promoted", "purged", INTERIM) or run.method == UNTRAINED
    if not ends:
        ledger.update_run(run.id, status="interrupted")
    elif all(ledger.get_request(r).status == "closed" for r in run.details.get("requests", [])):
        ledger.update_run(run.id, status="closed", finished_at=clock.now())


def answer_untrained(request_id: str) -> bool:
    """A request whose records the model that serves never saw is closed at once: what an older model or a table still
    holds of them is destroyed, and they stay out of every later training.

    Killed anywhere in between, it goes on from there. Returns whether it was answered: not if it was taken back.
    """
    run_id = f"none-{request_id}"
    with open_ledger() as ledger:
        ledger.add_run(run_id, method=UNTRAINED, details={"requests": [request_id]})
        try:
            for status in ("planned", "unlearning"):  # from here on it cannot be taken back
                ledger.move(request_id, status, run_id)
        except IllegalMove:
            if not has_left(ledger.get_request(request_id)):
                raise
            ledger.update_run(run_id, status="interrupted")
            return False
        pseudonyms = {r.record_pseudonym for r in ledger.request_records(request_id)}
    purge_records(pseudonyms, (), run_id)
    with open_ledger() as ledger:
        for status in ("verified", "promoted"):
            ledger.move(request_id, status, run_id)
        ledger.move(request_id, "purged", run_id)
        ledger.mark_erased(request_id, run_id)
        ledger.move(request_id, "closed", run_id, outcome="not_in_training")
        ledger.update_run(run_id, status="closed", finished_at=clock.now())
    write_epoch()
    return True
