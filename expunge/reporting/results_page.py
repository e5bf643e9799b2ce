"""What does the dashboard show of a scenario? Conclusions first, then the plots, the tables and how to run it again."""

from __future__ import annotations

from typing import get_args

from expunge.reporting.page import (
    Kind,
    Markup,
    badge,
    bullets,
    definitions,
    figure,
    figures,
    folded,
    nested,
    notice,
    number,
    page,
    paragraph,
    section,
    subsection,
    table,
    with_interval,
)
from expunge.reporting.scenario_plots import colours, scenario_plot
from expunge.reproduction.results import Results
from expunge.reproduction.rules import Conclusion, Verdict

KINDS: dict[str, Kind] = dict(zip(get_args(Verdict), ("good", "bad", "unsure"), strict=True))


def results_page(results: Results) -> str:
    """One self-contained page."""
    note = f"This run decides nothing: {results.incomplete}." if results.incomplete else ""
    pilots = str(results.config.get("pilots") or "")
    return page(
        results.title,
        [
            notice(note, "unsure") if note else "",
            section(
                "What it says",
                *(paragraph(words) for words in results.findings.answer),
                _conclusions(results.conclusions),
                bullets(results.findings.words),
            ),
            section(
                "Figures",
                figures(
                    *(
                        figure(
                            subsection(own.title) + scenario_plot(own),
                            own.caption,
                            list(zip(colours(own), [series.name for series in own.series], strict=True)),
                        )
                        for own in results.findings.figures
                    )
                ),
            ),
            section(
                "Tables",
                *(
                    subsection(
                        own.title, table(own.heads, own.rows, _numeric(own.rows)), paragraph(own.note, note=True)
                    )
                    for own in results.findings.tables
                ),
            ),
            folded("All estimates", _estimates(results)),
            folded("What was known before", paragraph(pilots)) if pilots else "",
            folded("How it was run", definitions(_provenance(results)), Markup(nested(results.config))),
        ],
        results.question,
    )


def _conclusions(conclusions: tuple[Conclusion, ...]) -> str:
    rows = [
        [
            own.claim,
            badge(own.verdict, KINDS[own.verdict]),
            "–" if own.value is None or own.interval is None else with_interval(own.value, own.interval),
            own.rule,
        ]
        for own in conclusions
    ]
    return table(["claim", "verdict", "estimate, 95 %", "rule written before the run"], rows, cards=True)


def _estimates(results: Results) -> str:
    rows = [
        [name, number(own.value), *map(number, own.interval()), own.seeds, own.unit]
        for name, own in results.findings.estimates.items()
    ]
    rows += [[name, "not estimable", why, "", "", ""] for name, why in results.findings.not_estimable.items()]
    return table(["estimate", "value", "low", "high", "seeds", "unit"], rows)


def _provenance(results: Results) -> dict[str, object]:
    own = results.provenance
    return {
        "originals": results.originals,
        "seed": results.seed,
        "code": own.code,
        "parts measured by": ", ".join(own.parts),
        "declaration": own.declaration,
        "machine": ", ".join(f"{name} {value}" for name, value in own.machine.items()),
        "versions": ", ".join(f"{name} {value}" for name, value in own.versions.items()),
        "time": f"{own.seconds:.0f} s",
        "finished": own.finished,
    }


def _numeric(rows: tuple[tuple[object, ...], ...]) -> list[int]:
    """Columns that hold numbers only."""
    if not rows:
        return []
    return [c for c in range(len(rows[0])) if all(isinstance(row[c], int | float | None) for row in rows)]
