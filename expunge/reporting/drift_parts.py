"""Which predictions moved, and is that more than two retrained models differ by? Words, dots, table, a link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.evaluation.evidence import Evidence
from expunge.reporting.model_plots import COLUMNS, GROUPS, drift_plot
from expunge.reporting.page import (
    Markup,
    badge,
    bullets,
    figures,
    folded,
    link,
    nested,
    paragraph,
    section,
    table,
)


def drift_section(evidence: Evidence, drift: Mapping[str, Any], evidently: str = "") -> str:
    """Against some oracles together; the yardstick is what others differ by. `evidently`: where its own page lies."""
    check = next((c for c in evidence.checks if c.name == "drift"), None)
    table_rows = check.details.get("table") if check else None
    rows = [row for row in table_rows if isinstance(row, dict)] if isinstance(table_rows, list) else []
    notes = check.details.get("notes") if check else None
    words = [str(note) for note in notes] if isinstance(notes, list) else []
    reference = check.details.get("reference") if check else None
    known = {f"{row.get('group')} {row.get('column')}" for row in rows}
    rest = {name: value for name, value in drift.items() if name not in known}
    said = f"Evidently's distances (Wasserstein; Jensen-Shannon for labels) from one oracle ({reference})."
    return section(
        "What changed in the predictions",
        paragraph(f"{check.words[:1].upper()}{check.words[1:]}." if check else ""),
        figures(drift_plot(rows)),
        folded("Every distance", _table(rows)) if rows else "",
        paragraph(said, note=True) if rows else "",
        _evidently(evidently),
        bullets(words),
        nested(rest) if rest else "",
    )


def _table(rows: list[dict[str, Any]]) -> str:
    body = [
        [
            GROUPS.get(str(row.get("group")), str(row.get("group"))),
            COLUMNS.get(str(row.get("column")), str(row.get("column"))),
            row.get("original"),
            row.get("value"),
            row.get("threshold"),
            badge("more than oracles differ", "unsure") if row.get("exceeded") else badge("within", "good"),
        ]
        for row in rows
    ]
    return table(["records", "prediction", "original", "this model", "other oracles, 95 %", "reading"], body, (2, 3, 4))


def _evidently(place: str) -> str:
    if not place:
        return ""
    named = link(place, place.rsplit("/", 1)[-1])
    words = "Evidently's own page, with every distribution, about 4 MB: "
    where = " (the link works in the project's own folder; in the dashboard, look at the artifact drift_report)"
    return paragraph(Markup(f"{words}{named}{where}."), note=True)
