"""What is open is done: admits requests, starts or resumes one deletion run for all, falls back to retraining.

Every request is quarantined by the first run that finds it, due or not. So a run answers all of them together: their
records are out of training anyway, and would cost another run later. `within` only decides whether a run is needed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from adapters import model_registry, remains, workdir
from adapters.checkpoint_store import CheckpointStore
from adapters.ledger import open_ledger, write_epoch
from adapters.project import current_project
from adapters.purge_again import destroy_again
from adapters.requests import RequestsLeft, records_of
from adapters.runs import PipelineRun, run_pipeline
from adapters.scoring import scoring_options
from adapters.turn import turn
from adapters.verification import require_sound
from expunge.compliance.approvals import APPROVED, CHANGES
from expunge.compliance.ledger import Ledger
from expunge.compliance.lifecycle import IllegalMove
from expunge.errors import GateFailed, NeedsApproval
from expunge.settings import ProjectSettings
from pipelines import approval
from pipelines.calibration import calibration_pipeline
from pipelines.deletion import deletion_pipeline
from pipelines.inputs import optional, required
from pipelines.prefixes import end_prefixes, end_what_saw
from pipelines.scoring import run_scoring
from pipelines.unfinished import answer_untrained, let_go, resume

WAITING = ("received", "accepted", "quarantined", "failed")
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
    """Quarantine every request that came in, and if one is due within that time, late ones included, answer all that
    are open together (None: always). Calling it twice does nothing twice.

    One process at a time: a second one waits, and then finds what is left to do; without `wait` it raises AtWork.
    `policy`: in whose name plans are approved as the settings allow; None: a person must, where they require it.
    Raises GateFailed when not even retraining passed; the requests then stay open.
    """
    with turn(wait, say):
        return answer_due(settings, within, say, policy)


def carry_out_approved(settings: ProjectSettings, say: Say = lambda line: None) -> DueResult:
    """Finish what was interrupted, carry out the runs that were approved, and nothing else; waits for whoever is at
    work.
    """
    with turn(True, say):
        require_sound(current_project())
        done = _finish_first(settings, say)
        carried, _ = _carry_out_approved(settings, say, None)
        return _with_waiting(done + carried)


def answer_due(settings: ProjectSettings, within: timedelta | None, say: Say, policy: str | None) -> DueResult:
    """The same for a caller that has the turn."""
    require_sound(current_project())
    end_prefixes(settings, say, leave_faults=True)
    done = _answer_due(settings, within, say, policy)
    end_prefixes(settings, say)
    return _with_waiting(done)


def _answer_due(settings: ProjectSettings, within: timedelta | None, say: Say, policy: str | None) -> DueResult:
    done = _finish_first(settings, say)
    carried, withdrawn = _carry_out_approved(settings, say, policy)
    done += carried
    with open_ledger() as ledger:
        _admit(ledger, say)
        waiting = [d.request.id for d in ledger.due_requests(statuses=WAITING)]
        needed = withdrawn or bool(ledger.due_requests(within=within, statuses=WAITING))
        asked_about = [run for run in ledger.runs_for_approval() if run.status != APPROVED]
    write_epoch()
    # a plan that must be made anew is made for all, or those left out would make the new one stale too
    if not needed and not any(approval.what_changed(run, settings) for run in asked_about):
        if waiting and within is not None:
            say(f"{len(waiting)} in quarantine, none of them due within {within.days} days: no run is needed yet.")
        waiting = []
    if not waiting and not asked_about:
        return done
    serving = str(model_registry.production(settings.model.registered_as).id)
    trained = required("training_records", serving).load().record_ids
    to_forget, answered = _split(waiting, trained, say)
    done += DueResult(answered=answered)
    for run in asked_about:
        if change := approval.what_changed(run, settings) or ("requests_joined" if to_forget else None):
            anew, answered = _split(_planned_anew(run.id, change, say), trained, say)
            to_forget, done = to_forget + anew, done + DueResult(answered=answered)
        elif policy and approval.by_policy(run.id, settings, policy, say):
            prepare(approval.settings_of(run), serving, say)
            done += _attempt(run.id, approval.settings_of(run), say, policy)
    if not to_forget:
        return done
    CheckpointStore(storage=settings.storage).check_writable()
    scoring_options(settings)  # a kernel table that cannot be used must not come up after the promotion
    prepare(settings, serving, say)
    return done + _attempt(_new_run(to_forget, serving, settings, attempt=1), settings, say, policy)


def _finish_first(settings: ProjectSettings, say: Say) -> DueResult:
    """What killed processes left, and what a backup brought back: nothing new begins beside it."""
    if remains.sweep():
        again = destroy_again()[0]
        say(f"What was destroyed before was there again, as after a restore from a backup: destroyed again ({again}).")
    resumed = resume(settings, say)
    return DueResult(tuple(r for ids, _ in resumed for r in ids), tuple(run for _, run in resumed))


def _admit(ledger: Ledger, say: Say) -> None:
    """Quarantine every request that is in order, however far off its deadline is (GDPR Art. 18)."""
    for request in (*ledger.list_requests("received"), *ledger.list_requests("accepted")):
        try:
            ledger.admit(request.id)
        except IllegalMove as moved:  # taken back or put on hold since it was listed
            say(f"{request.id} is left alone: {moved.message}")


def _split(request_ids: Iterable[str], trained: Sequence[str], say: Say) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those with a record that the model that serves was trained on, and the others that were answered at once."""
    asked = records_of(request_ids, trained)
    never_trained = tuple(r for r in asked if not asked[r])
    end_what_saw(never_trained, say)
    answered = tuple(r for r in never_trained if answer_untrained(r))
    for request_id in answered:
        say(f"{request_id}: none of its records was in the training set of the model that serves; answered so.")
    return tuple(r for r in asked if asked[r]), answered


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


def _carry_out_approved(settings: ProjectSettings, say: Say, policy: str | None) -> tuple[DueResult, bool]:
    """What has a yes is done before anything new is admitted: a plan holds for the records it was made for.

    Returns what was done, and whether a plan that does not hold any more was withdrawn.
    """
    with open_ledger() as ledger:
        runs = [run for run in ledger.runs_for_approval() if run.status == APPROVED]
    done, withdrawn = DueResult(), False
    for run in runs:
        if change := approval.what_changed(run, settings):
            _planned_anew(run.id, change, say)
            withdrawn = True
            continue
        say(f"{run.id} was approved by {run.details['approval']['by']}: carrying it out.")
        prepare(approval.settings_of(run), str(run.model_version_before), say)
        approval.settle_in_zenml(run.id, say)
        done += _attempt(run.id, approval.settings_of(run), say, policy)
    return done, withdrawn


def _planned_anew(run_id: str, change: str, say: Say) -> tuple[str, ...]:
    """Drop a plan that does not hold any more; returns its requests, which want another."""
    say(f"The plan of {run_id} does not hold any more ({CHANGES[change]}): its requests are planned anew.")
    approval.withdraw(run_id, change)
    with open_ledger() as ledger:
        found = (ledger.get_request(r) for r in ledger.get_run(run_id).details["requests"])
        return tuple(r.id for r in found if r.status == "quarantined")


def _attempt(
    run_id: str, settings: ProjectSettings, say: Say, policy: str | None, replanned: bool = False
) -> DueResult:
    """Plan a run, have it approved where that is asked for, carry it out; fall back to retraining once, and once plan
    anew without requests that left meanwhile.
    """
    with open_ledger() as ledger:
        run = ledger.get_run(run_id)
    asks = settings.deletion.approval == "required"
    reason = run.fallback_reason or ""
    earlier = float(run.details.get("earlier_cost", 0.0))
    given = (run_id, str(run.model_version_before), settings, reason, run.attempt, earlier, asks)
    try:
        if asks and run.status != APPROVED and not approval.ask(run, settings, policy, say):
            return DueResult()
        done = run_pipeline(deletion_pipeline, "deletion", *given)
    except NeedsApproval:
        approval.withdraw(run_id, "requests_joined")
        raise
    except RequestsLeft as left:
        with open_ledger() as ledger:
            others = let_go(ledger, run_id)
        if replanned:
            raise
        say(f"{left.message} " + ("The others are planned anew." if others else "Nothing is left of this run."))
        workdir.release()
        if not others:
            return DueResult()
        second = _new_run(others, str(run.model_version_before), settings, run.attempt, reason, earlier)
        return _attempt(second, settings, say, policy, replanned=True)
    except GateFailed as refusal:
        if run.attempt > 1:
            raise
        reason = f"the gate refused the first attempt ({run_id}): {refusal.message}"
        say(f"{refusal.message} Falling back to retraining without the records.")
        with open_ledger() as ledger:
            refused = ledger.get_run(run_id).details
        spent = float(refused.get("spent", {}).get("unlearning", 0.0))
        workdir.release()
        second = _new_run(tuple(refused["requests"]), str(run.model_version_before), settings, 2, reason, spent)
        return _attempt(second, settings, say, policy, replanned)
    workdir.release()
    with open_ledger() as ledger:
        answered = tuple(ledger.get_run(run_id).details["requests"])
    return DueResult(answered, ((run_id, done),), fallback=reason)


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
