"""The paper's experiments as declared scenarios: measured, judged by rules written before, kept as artifacts."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from zenml import pipeline
from zenml.models import ArtifactVersionResponse

from adapters import artifacts
from adapters.runs import run_pipeline
from expunge.reproduction.config import ScenarioConfig
from expunge.reproduction.registry import SCENARIOS
from expunge.reproduction.results import Results
from steps.reproduction.measure_scenario import measure_scenario


@pipeline(name="reproduction")
def reproduction_pipeline(config: ScenarioConfig, quick: bool) -> None:
    """Measure one scenario."""
    measure_scenario(config, quick)


def run_reproduction(config: ScenarioConfig, quick: bool) -> Results:
    """Measure a scenario in this project; finished parts of an interrupted run are taken up."""
    made: Results = run_pipeline(reproduction_pipeline, "reproduction", config, quick).load("reproduction_results")
    return made


def newest_results(quick: bool = False) -> dict[str, Results]:
    """Of each scenario that ran in this project the newest results, in the order in which scenarios are listed.

    Those of a few data sets (`--only`) stand only for a scenario that never ran whole.

    quick: also where only a quick run is there.
    """
    newest: dict[tuple[bool, bool, str], ArtifactVersionResponse] = {}
    for version in artifacts.versions("reproduction_results", present_only=True):
        facts = version.run_metadata
        newest.setdefault((bool(facts.get("quick")), bool(facts.get("partial")), str(facts["scenario"])), version)
    chosen: dict[str, ArtifactVersionResponse] = {}
    for (is_quick, _, name), version in sorted(newest.items()):
        if quick or not is_quick:
            chosen.setdefault(name, version)
    return {name: artifacts.load(chosen[name]) for name in ordered(chosen)}


def ordered(names: Collection[str]) -> list[str]:
    """Scenarios as they are listed, a user's own last."""
    known = list(SCENARIOS)
    return sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))


def write_results(results: dict[str, Results], file: Path) -> list[Path]:
    """Write the Markdown document, and beside it a folder of its name with JSON and plots. Returns what was written."""
    from expunge.reporting.results_document import document

    folder = file.with_suffix("")
    pages = document(results, folder.name)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in pages.items():
        path = file if name == "" else folder / name
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(content)
        partial.replace(path)
        written.append(path)
    return written
