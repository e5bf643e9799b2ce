"""The week from an empty folder to the answer: train, choose the cast, play the story, check it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from adapters import model_registry
from adapters.project import Project
from expunge.compliance.whole_file import write_whole
from expunge.settings import ProjectSettings
from pipelines.inputs import required
from pipelines.week.cast import Cast, choose
from pipelines.week.check import Finding, check
from pipelines.week.play import Say, expunge, play
from pipelines.week.story import tell

FIRST_DAY = "2026-03-01T08:00:00+01:00"


@dataclass(frozen=True)
class Week:
    """What came of it. requests: id, regulation, received, due, answered, status, outcome."""

    findings: tuple[Finding, ...]
    seconds: float
    scenes: int
    requests: tuple[dict[str, Any], ...]
    statistics: dict[str, Any]


def run_week(settings: ProjectSettings, configuration: Path, project: Project, say: Say) -> Week:
    """Play the week in this project, or go on with it; a week that is over is only checked again."""
    began = time.monotonic()
    with FileLock(project.lock("week")):
        cast = _cast(settings, configuration, project, say)
        story = tell(cast)
        played = play(story, project, say)
        findings = check(story, project, settings.model.registered_as, played.kills)
        from adapters.ledger import open_ledger

        with open_ledger(project) as ledger:
            requests = tuple(r.to_dict() for r in sorted(ledger.list_requests(), key=lambda r: r.id))
            statistics = ledger.statistics()
    return Week(tuple(findings), time.monotonic() - began, len(story.scenes), requests, statistics)


def _cast(settings: ProjectSettings, configuration: Path, project: Project, say: Say) -> Cast:
    """Train, score and calibrate once, and write down who the requests are about."""
    written = project.state / "week-cast.json"
    if not written.is_file():
        for verb in (("train", "-c", str(configuration)), ("score", "--top", "3"), ("calibrate",)):
            say(f"before the week: expunge {verb[0]}")
            expunge(project, verb, FIRST_DAY)
        serving = str(model_registry.production(settings.model.registered_as).id)
        cast = choose(
            required("privacy_losses", serving).load(),
            required("training_records", serving).load(),
            required("held_out_records", serving).load(),
        )
        write_whole(written, json.dumps(cast.to_dict()).encode())
    return Cast.from_dict(json.loads(written.read_text()))
