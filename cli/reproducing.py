"""reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import output
from cli.context import Json, Set, project, refuse_unwritable, start

if TYPE_CHECKING:
    from expunge.reproduction.config import ScenarioConfig
    from expunge.reproduction.results import Results


def add_to(app: typer.Typer) -> None:
    app.command()(reproduce)


def reproduce(
    scenario: Annotated[str | None, typer.Argument(help="Which; --list names them.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Name the scenarios and what each asks.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="In under three minutes; too small for a claim.")] = False,
    only: Annotated[list[str] | None, typer.Option("--only", help="Only this data set of it. Repeatable.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A declaration of your own.")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Where the data lies that does not ship.")] = None,
    overrides: Set = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", help="Results (JSON) that these should agree with.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", help="Write all newest results as a document, with plots.")
    ] = None,
    json: Json = False,
) -> None:
    """The paper's experiments as declared scenarios: measure, judge by rules written before, keep the results."""
    from expunge.errors import UsageError

    if listed:
        _list(json)
        return
    if (scenario is None) == (write is None):
        raise UsageError(
            "Name a scenario to run, or --write FILE for a document of what has run.",
            "`expunge reproduce --list` names the scenarios.",
        )
    if write is not None:
        _write(write, quick, json)
        return
    assert scenario is not None
    from expunge.reproduction.config import load_scenario

    stated = _stated(compare)
    declared = load_scenario(_declaration(scenario, config), quick, overrides or [], only or [], data_dir)
    if stated is not None:
        _refuse_unlike(stated, declared)
    start()
    from pipelines.reproduction import run_reproduction

    found = run_reproduction(declared, quick)
    _show(found, json)
    if stated is not None:
        _compare(stated, found)


def _declaration(scenario: str, config: Path | None) -> Path:
    """The scenario's YAML: as named, else in the project, else in the clone."""
    from adapters.project import CODE_ROOT
    from expunge.errors import NotFoundError, nearest

    name = Path("configs") / "reproduce" / f"{scenario}.yaml"
    places = [project().root / name, CODE_ROOT / name] if config is None else [config, project().root / config]
    found = next((place for place in places if place.is_file()), None)
    if found is None and config is None:
        raise NotFoundError(f"There is no scenario {scenario!r}.", nearest(scenario, list(_shipped())))
    return found or places[0]


def _shipped() -> dict[str, Path]:
    from adapters.project import CODE_ROOT

    return {path.stem: path for path in sorted((CODE_ROOT / "configs" / "reproduce").glob("*.yaml"))}


def _list(json: bool) -> None:
    import yaml

    rows = []
    for name, path in _shipped().items():
        raw = yaml.safe_load(path.read_text())
        rows.append(
            {"name": name, "question": raw["question"], "data": list(raw["worlds"]), "originals": raw["originals"]}
        )
    if json:
        output.as_json(rows)
        return
    output.table(
        "Scenarios", ("name", "data", "what it asks"), [(r["name"], ", ".join(r["data"]), r["question"]) for r in rows]
    )


def _stated(file: Path | None) -> Results | None:
    if file is None:
        return None
    from pydantic import ValidationError

    from expunge.errors import NotFoundError, UsageError
    from expunge.reporting.results_document import read_results

    if not file.is_file():
        raise NotFoundError(f"No results {file}.", "`expunge reproduce --write docs/results.md` writes them as JSON.")
    try:
        return read_results(file.read_text())
    except (ValidationError, ValueError) as error:
        raise UsageError(f"{file} holds no results of a scenario.", "Give a JSON file that --write made.") from error


def _show(found: Results, json: bool) -> None:
    if json:
        output.as_json(found.model_dump(mode="json"))
        return
    output.table(
        found.title,
        ("claim", "verdict", "why"),
        [(own.claim, own.verdict, own.words.partition(": ")[2]) for own in found.conclusions],
        lines=True,
    )
    for words in (*found.findings.answer, *found.findings.words):
        output.line(words)
    output.line(
        f"{found.provenance.seconds:.0f} s; plots and tables: `expunge dashboard`, or `expunge reproduce --write`."
    )


def _refuse_unlike(stated: Results, declared: ScenarioConfig) -> None:
    """Before the work: what is measured otherwise cannot be compared."""
    from expunge.errors import UsageError
    from expunge.reproduction.comparison import unlike

    if differ := unlike(stated, declared):
        raise UsageError(
            f"Those results were measured otherwise ({', '.join(differ)} differ): they cannot be compared.",
            "Compare like with like: the same declaration, with another seed at most; --quick with --quick.",
        )


def _compare(stated: Results, found: Results) -> None:
    from expunge.errors import ExpungeError
    from expunge.reproduction.comparison import compare

    told = compare(stated, found)
    if not told.agrees:
        hint = "the same seed and the same code" if told.same_seed else "chance alone"
        raise ExpungeError(told.words, f"With {hint} that should not be.")
    output.say(told.words)


def _write(file: Path, quick: bool, json: bool) -> None:
    from expunge.errors import NotFoundError

    refuse_unwritable(file)
    start()
    from pipelines.reproduction import newest_results, write_results

    results = newest_results(quick)
    if not results:
        raise NotFoundError("No scenario has run in this project.", "`expunge reproduce NAME` runs one.")
    written = write_results(results, file)
    if json:
        output.as_json({"scenarios": list(results), "files": [str(path) for path in written]})
    else:
        output.line(f"{file}: {', '.join(results)}; {len(written) - 1} files beside it.")
