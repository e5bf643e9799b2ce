"""What is due is done: admits requests, starts or resumes one deletion run for all, falls back to retraining."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from filelock import FileLock, Timeout

from adapters import clock, model_registry, remains, workdir
from adapters.ledger import open_ledger, write_epoch
from adapters.project import current_project
from adapters.requests import records_of
from adapters.runs import PipelineRun, run_pipeline
from adapters.scoring import scoring_options
from expunge.compliance.ledger import Ledger
from expunge.compliance.rows import DeletionRun
from expunge.errors import GateFailed
from expunge.settings import ProjectSettings
from pipelines.calibration import calibration_pipeline
from pipelines.deletion import completion_pipeline, deletion_pipeline
from pipelines.inputs import optional, required
from pipelines.scoring import run_scoring

WAITING = ("received", "accepted", "quarantined", "failed")
UNDER_WAY = ("planned", "unlearning", "verified", "promoted", "purged")
UNTRAINED = "none"
Say = Callable[[str], None]


@dataclass(frozen=True)
class DueResult:
    """What a call of `run_due` did. `runs`: pipeline runs by the ledger's run id, in order."""

    requests: tuple[str, ...]
    runs: tuple[tuple[str, PipelineRun], ...]
    answered: tuple[str, ...] = ()
    fallback: str = ""


def run_due(settings: ProjectSettings, within: timedelta | None, say: Say = lambda line: None) -> DueResult:
    """Answer every request that is due within that time, late ones included. Calling it twice does nothing twice.

    One process at a time: a second one waits, and then finds what is left to do.
    Raises GateFailed when not even retraining passed; the requests then stay open.
    """
    lock = FileLock(current_project().lock("deletion"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("Another process is answering requests in this project: waiting for it.")
        lock.acquire()
    try:
        return _run_due(settings, within, say)
    finally:
        lock.release()


def _run_due(settings: ProjectSettings, within: timedelta | None, say: Say) -> DueResult:
    remains.sweep()
    with open_ledger() as ledger:
        resumed = _resume(ledger, settings, say)
        waiting = [d.request.id for d in ledger.due_requests(within=within, statuses=WAITING)]
        for request_id in waiting:
            if ledger.get_request(request_id).status != "failed":
                ledger.admit(request_id)
    write_epoch()
    if not waiting:
        return DueResult(tuple(r for ids, _ in resumed for r in ids), tuple(run for _, runs in resumed for run in runs))
    serving = str(model_registry.production(settings.model.registered_as).id)
    trained = required("training_records", serving).load().record_ids
    asked = records_of(waiting, trained)
    to_forget = tuple(r for r in waiting if asked[r])
    never_trained = tuple(r for r in waiting if not asked[r])
    for request_id in never_trained:
        _answer_untrained(request_id)
        say(f"{request_id}: none of its records was in the training set of the model that serves; answered so.")
    if not to_forget:
        return DueResult((), (), never_trained)
    scoring_options(settings)  # a kernel table that cannot be used must not come up after the promotion
    prepare(settings, serving, say)
    runs, fallback = _delete(settings, serving, to_forget, say)
    return DueResult(to_forget, runs, never_trained, fallback)


def prepare(settings: ProjectSettings, model_version: str, say: Say = lambda line: None) -> None:
    """Score and calibrate the model first, where nobody did yet: a plan needs both."""
    if optional("privacy_losses", model_version) is None:
        say("The model was not scored yet: scoring.")
        run_scoring(settings, model_version)
    if optional("budget_predictor", model_version) is None:
        say("The model was not calibrated yet: calibrating.")
        run_pipeline(calibration_pipeline, "calibration", model_version, settings)
    elif settings.evaluation.evidence_level == "pool" and optional("reference_pool", model_version) is None:
        say("The model has no reference pool: calibrating again, which trains it.")
        run_pipeline(calibration_pipeline, "calibration", model_version, settings)


def _delete(
    settings: ProjectSettings, model_version: str, requests: tuple[str, ...], say: Say
) -> tuple[tuple[tuple[str, PipelineRun], ...], str]:
    run_id = _new_run(requests, model_version, attempt=1)
    try:
        run = run_pipeline(deletion_pipeline, "deletion", run_id, model_version, settings)
    except GateFailed as refusal:
        reason = f"the gate refused the first attempt ({run_id}): {refusal.message}"
        say(f"{refusal.message} Falling back to retraining without the records.")
        with open_ledger() as ledger:
            spent = float(ledger.get_run(run_id).details.get("spent", {}).get("unlearning", 0.0))
        workdir.release()
        second = _new_run(requests, model_version, attempt=2, fallback=reason)
        run = run_pipeline(deletion_pipeline, "deletion", second, model_version, settings, reason, 2, spent)
        workdir.release()
        return ((second, run),), reason
    workdir.release()
    return ((run_id, run),), ""


def _new_run(requests: tuple[str, ...], model_version: str, attempt: int, fallback: str = "") -> str:
    run_id = f"run-{secrets.token_hex(4)}"
    with open_ledger() as ledger:
        ledger.add_run(
            run_id,
            attempt=attempt,
            model_version_before=model_version,
            details={"requests": list(requests)},
        )
        if fallback:
            ledger.update_run(run_id, fallback_reason=fallback)
    return run_id


def _resume(
    ledger: Ledger, settings: ProjectSettings, say: Say
) -> list[tuple[tuple[str, ...], tuple[tuple[str, PipelineRun], ...]]]:
    """Finish runs that were killed: what had promoted is completed, everything else starts over as a new run."""
    done: list[tuple[tuple[str, ...], tuple[tuple[str, PipelineRun], ...]]] = []
    for run in ledger.list_runs():
        open_ids = [r for r in run.details.get("requests", []) if ledger.get_request(r).status in UNDER_WAY]
        mine = tuple(r for r in open_ids if ledger.get_request(r).run_id == run.id)
        if not mine:
            _settle(ledger, run)
            continue
        if run.method == UNTRAINED:
            for request_id in mine:
                _answer_untrained(request_id)
            continue
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
            done.append((mine, ((run.id, finished),)))
            continue
        if made is not None:
            remains.discard(made, run.id)
        say(f"{run.id} was interrupted: its requests are planned again.")
        for request_id in mine:
            if ledger.get_request(request_id).status in ("unlearning", "verified"):
                ledger.move(request_id, "failed", run.id)
            else:
                ledger.move(request_id, "quarantined", run.id)
        ledger.update_run(run.id, status="interrupted")
    return done


def _settle(ledger: Ledger, run: DeletionRun) -> None:
    """A run was killed just before it said how it ended; none of its requests is under way."""
    if run.status in ("promoted", "purged") or (run.method == UNTRAINED and run.status == "started"):
        if all(ledger.get_request(r).status == "closed" for r in run.details.get("requests", [])):
            ledger.update_run(run.id, status="closed", finished_at=clock.now())
    elif run.status in ("started", "planned", "unlearning", "verified"):
        ledger.update_run(run.id, status="interrupted")


def _answer_untrained(request_id: str) -> None:
    """A request whose records no model saw is closed at once; its records stay out of every later training.

    Killed anywhere in between, it goes on from there.
    """
    run_id = f"none-{request_id}"
    with open_ledger() as ledger:
        ledger.add_run(run_id, method=UNTRAINED, details={"requests": [request_id]})
        for status in ("planned", "unlearning", "verified", "promoted"):
            ledger.move(request_id, status, run_id)
        ledger.move(request_id, "purged", run_id)
        ledger.mark_erased(request_id, run_id)
        ledger.move(request_id, "closed", run_id, outcome="not_in_training")
        ledger.update_run(run_id, status="closed", finished_at=clock.now())
    write_epoch()
