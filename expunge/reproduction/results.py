"""What is on record of a scenario that ran? Findings, conclusions, and all that is needed to run it again."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t as student

from expunge.reproduction.config import FEWEST_ORIGINALS, ScenarioConfig
from expunge.reproduction.findings import Findings, Numbers
from expunge.reproduction.rules import LEVEL, Conclusion, conclude

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
        return "the rules judge all data sets together, and some were left out"
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


def unlike(stated: Results, rerun: Results) -> list[str]:
    """What was measured otherwise, seeds apart, so that the two cannot be compared: keys of the declaration."""
    one, other = _measured(stated), _measured(rerun)
    shared = [name for name in one["worlds"] if name in other["worlds"]]
    found = [key for key in ("scenario", "measure", "originals", "options") if one[key] != other[key]]
    return found + [f"worlds.{name}" for name in shared if one["worlds"][name] != other["worlds"][name]]


def _measured(results: Results) -> dict[str, Any]:
    found = ScenarioConfig.model_validate(results.config).measured()
    for world in found["worlds"].values():
        world["data"]["options"].pop("data_dir", None)
    return found


def comparable(stated: Results, rerun: Results) -> list[str]:
    """Estimates of `stated` that a rerun of these data sets can have: those over all data sets only where all ran."""
    worlds, again = set(stated.config["worlds"]), set(rerun.config["worlds"])

    def is_there(name: str) -> bool:
        first = name.partition(": ")[0]
        return first in again if first in worlds else worlds == again

    return [name for name in stated.findings.estimates if is_there(name)]


def disagreements(stated: Results, rerun: Results, level: float = LEVEL) -> list[str]:
    """Which estimates of a rerun differ from those stated by more than their intervals allow, one sentence each.

    Allowed is what the difference of two independent runs exceeds with a chance of `level` (t at few seeds); the same
    seed gives the same numbers up to rounding. What is no longer estimable counts with the same seed alone: with
    another, whether a set holds enough to be measured can change.
    """
    found = []
    for name in comparable(stated, rerun):
        old, new = stated.findings.estimates[name], rerun.findings.estimates.get(name)
        if new is None:
            if stated.seed == rerun.seed:
                found.append(f"{name}: stated {old.value:.3g}, not estimated now")
            continue
        variance = old.standard_error**2 + new.standard_error**2
        quantile = float(student.isf(level / 2, max(1.0, min(old.degrees, new.degrees))))
        allowed = quantile * math.sqrt(variance) + 1e-9 * (1 + abs(old.value))
        if math.isfinite(allowed) and abs(new.value - old.value) > allowed:
            found.append(f"{name}: {new.value:.3g}, stated {old.told()}")
    return found
