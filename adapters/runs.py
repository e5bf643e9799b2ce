"""Start a pipeline, and turn what went wrong inside a step back into the error it was."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from adapters.running import running
from expunge.errors import ExpungeError

_failure: list[BaseException] = []


def remember_failure(exception: BaseException) -> None:
    """ZenML failure hook: keeps the exception, for ZenML raises another in its place.

    A dynamic pipeline's hook is given ZenML's own exception, which holds that of the step.
    """
    while (inner := getattr(exception, "original_exception", None)) is not None:
        exception = inner
    _failure.append(exception)


class Unnamed(ExpungeError):
    """Stands in for an error that names records, where what is raised is logged for ever."""

    def __init__(self, original: ExpungeError) -> None:
        super().__init__(f"{type(original).__name__}: as it may name records, its words stand at the command alone.")
        self.original = original


@contextlib.contextmanager
def without_record_ids() -> Iterator[None]:
    """In a step: errors of the library reach the caller of `run_pipeline` as they are, and ZenML without their words.

    ZenML keeps messages and tracebacks of failed steps, and record ids must not be kept.
    """
    try:
        yield
    except ExpungeError as error:
        raise Unnamed(error) from None


class PipelineRun:
    """A finished run: its outputs by name, and how long each step took."""

    def __init__(self, response: Any) -> None:
        self.response = response

    @property
    def name(self) -> str:
        return str(self.response.name)

    def output(self, name: str) -> Any:
        """The artifact version that a step of the run made under this name. Raises KeyError."""
        for step in self.response.steps.values():
            for output_name, found in step.outputs.items():
                if output_name == name:
                    return found[0]
        raise KeyError(name)

    def load(self, name: str) -> Any:
        return self.output(name).load()

    def seconds(self) -> dict[str, float]:
        """Wall time of each step."""
        return {
            name: (step.end_time - step.start_time).total_seconds()
            for name, step in self.response.steps.items()
            if step.end_time and step.start_time
        }


def runs_dynamic_pipelines() -> bool:
    """Whether the active orchestrator can: the local one and a few others."""
    from zenml.client import Client

    return bool(Client().active_stack.orchestrator.supports_dynamic_pipelines)


def run_pipeline(
    pipeline: Callable[..., Any], run_name: str, *arguments: Any, workers: int = 1, **parameters: Any
) -> PipelineRun:
    """Run a pipeline of ours and wait. Raises the error of the step that failed, as the library raised it.

    Args:
        workers: how many steps of a dynamic pipeline run at once.
    """
    _failure.clear()
    os.environ["ZENML_DYNAMIC_PIPELINE_WORKER_COUNT"] = str(workers)
    configured = pipeline.with_options(  # type: ignore[attr-defined]
        run_name=f"{run_name}-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06d}",
        on_failure=remember_failure,
        enable_cache=False,
    )
    try:
        with warnings.catch_warnings():
            for module in ("zenml", "dvc", "evidently"):
                warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
            warnings.simplefilter("ignore", ResourceWarning)
            with running():
                response = configured(*arguments, **parameters)
    except ExpungeError:
        raise
    except Exception as error:
        cause = _cause(error)
        if isinstance(cause, ExpungeError):
            raise cause from None
        raise ExpungeError(
            f"Pipeline {run_name!r} failed: {type(cause).__name__}: {cause}.",
            "Run it again with --debug for the traceback; finished work is kept.",
        ) from cause
    return PipelineRun(response)


def _cause(error: Exception) -> BaseException:
    """What went wrong first, without the wrappings that ZenML and we put round it."""
    found = [failure.original if isinstance(failure, Unnamed) else failure for failure in _failure]
    ours = [failure for failure in found if isinstance(failure, ExpungeError)]
    return next(iter([*ours[-1:], *found, error]))
