"""From the requests of a run to its plan: collect_due -> resolve -> plan. And the same with a question at the end."""

from __future__ import annotations

from typing import Any

from zenml import pipeline, wait

from adapters import model_registry, waiting
from expunge.settings import ProjectSettings
from pipelines.inputs import lent, optional, required
from steps.compliance.ask_approval import ask_approval
from steps.compliance.collect_due import collect_due
from steps.unlearning.plan_unlearning import plan_unlearning
from steps.unlearning.resolve_records import resolve_records


def planned(run_id: str, model_version: str, settings: ProjectSettings, retrain_because: str = "") -> tuple[Any, Any]:
    """The steps that make the forget set and the plan of a run."""
    losses = required("privacy_losses", model_version)
    calibrated = {name: v for name in ("budget_predictor",) if (v := optional(name, model_version))}
    label = model_registry.label(model_registry.by_id(model_version))
    due = collect_due(run_id)
    forget_set = resolve_records(due, losses)
    plan = plan_unlearning(
        forget_set, losses, required("trajectory", model_version), label, settings,
        required("training_records", model_version), run_id=run_id, retrain_because=retrain_because,
        **calibrated, **lent(model_version),
    )  # fmt: skip
    return forget_set, plan


@pipeline(name="approval", dynamic=True)
def approval_pipeline(
    run_id: str, model_version: str, settings: ProjectSettings, retrain_because: str = "", seconds: int = 0
) -> None:
    """Plan a run and wait for a person's answer; after so many seconds paused, until it is resumed."""
    forget_set, plan = planned(run_id, model_version, settings, retrain_because)
    ask_approval(plan, forget_set, run_id)
    wait(
        schema=bool,
        question=f"Carry out deletion run {run_id}? Answer with: expunge approve {run_id}",
        timeout=seconds,
        poll_interval=2,
        name=waiting.NAME,
    )


@pipeline(name="approval")
def approval_without_waiting(
    run_id: str, model_version: str, settings: ProjectSettings, retrain_because: str = ""
) -> None:
    """The same for orchestrators that have no dynamic pipelines: the run waits on the ledger alone."""
    forget_set, plan = planned(run_id, model_version, settings, retrain_because)
    ask_approval(plan, forget_set, run_id)
