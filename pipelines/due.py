"""What is due is done: admits requests, starts or resumes one deletion run for all, falls back to retraining."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from adapters import clock, model_registry, remains, workdir
from adapters.checkpoint_store import CheckpointStore
from adapters.interim import INTERIM
from adapters.ledger import open_ledger, write_epoch
from adapters.ledger_age import require_current
from adapters.project import current_project
from adapters.purge_again import destroy_again
from adapters.purge_records import purge_records
from adapters.requests import records_of
from adapters.runs import PipelineRun, run_pipeline
from adapters.scoring import scoring_options
from adapters.turn import turn
from adapters.verification import check_rows
from expunge.compliance.approvals import APPROVED, CHANGES
from expunge.compliance.ledger import Ledger
from expunge.compliance.rows import DeletionRun
from expunge.errors import GateFailed, NeedsApproval
from expunge.settings import ProjectSettings
from pipelines import approval
from pipelines.calibration import calibration_pipeline
from pipelines.deletion import completion_pipeline, deletion_pipeline
from pipelines.inputs import optional, required
from pipelines.prefixes import end_prefixes, end_what_saw
from pipelines.scoring import run_scoring

WAITING = ("received", "accepted", "quarantined", "failed")
UNDER_WAY = ("planned", "unlearning", "verified", "promoted", "purged")
UNTRAINED = "none"
UNSETTLED = ("started", "planned", "verified", "promoted", "purged", INTERIM)
Say = Callable[[str], None]


@dataclass(frozen=True)
class DueResult:
    """What a call of `run_due` did. `runs`: pipeline runs by the ledger's run id, in order. `awaiting`: runs that wait
    for a person.
    """

    requests: tuple[str, ...] = ()
    runs: tuple[tuple[str, PipelineRun], ...] = ()
    answered: tuple[str, ...] = ()
    fallback: str = ""
    awaiting: tuple[str, ...] = ()

    def __add__(self, other: DueResult) -> DueResult:
        return DueResult(
            self.requests + other.requests,
            self.runs + other.runs,
            self.answered + other.answered,
            other.fallback or self.fallback,
        )


def run_due(
    settings: ProjectSettings,
    within: timedelta | None,
    say: Say = lambda line: None,
    *,
    wait: bool = True,
    policy: str | None = None,
) -> DueResult:
    """Answer every request that is due within that time, late ones included. Calling it twice does nothing twice.

    One process at a time: a second one waits, and then finds what is left to do; without `wait` it raises AtWork.
    `policy`: in whose name plans are approved as the settings allow; None: a person must, where they require it.
    Raises GateFailed when not even retraining passed; the requests then stay open.
    """
    with turn(wait, say):
        return answer_due(settings, within, say, policy)


def carry_out_approved(settings: ProjectSettings, say: Say = lambda line: None) -> DueResult:
    """Carry out the runs that were approved, and nothing else; waits for whoever is at work."""
    with turn(True, say):
        return _with_waiting(_carry_out_approved(settings, say, None))


def answer_due(settings: ProjectSettings, within: timedelta | None, say: Say, policy: str | None) -> DueResult:
    """The same for a caller that has the turn."""
    check_rows(current_project())  # a row changed behind its events must not choose what is destroyed
    end_prefixes(settings, say, leave_faults=True)
    done = _answer_due(settings, within, say, policy)
    end_prefixes(settings, say)
    return _with_waiting(done)


def _answer_due(settings: ProjectSettings, within: timedelta | None, say: Say, policy: str | None) -> DueResult:
    with open_ledger() as ledger:
        require_current(ledger)
    if remains.sweep():
        again = destroy_again()[0]
        say(f"What was destroyed before was there again, as after a restore from a backup: destroyed again ({again}).")
    with open_ledger() as ledger:
        resumed = _resume(ledger, settings, say)
    done = DueResult(tuple(r for ids, _ in resumed for r in ids), tuple(run for _, runs in resumed for run in runs))
    done += _carry_out_approved(settings, say, policy)
    with open_ledger() as ledger:
        waiting = [d.request.id for d in ledger.due_requests(within=within, statuses=WAITING)]
        for request_id in waiting:
            if ledger.get_request(request_id).status != "failed":
                ledger.admit(request_id)
        asked_about = [run for run in ledger.runs_for_approval() if run.status != APPROVED]
    write_epoch()
    if not waiting and not asked_about:
        return done
    serving = str(model_registry.production(settings.model.registered_as).id)
    trained = required("training_records", serving).load().record_ids
    to_forget, never_trained = _split(waiting, trained, say)
    done += DueResult(answered=never_trained)
    for run in asked_about:
        if change := "requests_joined" if to_forget else approval.what_changed(run, settings):
            anew, never_trained = _split(_planned_anew(run.id, change, say), trained, say)
            to_forget, done = to_forget + anew, done + DueResult(answered=never_trained)
        elif policy and approval.by_policy(run.id, settings, policy, say):
            prepare(approval.settings_of(run), serving, say)
            done += _attempt(run.id, approval.settings_of(run), say, policy)
    if not to_forget:
        return done
    CheckpointStore(storage=settings.storage).check_writable()
    scoring_options(settings)  # a kernel table that cannot be used must not come up after the promotion
    prepare(settings, serving, say)
    return done + _attempt(_new_run(to_forget, serving, settings, attempt=1), settings, say, policy)


def _split(request_ids: Iterable[str], trained: Sequence[str], say: Say) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those with a record that the model that serves was trained on, and the others, which are answered at once."""
    asked = records_of(request_ids, trained)
    never_trained = tuple(r for r in asked if not asked[r])
    end_what_saw(never_trained, say)
    for request_id in never_trained:
        _answer_untrained(request_id)
        say(f"{request_id}: none of its records was in the training set of the model that serves; answered so.")
    return tuple(r for r in asked if asked[r]), never_trained


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


def _with_waiting(done: DueResult) -> DueResult:
    with open_ledger() as ledger:
        return replace(done, awaiting=tuple(run.id for run in ledger.runs_for_approval() if run.status != APPROVED))


def _carry_out_approved(settings: ProjectSettings, say: Say, policy: str | None) -> DueResult:
    """What has a yes is done before anything new is admitted: a plan holds for the records it was made for."""
    with open_ledger() as ledger:
        runs = [run for run in ledger.runs_for_approval() if run.status == APPROVED]
    done = DueResult()
    for run in runs:
        if change := approval.what_changed(run, settings):
            _planned_anew(run.id, change, say)
            continue
        say(f"{run.id} was approved by {run.details['approval']['by']}: carrying it out.")
        approval.settle_in_zenml(run.id, say)
        prepare(approval.settings_of(run), str(run.model_version_before), say)
        done += _attempt(run.id, approval.settings_of(run), say, policy)
    return done


def _planned_anew(run_id: str, change: str, say: Say) -> tuple[str, ...]:
    """Drop a plan that does not hold any more; returns its requests, which want another."""
    say(f"The plan of {run_id} does not hold any more ({CHANGES[change]}): its requests are planned anew.")
    approval.withdraw(run_id, change)
    with open_ledger() as ledger:
        found = (ledger.get_request(r) for r in ledger.get_run(run_id).details["requests"])
        return tuple(r.id for r in found if r.status == "quarantined")


def _attempt(run_id: str, settings: ProjectSettings, say: Say, policy: str | None) -> DueResult:
    """Plan a run, have it approved where that is asked for, carry it out, and fall back to retraining once."""
    with open_ledger() as ledger:
        run = ledger.get_run(run_id)
    asks = settings.deletion.approval == "required"
    if asks and run.status != APPROVED and not approval.ask(run, settings, policy, say):
        return DueResult()
    requests, reason = tuple(run.details["requests"]), run.fallback_reason or ""
    earlier = float(run.details.get("earlier_cost", 0.0))
    given = (run_id, str(run.model_version_before), settings, reason, run.attempt, earlier, asks)
    try:
        done = run_pipeline(deletion_pipeline, "deletion", *given)
    except NeedsApproval:
        approval.withdraw(run_id, "requests_joined")
        raise
    except GateFailed as refusal:
        if run.attempt > 1:
            raise
        reason = f"the gate refused the first attempt ({run_id}): {refusal.message}"
        say(f"{refusal.message} Falling back to retraining without the records.")
        with open_ledger() as ledger:
            spent = float(ledger.get_run(run_id).details.get("spent", {}).get("unlearning", 0.0))
        workdir.release()
        second = _new_run(requests, str(run.model_version_before), settings, 2, reason, spent)
        return _attempt(second, settings, say, policy)
    workdir.release()
    return DueResult(requests, ((run_id, done),), fallback=reason)


def _new_run(
    requests: tuple[str, ...],
    model_version: str,
    settings: ProjectSettings,
    attempt: int,
    fallback: str = "",
    earlier_cost: float = 0.0,
) -> str:
    run_id = f"run-{secrets.token_hex(4)}"
    details: dict[str, Any] = {"requests": list(requests)}
    if earlier_cost:
        details["earlier_cost"] = earlier_cost
    if settings.deletion.approval == "required":  # what is approved is carried out as it was planned
        details["settings"] = settings.model_dump(mode="json")
    with open_ledger() as ledger:
        ledger.add_run(run_id, attempt=attempt, model_version_before=model_version, details=details)
        if fallback:
            ledger.update_run(run_id, fallback_reason=fallback)
    return run_id


def _resume(
    ledger: Ledger, settings: ProjectSettings, say: Say
) -> list[tuple[tuple[str, ...], tuple[tuple[str, PipelineRun], ...]]]:
    """Finish runs that were killed: what had promoted is completed, everything else starts over as a new run."""
    done: list[tuple[tuple[str, ...], tuple[tuple[str, PipelineRun], ...]]] = []
    for run in ledger.runs_holding(UNDER_WAY):
        held = [r for r in map(ledger.get_request, run.details.get("requests", [])) if r.run_id == run.id]
        mine = tuple(r.id for r in held if r.status in UNDER_WAY)
        if not mine:
            continue  # done, or all of it waits for a person, which is no interruption
        if run.status == INTERIM:
            continue
        if run.method == UNTRAINED:
            for request_id in mine:
                _answer_untrained(request_id)
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
    _settle(ledger)
    return done


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


def _answer_untrained(request_id: str) -> None:
    """A request whose records the model that serves never saw is closed at once: what an older model or a table still
    holds of them is destroyed, and they stay out of every later training.

    Killed anywhere in between, it goes on from there.
    """
    run_id = f"none-{request_id}"
    with open_ledger() as ledger:
        pseudonyms = {r.record_pseudonym for r in ledger.request_records(request_id)}
    purge_records(pseudonyms, (), run_id)
    with open_ledger() as ledger:
        ledger.add_run(run_id, method=UNTRAINED, details={"requests": [request_id]})
        for status in ("planned", "unlearning", "verified", "promoted"):
            ledger.move(request_id, status, run_id)
        ledger.move(request_id, "purged", run_id)
        ledger.mark_erased(request_id, run_id)
        ledger.move(request_id, "closed", run_id, outcome="not_in_training")
        ledger.update_run(run_id, status="closed", finished_at=clock.now())
    write_epoch()
