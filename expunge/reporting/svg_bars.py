"""How are bars drawn? From zero, with whiskers: lying for amounts with long names, standing in groups for shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from expunge.reporting.axes import Axis, number, tick_number
from expunge.reporting.escaping import escape
from expunge.reporting.svg import BOTTOM, LEFT, RIGHT, TOP, WIDTH, clipped, drawing, text

ROW = 40
MOST_GROUPS = 5


@dataclass(frozen=True)
class Bar:
    """One amount; `shown` is what is written beside it (default: the number)."""

    label: str
    value: float | None
    kind: str = "a"
    interval: tuple[float, float] | None = None
    shown: str = ""


def lying_bars(bars: Sequence[Bar], x_label: str) -> str:
    """One bar below the other, each from zero, its name above it."""
    height = TOP + ROW * max(1, len(bars)) + BOTTOM
    ends = [v for bar in bars for v in (bar.value, *(bar.interval or ())) if _finite(v)]
    x = Axis(0.0, max([v for v in ends if v is not None], default=1.0) * 1.04 or 1.0, 12, WIDTH - RIGHT - 6)
    bottom = height - BOTTOM
    parts = []
    for tick in x.ticks(5):
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(text(x(tick), bottom + 15, tick_number(tick)))
    for k, bar in enumerate(bars):
        top = TOP + ROW * k
        shown = bar.shown or number(bar.value)
        parts.append(text(x.start, top + 13, f"{bar.label}: {shown}", "over", "start"))
        if not _finite(bar.value):
            continue
        parts.append(_rectangle(bar, x.start, top + 18, x(bar.value or 0.0) - x.start, 14))
        if bar.interval and all(_finite(v) for v in bar.interval):
            a, b = (x(v) for v in bar.interval)
            parts.append(_whisker(a, b, top + 25, flat=True))
    parts.append(text((x.start + x.end) / 2, bottom + 34, clipped(x_label, 66), "label"))
    return drawing(WIDTH, height, parts, x_label)


def standing_bars(groups: Sequence[tuple[str, Sequence[Bar]]], y_label: str, top: float = 1.0) -> str:
    """Groups of bars side by side from zero to `top`, each with its number above it."""
    height = 236
    y = Axis(0.0, top, height - 26, TOP + 14)
    parts = []
    for tick in y.ticks(4):
        place = y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>')
        parts.append(text(LEFT - 6, place + 4, tick_number(tick), anchor="end"))
    room = (WIDTH - RIGHT - LEFT) / max(1, len(groups))
    for k, (name, bars) in enumerate(groups[:MOST_GROUPS]):
        start = LEFT + room * k
        wide = min(36.0, (room - 16) / max(1, len(bars)))
        first = start + (room - wide * len(bars)) / 2
        parts.append(text(start + room / 2, y.start + 15, clipped(name, 20), "name"))
        for i, bar in enumerate(bars):
            left = first + wide * i
            if not _finite(bar.value):
                parts.append(text(left + wide / 2, y.start - 4, "–"))
                continue
            head = y(bar.value or 0.0)
            parts.append(_rectangle(bar, left + 2, head, wide - 4, y.start - head))
            peak = head
            if bar.interval and all(_finite(v) for v in bar.interval):
                low, high = (y(v) for v in bar.interval)
                parts.append(_whisker(high, low, left + wide / 2, flat=False))
                peak = min(peak, high)
            parts.append(text(left + wide / 2, peak - 4, bar.shown or number(bar.value), "over small"))
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.start:.1f}" y2="{y.start:.1f}"/>')
    middle = (y.start + y.end) / 2
    parts.append(text(13, middle, y_label, "label", extra=f' transform="rotate(-90 13 {middle:.1f})"'))
    return drawing(WIDTH, height, parts, y_label)


def _rectangle(bar: Bar, x: float, y: float, width: float, height: float) -> str:
    words = f"{bar.label}: {bar.shown or number(bar.value)}"
    return (
        f'<rect class="fill-{bar.kind}" x="{x:.1f}" y="{y:.1f}" width="{max(0.5, width):.1f}" '
        f'height="{max(0.5, height):.1f}"><title>{escape(words)}</title></rect>'
    )


def _whisker(a: float, b: float, across: float, flat: bool) -> str:
    """A line from a to b with a short cross at both ends; `flat`: it lies."""
    lines = [(a, across, b, across), (a, across - 4, a, across + 4), (b, across - 4, b, across + 4)]
    if not flat:
        lines = [(y1, x1, y2, x2) for x1, y1, x2, y2 in lines]
    return "".join(
        f'<line class="whisker" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>' for x1, y1, x2, y2 in lines
    )


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and abs(value) < 1e300
