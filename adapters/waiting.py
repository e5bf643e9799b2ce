"""How does ZenML show a run that waits for a person? As a wait condition; the ledger alone says what the answer was.

Everything here may be called again, and does nothing where there is nothing left to do: a waiting process can be
killed at any point, and the answer may come when nobody runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from zenml.client import Client
from zenml.enums import ExecutionStatus, RunWaitConditionResolution, RunWaitConditionStatus
from zenml.exceptions import IllegalOperationError
from zenml.models import PipelineRunUpdate
from zenml.stack import Stack

NAME = "approve"


def can_wait() -> bool:
    """Whether the active orchestrator has dynamic pipelines, which alone can wait."""
    return bool(Client().active_stack.orchestrator.supports_dynamic_pipelines)


def answer(pipeline_run: str, yes: bool) -> None:
    """Resolve the wait condition of a pipeline run, if one is open: a yes lets it go on, a no stops it."""
    pending = RunWaitConditionStatus.PENDING.value
    for condition in Client().list_run_wait_conditions(pipeline_run=pipeline_run, status=pending):
        with contextlib.suppress(IllegalOperationError, KeyError):  # somebody was faster
            if yes:
                Client().resolve_run_wait_condition(
                    condition.id, resolution=RunWaitConditionResolution.CONTINUE, result=True
                )
            else:
                Client().resolve_run_wait_condition(condition.id, resolution=RunWaitConditionResolution.ABORT)


def resume(pipeline_run: str) -> None:
    """Let a run whose condition is resolved come to its end, unless it is there. No process may be waiting in it.

    A killed process leaves it `running`; ZenML resumes only what is `paused`.
    """
    client = Client()
    run = client.get_pipeline_run(pipeline_run, hydrate=True)
    if run.status.is_finished or run.snapshot is None or run.snapshot.stack is None:
        return
    for status in (ExecutionStatus.PAUSED, ExecutionStatus.RESUMING):
        if run.status != status:
            client.zen_store.update_run(run.id, PipelineRunUpdate(status=status, status_reason="Approved."))
    run = client.get_pipeline_run(pipeline_run, hydrate=True)
    with _stack(run) as stack:
        stack.orchestrator.resume_run(snapshot=run.snapshot, run=run, stack=stack)


@contextlib.contextmanager
def _stack(run: Any) -> Iterator[Any]:
    """The stack that the run was started on, made active."""
    client, wanted = Client(), run.snapshot.stack
    before = client.active_stack_model.id
    if before != wanted.id:
        client.activate_stack(wanted.id)
    try:
        yield Stack.from_model(wanted)
    finally:
        if before != wanted.id:
            client.activate_stack(before)
