"""How is a page put together? Escaped text, tables, definitions, sections and the document around them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from expunge.reporting.axes import number
from expunge.reporting.escaping import escape
from expunge.reporting.style import style_sheet

Kind = Literal["good", "bad", "unsure", "plain", "weak"]
DATE = re.compile(r"\d{4}-\d\d-\d\d")
RELATIVE = re.compile(r"(?!/)[A-Za-z0-9._/-]+")  # no scheme, no host, no query
LONG_LIST = 40
WORDY = 40
WEAKER = {"pool": "weaker: pool", "oracle-free": "weakest: no oracle"}


class Markup(str):
    """HTML made here: goes into a page as it is. Every other string is escaped."""


def html(value: object) -> str:
    """A cell's content: markup as it is, numbers as people write them, everything else escaped."""
    return str(value) if isinstance(value, Markup) else escape(number(value))


def page(title: str, parts: Iterable[str], subtitle: str = "") -> str:
    """A whole document. It loads nothing from anywhere and runs nothing."""
    below = f'<p class="subtitle">{escape(subtitle)}</p>' if subtitle else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style_sheet()}</style></head>"
        f'<body class="expunge"><main><h1>{escape(title)}</h1>{below}{"".join(parts)}</main></body></html>\n'
    )


def section(title: str, *parts: str) -> str:
    """A heading and what is below it; nothing where there is nothing."""
    inside = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{inside}</section>" if inside else ""


def subsection(title: str, *parts: str) -> str:
    """A smaller heading and what is below it."""
    inside = "".join(parts)
    return f"<h3>{escape(title)}</h3>{inside}" if inside else ""


def paragraph(words: str, note: bool = False) -> str:
    """One paragraph of plain text; `note`: small print."""
    return f"<p{' class=note' if note else ''}>{html(words)}</p>" if words else ""


def bullets(items: Iterable[str]) -> str:
    """A list of sentences."""
    inside = "".join(f"<li>{html(item)}</li>" for item in items)
    return f"<ul>{inside}</ul>" if inside else ""


def notice(text: str, kind: Kind = "plain", head: bool = False) -> str:
    """A framed sentence; its colour says nothing that its words do not."""
    style = " ".join(["notice", kind, *(["head"] if head else [])])
    return f'<div class="{style}"><p>{html(text)}</p></div>'


def badge(words: str, kind: Kind = "plain") -> Markup:
    """A short verdict."""
    return Markup(f'<span class="badge {kind}">{escape(words)}</span>')


def verdict_badge(verdict: str, little: bool = False, level: str = "oracle") -> Markup:
    """pass, fail or no power, in its colour; a pass at a weaker level of evidence says so, and is not filled in."""
    kinds: dict[str, Kind] = {"pass": "good", "fail": "bad", "no power": "unsure"}
    words, kind = "pass: little was remembered" if little else verdict, kinds.get(verdict, "plain")
    if verdict == "pass" and level in WEAKER:
        return badge(f"{words} ({WEAKER[level]})", "weak")
    return badge(words, kind)


def code(words: str, short: int = 0) -> Markup:
    """A hash or an id; cut to `short` characters, whole in its tooltip."""
    shown = words[:short] + "…" if short and len(words) > short else words
    return Markup(f'<code title="{escape(words)}">{escape(shown)}</code>')


def link(place: str, words: str) -> Markup:
    """A link to another file of the same folder tree; words alone where `place` is an address or runs something."""
    if not RELATIVE.fullmatch(place):
        return Markup(escape(words))
    return Markup(f'<a href="{escape(place)}">{escape(words)}</a>')


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    numeric_columns: Collection[int] = (),
    empty: str = "None.",
    cards: bool = False,
) -> str:
    """A table that scrolls sideways by itself on a phone; `cards`: there, each row becomes a card with the titles
    beside the values. `empty` is said where it has no rows.
    """
    names = [f' data-name="{escape(title)}"' if cards and title else "" for title in head]
    body = [
        "<tr>"
        + "".join(
            f"<td{_cell_class(c, cell, numeric_columns)}{names[c]}>{html(cell)}</td>" for c, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    ]
    if not body:
        return paragraph(empty, note=True)
    titles = "".join(
        f'<th scope="col"{" class=n" if c in numeric_columns else ""}>{escape(title)}</th>'
        for c, title in enumerate(head)
    )
    return (
        f'<div class="wide{" cards" if cards else ""}" tabindex="0"><table><thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _cell_class(column: int, cell: object, numeric: Collection[int]) -> str:
    if column in numeric:
        return " class=n"
    if isinstance(cell, str) and DATE.match(cell):
        return " class=t"
    wordy = isinstance(cell, str) and not isinstance(cell, Markup) and len(cell) > WORDY
    return " class=words" if wordy else ""


def definitions(mapping: Mapping[str, object]) -> str:
    """Names and values beside each other (below each other on a phone)."""
    inside = "".join(f"<dt>{escape(str(name))}</dt><dd>{html(value)}</dd>" for name, value in mapping.items())
    return f"<dl>{inside}</dl>" if inside else ""


def folded(title: str, *parts: str) -> str:
    """What most readers do not need: behind a heading that opens."""
    return f"<details><summary>{escape(title)}</summary>{''.join(parts)}</details>"


def figure(drawing: str, caption: str = "", legend: Sequence[tuple[str, str]] = ()) -> str:
    """A plot with its legend (colour class, words) and a sentence that says how to read it."""
    keys = "".join(f'<li><i class="{escape(kind)}"></i>{escape(words)}</li>' for kind, words in legend)
    below = f'<ul class="legend">{keys}</ul>' if keys else ""
    return f"<figure>{drawing}{below}<figcaption>{escape(caption)}</figcaption></figure>"


def figures(*drawn: str) -> str:
    """Plots beside each other where there is room."""
    inside = "".join(drawn)
    return f'<div class="figures">{inside}</div>' if inside else ""


def block(*parts: str) -> str:
    """Several parts as one, where parts stand beside each other."""
    return f"<div>{''.join(parts)}</div>"


def plural(count: int, noun: str) -> str:
    """1 record, 2 records."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def percent(share: float | None, digits: int = 0) -> str:
    """A share in percent, or a dash."""
    return "–" if share is None else f"{share:.{digits}%}"


def with_interval(value: float | None, interval: Sequence[float | None] | None) -> str:
    """A number with its interval in brackets."""
    if value is None or interval is None:
        return number(value)
    return f"{number(value)} [{number(interval[0])}, {number(interval[1])}]"


def nested(value: object, depth: int = 0) -> str:
    """Any JSON-like value: mappings as definitions, equal mappings as a table, the rest as text."""
    if isinstance(value, Mapping):
        if not value:
            return paragraph("Nothing.", note=True)
        return definitions({readable(str(k)): Markup(nested(v, depth + 1)) for k, v in value.items()})
    if isinstance(value, list | tuple | set | frozenset):
        return _nested_list(list(value), depth)
    return html(value)


def _nested_list(items: list[object], depth: int) -> str:
    rows = [item for item in items[: 5 * LONG_LIST] if isinstance(item, Mapping)]
    if items and len(rows) == len(items[: 5 * LONG_LIST]):
        keys = list(dict.fromkeys(str(k) for row in rows for k in row))
        body = [[Markup(nested(row[k], depth + 1)) if k in row else "" for k in keys] for row in rows]
        left = len(items) - len(rows)
        return table([readable(k) for k in keys], body) + (paragraph(f"and {left} more", note=True) if left else "")
    if any(isinstance(item, Mapping | list | tuple) for item in items):
        return "".join(f"<div>{nested(item, depth + 1)}</div>" for item in items[:LONG_LIST])
    shown = ", ".join(html(item) for item in items[:LONG_LIST]) or "none"
    return shown + (f" … {len(items)} in all" if len(items) > LONG_LIST else "")


def readable(name: str) -> str:
    """A field's name as words."""
    return name.replace("_", " ")
