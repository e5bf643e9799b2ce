"""How does ZenML call a schedule? Where the active stack's orchestrator can: a ZenML Schedule on the pipeline.

ZenML's schedules name no time zone, and orchestrators read them in UTC. So the expression lists every hour of UTC that
the time can fall on, and `run-due --schedule` decides by the schedule's own zone.

A ZenML Schedule keeps the declaration that it was made with, so its name ends with the declaration's digest: another
one shows, and takes its place.
"""

from __future__ import annotations

import re
from datetime import UTC
from itertools import islice
from typing import Any

from zenml.client import Client

from adapters import clock
from adapters.project import Project
from adapters.schedules import Schedule
from adapters.systemd import unit_name
from expunge.compliance.canonical import sha256_of


def available() -> bool:
    """Whether the active stack's orchestrator runs pipelines on a schedule."""
    return bool(Client().active_stack.orchestrator.config.is_schedulable)


def utc_expression(schedule: Schedule) -> str:
    """Five cron fields in UTC that cover every moment of the schedule."""
    moments = [m.astimezone(UTC) for m in islice(schedule.timetable.following(clock.now(), 5000), 5000)]
    minutes, hours = sorted({m.minute for m in moments}), sorted({m.hour for m in moments})
    parts = ["*" if len(v) == most else ",".join(map(str, v)) for v, most in ((minutes, 60), (hours, 24))]
    return f"{parts[0]} {parts[1]} * * *"


def install(project: Project, schedule: Schedule, pipeline: Any) -> bool:
    """Create the ZenML Schedule that runs the pipeline with the declaration; returns whether anything changed."""
    from zenml.config.schedule import Schedule as ZenMLSchedule

    unit, wanted = unit_name(project, schedule.name), utc_expression(schedule)
    name = f"{unit}-{sha256_of(schedule.to_dict())[:8]}"
    if [(one.name, one.cron_expression) for one in _find(unit)] == [(name, wanted)]:
        return False
    remove(project, schedule.name)
    pipeline.with_options(schedule=ZenMLSchedule(name=name, cron_expression=wanted), enable_cache=False)(
        schedule.to_dict()
    )
    return True


def remove(project: Project, name: str) -> bool:
    """Delete it; returns whether there was one. An orchestrator that cannot delete schedules keeps its own copy."""
    found = _find(unit_name(project, name))
    for one in found:
        Client().delete_schedule(one.id)
    return bool(found)


def installed(project: Project, name: str) -> bool:
    return bool(_find(unit_name(project, name)))


def _find(unit: str) -> list[Any]:
    """The schedules of that unit, whatever they declare."""
    found = Client().list_schedules(name=f"startswith:{unit}", size=1000)
    return [one for one in found if re.fullmatch(rf"{re.escape(unit)}(-[0-9a-f]{{8}})?", one.name)]
