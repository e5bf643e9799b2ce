"""May this run be carried out? A person or a policy says so, of this very plan; the ledger has the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adapters import artifacts, model_registry, prefixes, waiting
from adapters.ledger import open_ledger
from adapters.runs import run_pipeline
from expunge.compliance.approvals import APPROVED, plan_digest
from expunge.compliance.canonical import sha256_of
from expunge.compliance.rows import DeletionRun
from expunge.settings import ProjectSettings, parse_settings
from pipelines.inputs import required
from pipelines.planning import approval_pipeline, approval_without_waiting

Say = Callable[[str], None]


def ask(run: DeletionRun, settings: ProjectSettings, policy: str | None, say: Say) -> bool:
    """Plan a new run and ask; returns whether there is a yes by now.

    `policy`: who answers for an unattended run, where the settings allow it; None: a person must.
    """
    given = (run.id, str(run.model_version_before), settings, run.fallback_reason or "")
    # a policy answers at once: nothing is to be waited for
    seconds = 0 if policy else settings.deletion.approval_wait
    if waiting.can_wait():
        say(f"{run.id} is planned; then it waits for approval" + (f", here for {seconds} s." if seconds else "."))
        run_pipeline(approval_pipeline, "approval", *given, seconds=seconds)
    else:
        run_pipeline(approval_without_waiting, "approval", *given)
    with open_ledger() as ledger:
        carried = ledger.carry_over(run.id, policies=policy is not None)
    if carried:
        say(f"{run.id} has the very plan that was approved before an interruption: that yes holds.")
        settle_in_zenml(run.id, say)
        return True
    return by_policy(run.id, settings, policy, say) if policy else _approved(run.id)


def by_policy(run_id: str, settings: ProjectSettings, policy: str, say: Say) -> bool:
    """Say yes in the name of the settings, if they allow it and no person said no to one of its requests before."""
    with open_ledger() as ledger:
        run = ledger.get_run(run_id)
        if run.status == APPROVED:
            return True
        cost, most = float(run.plan["predicted_cost"]), settings.deletion.approve_up_to
        if most is not None and cost > most:
            say(f"{run_id} would cost {cost:.2f} retrainings; the policy approves {most:.2f}: a person must answer.")
            return False
        if ledger.refused_before(run.details["requests"]):
            say(f"A person said no to a plan with one of the requests of {run_id}: a person must answer.")
            return False
        ledger.decide(run_id, True, by=policy, how="policy", plan_sha256=plan_digest(run))
    settle_in_zenml(run_id, say)
    return True


def settle_in_zenml(run_id: str, say: Say = lambda line: None) -> None:
    """Tell ZenML what the ledger says, if it does not know. The answer holds whether or not ZenML takes it."""
    with open_ledger() as ledger:
        run = ledger.get_run(run_id)
    pipeline_run = run.details.get("pipeline_run")
    if pipeline_run is None:
        return
    try:
        waiting.answer(pipeline_run, run.status == APPROVED)
        if run.status == APPROVED:
            waiting.resume(pipeline_run)
    except Exception as error:  # whatever ZenML's store, stack or server had
        say(f"ZenML still shows {run_id} as waiting ({type(error).__name__}); the ledger has the answer, which counts.")


def withdraw(run_id: str, reason: str) -> None:
    """Drop a plan that does not hold any more, on the ledger and in ZenML."""
    with open_ledger() as ledger:
        ledger.withdraw_approval(run_id, reason)
    settle_in_zenml(run_id)


def what_changed(run: DeletionRun, settings: ProjectSettings) -> str | None:
    """Why the run's plan does not hold any more (one of CHANGES), None if it does."""
    serving = str(model_registry.production(settings.model.registered_as).id)
    with open_ledger() as ledger:
        if change := ledger.change_of(run.id, serving):
            return change
        plan, forget_set = planned_artifacts(run)
        if plan is None or forget_set is None:
            return "plan_lost"
        wanted = plan.load()
        if sha256_of(wanted.model_dump(mode="json")) != run.details["approval"]["plan_sha256"]:
            return "plan_lost"
        if not prefixes.can_start(serving, wanted):
            return "start_destroyed"
        trained = required("training_records", serving).load().record_ids
        # records of other requests that no training may see any more: the plan does not forget them
        others = ledger.quarantined_among(trained) - set(forget_set.load().record_ids)
    return "requests_joined" if others else None


def planned_artifacts(run: DeletionRun) -> tuple[Any, Any]:
    """The versions of the plan and of the forget set that were made when the run was planned; None for a lost one."""
    found = []
    for name in ("unlearning_plan", "forget_set"):
        wanted = (run.details.get("planned") or {}).get(name)
        versions = artifacts.versions(name, present_only=True)
        found.append(next((v for v in versions if str(v.id) == wanted), None))
    return found[0], found[1]


def settings_of(run: DeletionRun) -> ProjectSettings:
    """The settings that the run was planned under: what was approved is carried out under them."""
    return parse_settings(run.details["settings"], f"the settings of {run.id}")


def _approved(run_id: str) -> bool:
    with open_ledger() as ledger:
        return ledger.get_run(run_id).status == APPROVED
