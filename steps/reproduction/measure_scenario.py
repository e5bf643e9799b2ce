"""Measure a scenario, or go on where a killed run stopped; judge it by its rules; put all of it on record."""

import time
from typing import Annotated

from filelock import FileLock
from zenml import step

from adapters import clock
from adapters.facts import code_revision, versions
from adapters.progress import announce
from adapters.project import current_project
from expunge.reproduction.config import ScenarioConfig
from expunge.reproduction.registry import find_scenario
from expunge.reproduction.results import Provenance, Results, machine, make_results
from expunge.reproduction.work import Work


@step(enable_cache=False)
def measure_scenario(config: ScenarioConfig, quick: bool) -> Annotated[Results, "reproduction_results"]:
    measure = find_scenario(config.scenario, config.measure)
    place = current_project().state / "reproduce"
    with FileLock(current_project().lock(f"reproduce-{config.scenario}")):
        started = time.monotonic()
        work = Work(place, config.scenario, config.measured(), announce, code_revision())
        findings = measure(config, work)
        provenance = Provenance(
            code=code_revision(),
            parts=tuple(sorted(work.made_by)),
            declaration=config.digest(),
            versions=versions(),
            machine=machine(),
            seconds=work.seconds + time.monotonic() - started,
            finished=clock.now().isoformat(timespec="seconds"),
        )
        made = make_results(config, quick, findings, provenance)
        work.clear()
    return made
