"""Start a pipeline, and turn what went wrong inside a step back into the error it was."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

from expunge.errors import ExpungeError

_failure: list[BaseException] = []


def remember_failure(exception: BaseException) -> None:
    """ZenML failure hook: keeps the exception, for ZenML raises another in its place."""
    _failure.append(exception)


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


def run_pipeline(pipeline: Callable[..., Any], run_name: str, *arguments: Any, **parameters: Any) -> PipelineRun:
    """Run a pipeline of ours and wait. Raises the error of the step that failed, as the library raised it."""
    _failure.clear()
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
            response = configured(*arguments, **parameters)
    except ExpungeError:
        raise
    except Exception as error:
        cause = _failure[-1] if _failure else error
        if isinstance(cause, ExpungeError):
            raise cause from None
        raise ExpungeError(
            f"Pipeline {run_name!r} failed: {type(cause).__name__}: {cause}.",
            "Run it again with --debug for the traceback; finished work is kept.",
        ) from cause
    return PipelineRun(response)
