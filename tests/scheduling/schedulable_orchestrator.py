"""An orchestrator that ZenML may schedule on: the local one, which keeps a scheduled pipeline instead of running it."""

from __future__ import annotations

from typing import Any

from zenml.orchestrators.local.local_orchestrator import (
    LocalOrchestrator,
    LocalOrchestratorConfig,
    LocalOrchestratorFlavor,
)


class CalendarConfig(LocalOrchestratorConfig):
    @property
    def is_schedulable(self) -> bool:
        return True


class CalendarOrchestrator(LocalOrchestrator):
    def submit_pipeline(self, snapshot: Any, *arguments: Any, **more: Any) -> Any:
        return None if snapshot.schedule else super().submit_pipeline(snapshot, *arguments, **more)


class CalendarFlavor(LocalOrchestratorFlavor):
    @property
    def name(self) -> str:
        return "calendar"

    @property
    def config_class(self) -> type[CalendarConfig]:
        return CalendarConfig

    @property
    def implementation_class(self) -> type[CalendarOrchestrator]:
        return CalendarOrchestrator
