"""Where did a record go? Its descent as a drawing, every artifact with its hash and state, and what happened when."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from expunge.reporting.dag import Box, Link, layered_dag
from expunge.reporting.page import (
    Kind,
    Markup,
    badge,
    code,
    definitions,
    html,
    notice,
    page,
    paragraph,
    plural,
    readable,
    section,
    table,
)

State = Literal["present", "destroyed", "kept"]
SIGNS: dict[str, str] = {"present": "", "destroyed": "✕ destroyed", "kept": "● kept"}
BADGES: dict[str, Kind] = {"present": "plain", "destroyed": "bad", "kept": "unsure"}
HASH_LENGTH = 32


@dataclass(frozen=True)
class LineageNode:
    """One thing that came from a record: a data version, a checkpoint, a model, a score table, a certificate.

    `kept`: still there on purpose (`detail` says why). `detail` holds hashes, dates, versions, as text.
    """

    id: str
    kind: str
    label: str
    state: State
    detail: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LineageEdge:
    """`target` was made from `source`."""

    source: str
    target: str
    label: str = ""


def lineage_page(
    title: str,
    about: Mapping[str, str],
    nodes: Sequence[LineageNode],
    edges: Sequence[LineageEdge],
    events: Sequence[tuple[str, str, str]],
) -> str:
    """The page of one record, request or model; `events` are (time, what, who)."""
    drawing = layered_dag(
        [_box(node) for node in nodes], [Link(e.source, e.target, e.label) for e in edges], "Lineage, left to right"
    )
    known = {node.id for node in nodes}
    loose = [edge for edge in edges if edge.source not in known or edge.target not in known]
    # wider than the text where the window is: a lineage is long, and its ends belong on one screen
    wide = f'<div class="wide broad" style="--drawn:{_drawn_width(drawing)}px" tabindex="0">{drawing}</div>'
    graph = Markup(wide) if nodes else ""
    parts = [
        _summary(nodes),
        definitions(about),
        section(
            "What came from what",
            graph or paragraph("Nothing is known to descend from it.", note=True),
            paragraph(
                "Arrows run from what was used to what was made of it. Struck through and dashed: destroyed; only its "
                "name and hash are left. Tinted: still there on purpose, the table says why.",
                note=True,
            ),
            notice(f"{plural(len(loose), 'link')} to something that is not recorded here.", "unsure") if loose else "",
        ),
        section(
            "Everything, with its state", table(["name", "kind", "state", "details"], [_row(node) for node in nodes])
        ),
        section("What happened", table(["when", "what", "who"], events, empty="No event is recorded.")),
    ]
    return page(title, parts, "Lineage: what was made from it, and what became of that")


def _drawn_width(drawing: str) -> int:
    found = re.search(r'\bwidth="(\d+)"', drawing)
    return int(found.group(1)) if found else 0


def _summary(nodes: Sequence[LineageNode]) -> str:
    count = Counter(node.state for node in nodes)
    if not nodes:
        return notice("Nothing is recorded here.", "unsure")
    words = (
        f"Of {plural(len(nodes), 'item')}, {count['destroyed']} {_were(count['destroyed'])} destroyed, "
        f"{count['kept']} {_were(count['kept'])} kept on purpose and {count['present']} still "
        f"{'exists' if count['present'] == 1 else 'exist'}."
    )
    return notice(words)


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _box(node: LineageNode) -> Box:
    sign = SIGNS.get(node.state, node.state)
    details = "; ".join(f"{name} {value}" for name, value in node.detail.items())
    second = f"{sign} · {node.kind}" if sign else node.kind
    return Box(node.id, node.label, second, node.state, f"{node.label} ({node.kind}, {node.state}) {details}".strip())


def _row(node: LineageNode) -> list[object]:
    label = html(node.label)
    name = Markup(f"<del>{label}</del>") if node.state == "destroyed" else Markup(label)
    details = "<br>".join(f"{html(readable(k))} {_detail(str(v))}" for k, v in node.detail.items())
    return [name, node.kind, badge(node.state, BADGES.get(node.state, "plain")), Markup(details)]


def _detail(value: str) -> str:
    looks_like_hash = len(value) >= HASH_LENGTH and all(c in "0123456789abcdefABCDEF" for c in value)
    return code(value) if looks_like_hash else html(value)
