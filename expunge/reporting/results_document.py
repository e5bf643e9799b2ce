"""All scenarios in one document: docs/results.md, with their JSON and their plots beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from expunge.reporting.axes import number
from expunge.reporting.scenario_plots import plot_file
from expunge.reproduction.findings import Figure, Table
from expunge.reproduction.registry import SCENARIOS
from expunge.reproduction.results import Provenance, Results
from expunge.reproduction.rules import Conclusion, Verdict

_VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


def document(results: Mapping[str, Results], folder: str) -> dict[str, str]:
    """Files by name: "" is the Markdown document, the others lie in the folder of that name beside it."""
    files = {"": _markdown(results, folder)}
    for name, own in results.items():
        files[f"{name}.json"] = own.model_dump_json(indent=1) + "\n"
        files |= {plot_name(name, figure): plot_file(figure) for figure in own.findings.figures}
    return files


def plot_name(scenario: str, figure: Figure) -> str:
    """The file of a figure: letters, digits and hyphens."""
    return f"{scenario}-{re.sub('[^a-z0-9]+', '-', figure.name.lower()).strip('-')}.svg"


def _markdown(results: Mapping[str, Results], folder: str) -> str:
    lines = [
        "# The paper's experiments, run here",
        "",
        "Generated from the results' artifacts by `expunge reproduce --write docs/results.md`; not written by hand. One"
        " scenario again: `expunge reproduce NAME`; one data set of it: `--only DATA`; against these numbers:"
        f" `--compare docs/{folder}/NAME.json`. Every conclusion follows a rule that stood in the YAML before"
        " the run: an estimate, its interval over originals (seeds), and the smallest effect that counts; p-values are"
        " Holm-corrected. Supported: shown beyond the smallest effect that counts; not supported: shown not to reach"
        " it; undecided: neither."
        " What was not blind is said with each scenario. Intervals are 95 %. The paper: Sepahvand et al., ICML 2025,"
        " arXiv 2505.18786.",
        "",
        *_not_run(results),
        "## Did the paper's claims hold here?",
        "",
        *_topics(results, paper=True),
        "",
    ]
    if any(not c.paper for own in results.values() for c in own.conclusions):
        lines += ["## Open questions and checks", "", *_topics(results, paper=False), ""]
    for name, own in results.items():
        lines += _scenario(name, own, folder)
    return "\n".join(lines).rstrip() + "\n"


def _topics(results: Mapping[str, Results], paper: bool) -> list[str]:
    """How many claims of each topic came out how; the claims themselves stand with their scenario."""
    lines = [_row(["scenario", "claim", *_VERDICTS]), _row(["---"] * (2 + len(_VERDICTS)))]
    for name, own in results.items():
        for topic, verdicts in verdicts_by_topic(own.conclusions, paper).items():
            counts = [f"{verdicts.count(verdict)} of {len(verdicts)}" for verdict in _VERDICTS]
            lines.append(_row([f"[{name}](#{_anchor(own.title)})", topic, *counts]))
    return lines


def verdicts_by_topic(conclusions: Iterable[Conclusion], paper: bool) -> dict[str, list[Verdict]]:
    """The verdicts on the paper's claims, or on all others, under what they are about."""
    found: dict[str, list[Verdict]] = {}
    for own in conclusions:
        if own.paper == paper:
            found.setdefault(own.topic or own.claim, []).append(own.verdict)
    return found


def _anchor(title: str) -> str:
    """Where a heading is linked to, as GitHub and most renderers make it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _not_run(results: Mapping[str, Results]) -> list[str]:
    """Which shipped scenarios have no results here, so that silence is not taken for an answer."""
    missing = [name for name in SCENARIOS if name not in results or results[name].incomplete]
    return [f"**Not run in full yet: {', '.join(missing)}.**", ""] if missing else []


def _conclusions(conclusions: Iterable[Conclusion]) -> list[str]:
    lines = [
        _row(["claim", "verdict", "estimate, 95 %", "smallest effect that counts"]), _row(["---"] * 4),
    ]  # fmt: skip
    for own in conclusions:
        value = "not estimable" if own.value is None or own.interval is None else _interval(own.value, own.interval)
        lines.append(_row([own.claim, f"**{own.verdict}**", value, own.rule.partition(", at level")[0]]))
    return lines


def _scenario(name: str, own: Results, folder: str) -> list[str]:
    made = own.provenance
    machine = ", ".join(f"{key} {value}" for key, value in made.machine.items())
    versions = ", ".join(f"{key} {value}" for key, value in made.versions.items())
    note = f" **Decides nothing: {own.incomplete}.**" if own.incomplete else ""
    lines = [
        f"## {own.title}",
        "",
        f"`expunge reproduce {name}{' --quick' if own.quick else ''}`: {own.question}{note}",
        "",
        *(line for words in own.findings.answer for line in (f"> {words}", ">")),
        "",
        *_conclusions(own.conclusions),
        "",
        *(f"* {words}" for words in own.findings.words),
        "",
    ]
    if pilots := own.config.get("pilots"):
        lines += [f"*What was known before: {pilots}*", ""]
    for figure in own.findings.figures:
        lines += [
            f"**{figure.title}** {figure.caption}",
            "",
            f"![{figure.title}]({folder}/{plot_name(name, figure)})",
            "",
        ]
    for table in own.findings.tables:
        lines += _table(table)
    lines += [
        f"*{own.originals} originals a data set, seed {own.seed}; declaration {made.declaration[:12]}, code"
        f" {_code(made)}; {made.seconds:.0f} s on {machine}; {versions}; finished {made.finished}. All estimates:"
        f" [{name}.json]({folder}/{name}.json).*",
        "",
    ]
    return lines


def _code(made: Provenance) -> str:
    """The revision, and those that had measured what it took up."""
    earlier = [part[:13] or "unknown" for part in made.parts if part != made.code]
    return made.code[:13] + (f", parts measured by {', '.join(earlier)}" if earlier else "")


def _table(table: Table) -> list[str]:
    lines = [f"**{table.title}**", "", _row(table.heads), _row(["---"] * len(table.heads))]
    lines += [_row([number(cell) for cell in row]) for row in table.rows]
    return [*lines, "", *([table.note, ""] if table.note else [])]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _interval(value: float, interval: tuple[float, float]) -> str:
    return f"{number(value)} [{number(interval[0])}, {number(interval[1])}]"


def read_results(text: str) -> Results:
    """Results from the JSON file that `document` made. Raises pydantic's ValidationError for another file."""
    return Results.model_validate(json.loads(text))
