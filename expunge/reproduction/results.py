"""What is on record of a scenario that ran? Findings, conclusions, and all that is needed to run it again."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from expunge.reproduction.config import FEWEST_ORIGINALS, ScenarioConfig
from expunge.reproduction.findings import Findings, Numbers
from expunge.reproduction.rules import Conclusion, conclude

FORMAT = "expunge.reproduction/1"


class Provenance(Numbers):
    """Where numbers come from: code revision ("+": with changes), digest of the declaration, versions and machine.

    parts: the revisions that measured, where a run took up parts of an earlier one. seconds: of all parts together.
    """

    code: str
    parts: tuple[str, ...] = ()
    declaration: str
    versions: Mapping[str, str]
    machine: Mapping[str, str | int]
    seconds: float
    finished: str


class Results(Numbers):
    """One scenario's results. quick: too small for claims. config: the declaration that ran, whole."""

    format: str = FORMAT
    scenario: str
    title: str
    question: str
    quick: bool
    originals: int
    seed: int
    config: dict[str, Any]
    findings: Findings
    conclusions: tuple[Conclusion, ...]
    provenance: Provenance

    @property
    def incomplete(self) -> str:
        """Why this run decides nothing; empty for one that does."""
        return _incomplete(ScenarioConfig.model_validate(self.config), self.quick)


def make_results(config: ScenarioConfig, quick: bool, findings: Findings, provenance: Provenance) -> Results:
    """Apply the rules and put everything on record."""
    return Results(
        scenario=config.scenario, title=config.title, question=config.question, quick=quick,
        originals=config.originals, seed=config.seed, config=config.model_dump(mode="json"), findings=findings,
        conclusions=conclude(config.rules, findings, _incomplete(config, quick)), provenance=provenance,
    )  # fmt: skip


def _incomplete(config: ScenarioConfig, quick: bool) -> str:
    """Why a run decides nothing; empty for one that does."""
    if quick:
        return "a quick run is too small for a claim"
    if config.originals < FEWEST_ORIGINALS:
        return f"{config.originals} originals are too few for a claim, which takes {FEWEST_ORIGINALS}"
    if config.partial:
        return f"the rules judge all data sets together, and only {', '.join(config.worlds)} ran"
    return ""


def machine() -> dict[str, str | int]:
    """Processor, cores, threads of torch, memory and system; no name of the machine."""
    return {
        "processor": _processor(), "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }  # fmt: skip


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        if names:
            return f"{names[0]}, {len(names)} cores"
    return platform.processor() or platform.machine()
