"""The whole loop on real data: two deletion requests, from training to certificates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from filelock import FileLock

from adapters import clock, model_registry, workdir
from adapters.ledger import open_ledger
from adapters.project import current_project
from adapters.runs import PipelineRun
from expunge.data import RecordTable
from expunge.privacy.scores import PrivacyLosses
from expunge.settings import ProjectSettings
from pipelines.calibration import run_calibration
from pipelines.due import run_due
from pipelines.inputs import optional, required
from pipelines.outcome import Outcome, outcomes
from pipelines.scoring import run_scoring
from pipelines.training import run_training

EASY, HARD = "demo-easy-person", "demo-hard-contributor"
HARD_RECORDS = 64
HARD_SHARE = 0.05
EASY_SHARE = 0.5
Say = Callable[[str], None]


@dataclass
class Demo:
    """What the demo did: seconds a stage, whether anything was left to do, and the rows of the table."""

    seconds: dict[str, float] = field(default_factory=dict)
    done_before: bool = False
    losses: PrivacyLosses | None = None
    rows: list[Outcome] = field(default_factory=list)


def run_demo(settings: ProjectSettings, say: Say) -> Demo:
    """Do what is not done yet, and report on both requests. A second call starts nothing."""
    with FileLock(current_project().lock("demo")):
        return _run_demo(settings, say)


def _run_demo(settings: ProjectSettings, say: Say) -> Demo:
    demo = Demo()
    with open_ledger() as ledger:
        known = {r.id: r.status for r in ledger.list_requests() if r.id in (EASY, HARD)}
    if set(known.values()) == {"closed"} and len(known) == 2:
        demo.done_before = True
        demo.rows = _rows(settings)
        return demo
    if not known:
        _stage(demo, say, "training", lambda: _unless(settings, "trajectory", run_training))
        _stage(demo, say, "scoring", lambda: _unless(settings, "privacy_losses", run_scoring))
        serving = model_registry.production(settings.model.registered_as)
        demo.losses = required("privacy_losses", str(serving.id)).load()
        _stage(demo, say, "calibration", lambda: _unless(settings, "budget_predictor", run_calibration))
        records = required("training_records", str(serving.id)).load()
        _ask(demo.losses, records)
    _stage(demo, say, "deletion", lambda: run_due(settings, None, say))
    demo.rows = _rows(settings)
    return demo


def _stage(demo: Demo, say: Say, name: str, work: Callable[[], Any]) -> None:
    say(f"{name} ...")
    started = time.monotonic()
    work()
    workdir.release()
    demo.seconds[name] = time.monotonic() - started


def _unless(settings: ProjectSettings, name: str, run: Callable[[ProjectSettings], PipelineRun]) -> None:
    """Run a pipeline unless the model that serves has what it makes."""
    versions = [
        v for v in model_registry.all_versions(settings.model.registered_as) if v.stage == model_registry.PRODUCTION
    ]
    if not versions or optional(name, str(versions[0].id)) is None:
        run(settings)


def _ask(losses: PrivacyLosses, records: RecordTable) -> None:
    """Put two requests on the ledger: one person with one easy record, one contributor of many hard ones.

    digits names no people, so its subjects are simulated by a hash of record ids. The contributor is a role made for
    the demo: their records are HARD_RECORDS of the hardest HARD_SHARE, drawn by a fixed seed.
    """
    hardest = [record for record, _ in losses.hardest(int(len(losses) * HARD_SHARE))]
    rng = np.random.default_rng(0)
    count = min(HARD_RECORDS, len(hardest))
    contributed = sorted(hardest[i] for i in rng.choice(len(hardest), count, replace=False))
    person, record = _easy_person(losses, records, set(contributed))
    now = clock.now()
    with open_ledger() as ledger:
        ledger.add_request(HARD, "volunteer-0001", contributed, "gdpr", now, details={"kind": "contributor"})
        ledger.add_request(EASY, person, [record], "gdpr", now, details={"kind": "person"})


def _easy_person(losses: PrivacyLosses, records: RecordTable, taken: set[str]) -> tuple[str, str]:
    """The first person, by name, who owns exactly one training record, an easy one."""
    percentile = dict(zip(losses.record_ids, losses.percentile(losses.record_ids), strict=True))
    owned: dict[str, list[str]] = {}
    for record, person in zip(records.record_ids, records.subject_ids, strict=True):
        owned.setdefault(person, []).append(record)
    for person, mine in sorted(owned.items()):
        if len(mine) == 1 and mine[0] not in taken and percentile[mine[0]] < 100 * EASY_SHARE:
            return person, mine[0]
    raise AssertionError("no person owns exactly one easy record")


def _rows(settings: ProjectSettings) -> list[Outcome]:
    return outcomes(settings, (EASY, HARD))
