"""How is a plot drawn? Small functions that give one inline SVG each; colours come from the page's style sheet.

Every coordinate is finite: what has no place on an axis (None, NaN, infinity, and zero on a logarithmic axis) is left
out, and `finite` says how many that were. All text is escaped. Text is drawn at 12 units in a plot 460 wide, so that it
stays readable at 380 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from expunge.reporting.axes import Axis, axis, finite, number, tick_number, wants_log
from expunge.reporting.escaping import escape

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 460, 58, 14, 12, 44
GREYS = 16


@dataclass(frozen=True)
class Line:
    """One curve; `kind` is its colour class (a, b, c, d, e or grey); `step`: constant up to the next point.

    `style`: further classes, `thin` or `dashed`.
    """

    x: Sequence[float]
    y: Sequence[float]
    kind: str = "a"
    name: str = ""
    step: bool = False
    style: str = ""


@dataclass(frozen=True)
class Band:
    """The area between two curves over the same x."""

    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    kind: str = "a"
    name: str = ""


@dataclass(frozen=True)
class StripRow:
    """One row of a strip plot: points, or one value with its interval; `under`: others below them, kind and value."""

    label: str
    points: Sequence[float | None]
    kind: str = "grey"
    interval: tuple[float, float] | None = None
    name: str = ""
    under: tuple[str, float] | None = None


def text(x: float, y: float, words: str, style: str = "tick", anchor: str = "middle", extra: str = "") -> str:
    """One line of text."""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def clipped(words: str, length: int) -> str:
    """At most `length` characters."""
    return words if len(words) <= length else words[: max(1, length - 1)] + "…"


def drawing(width: float, height: float, body: Iterable[str], title: str, style: str = "plot") -> str:
    """The SVG element around a plot; the title is what a screen reader says."""
    inside = "".join(body)
    return (
        f'<svg class="{style}" role="img" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>{inside}</svg>'
    )


def frame(x: Axis, y: Axis | None, x_label: str, y_label: str = "", top: float = TOP) -> list[str]:
    """Grid, ticks and labels. Without `y`, vertical lines only."""
    bottom = y.start if y else top
    parts = []
    marks = [(x(t), tick_number(t)) for t in x.ticks()]
    for place, words in marks:
        if y is None:
            continue
        parts.append(f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{y.end:.1f}" y2="{y.start:.1f}"/>')
        parts.append(text(place, bottom + 15, words))
    if y is not None:
        for tick in y.ticks(4):
            place = y(tick)
            parts.append(f'<line class="grid" x1="{x.start:.1f}" x2="{x.end:.1f}" y1="{place:.1f}" y2="{place:.1f}"/>')
            parts.append(text(x.start - 6, place + 4, tick_number(tick), anchor="end"))
        parts.append(f'<line class="axis" x1="{x.start:.1f}" x2="{x.end:.1f}" y1="{y.start:.1f}" y2="{y.start:.1f}"/>')
        if y_label:
            middle = (y.start + y.end) / 2
            turn = f' transform="rotate(-90 13 {middle:.1f})"'
            parts.append(text(13, middle, clipped(y_label, 34), "label", extra=turn))
    parts.append(text((x.start + x.end) / 2, bottom + 34, clipped(x_label, 66), "label"))
    return parts


def histogram(values: ArrayLike, x_label: str, y_label: str = "records", bins: int = 32, height: int = 230) -> str:
    """Counts per bin; the axis is logarithmic where the values span more than a factor of 100."""
    log = wants_log(values)
    kept, _ = finite(values, positive=log)
    x = axis(kept, LEFT, WIDTH - RIGHT, log)
    edges = np.geomspace(x.low, x.high, bins + 1) if log else np.linspace(x.low, x.high, bins + 1)
    counts = np.histogram(kept, edges)[0] if kept.size else np.zeros(bins, dtype=int)
    y = Axis(0, max(1, int(counts.max())) * 1.05, height - BOTTOM, TOP)
    parts = frame(x, y, x_label + (" (logarithmic)" if log else ""), y_label)
    for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            a, b, top = x(float(left)), x(float(right)), y(float(count))
            words = f"{number(float(left))} to {number(float(right))}: {int(count)}"
            parts.append(
                f'<rect class="fill-a" x="{a + 0.5:.1f}" y="{top:.1f}" width="{max(0.5, b - a - 1):.1f}" '
                f'height="{y.start - top:.1f}"><title>{escape(words)}</title></rect>'
            )
    return drawing(WIDTH, height, parts, f"Histogram of {x_label}")


def curves(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    bands: Sequence[Band] = (),
    height: int = 230,
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """Lines, steps and bands over one x; `marks` are vertical lines with a word each."""
    xs = [v for line in lines for v in line.x] + [v for band in bands for v in band.x] + [place for place, _ in marks]
    ys = [v for line in lines for v in line.y] + [v for band in bands for v in (*band.low, *band.high)]
    log = wants_log(ys)
    x, y = axis(xs, LEFT, WIDTH - RIGHT), axis(ys, height - BOTTOM, TOP + 16 * len(marks), log)
    parts = frame(x, y, x_label, y_label + (" (log)" if log else ""))
    parts += [band_polygon(band, x, y, log) for band in bands]
    parts += [polyline(line, x, y, log) for line in lines]
    parts += [mark(x(place), words, y.start, TOP + 8 + 16 * k) for k, (place, words) in enumerate(marks)]
    return drawing(WIDTH, height, parts, f"{y_label} by {x_label}")


def band_polygon(band: Band, x: Axis, y: Axis, log: bool = False) -> str:
    """The area between two curves on two axes."""
    upper = [p for p in zip(band.x, band.high, band.low, strict=True) if _drawable(p, log)]
    there = [f"{x(a):.1f},{y(b):.1f}" for a, b, _ in upper]
    back = [f"{x(a):.1f},{y(c):.1f}" for a, _, c in reversed(upper)]
    if not there:
        return ""
    return (
        f'<polygon class="band-{band.kind}" points="{" ".join(there + back)}">'
        f"<title>{escape(band.name)}</title></polygon>"
    )


def polyline(line: Line, x: Axis, y: Axis, log: bool = False) -> str:
    """One curve on two axes, a dot where it has one point; `log`: y is logarithmic."""
    points = [(x(a), y(b)) for a, b in zip(line.x, line.y, strict=True) if _drawable((a, b), log)]
    if line.step:
        points = [p for i, (a, b) in enumerate(points) for p in ([(a, points[i - 1][1])] if i else []) + [(a, b)]]
    if len(points) == 1:
        return f'<circle class="fill-{line.kind}" cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3"/>'
    if not points:
        return ""
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    style = f"line-{line.kind}{' ' if line.style else ''}{line.style}"
    return f'<polyline class="{style}" points="{path}"><title>{escape(line.name)}</title></polyline>'


def mark(place: float, words: str, bottom: float, height: float = TOP + 11) -> str:
    """A dashed vertical line at a pixel, with a word beside it."""
    right = place > WIDTH / 2
    return f'<line class="mark" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{bottom:.1f}"/>' + text(
        place + (-5 if right else 5), height, words, "over", "end" if right else "start"
    )


def _drawable(values: Sequence[float], log: bool) -> bool:
    return all(v is not None and math.isfinite(v) and abs(v) < 1e300 for v in values) and (
        not log or all(v > 0 for v in values[1:])
    )


def strip(rows: Sequence[StripRow], x_label: str, zone: tuple[float, float] | None = None) -> str:
    """One row of points each, or a value with its interval; `zone` is shaded (a margin, or the oracles' range)."""
    label_width = min(168.0, 24 + 6.7 * max((len(row.label) for row in rows), default=0))
    step = 30
    height = TOP + step * max(1, len(rows)) + BOTTOM
    values: list[float | None] = [v for row in rows for v in (*row.points, *(row.under or ())[1:])]
    values += [v for row in rows if row.interval for v in row.interval] + list(zone or ())
    x = axis(values, label_width, WIDTH - RIGHT)
    parts = []
    if zone and _drawable(zone, False):
        a, b = x(zone[0]), x(zone[1])
        parts.append(f'<rect class="zone" x="{a:.1f}" y="{TOP}" width="{b - a:.1f}" height="{height - BOTTOM - TOP}"/>')
    for tick in x.ticks(4):
        place = x(tick)
        parts.append(
            f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>'
            + text(place, height - BOTTOM + 15, tick_number(tick))
        )
    for i, row in enumerate(rows):
        middle = TOP + step * (i + 0.5)
        parts.append(text(label_width - 8, middle + 4, clipped(row.label, 22), "name", "end"))
        if row.under and _drawable(row.under[1:], False):
            words = f"{row.label}: {number(float(row.under[1]))}"
            parts.append(
                f'<circle class="dot-{row.under[0]}" cx="{x(row.under[1]):.1f}" cy="{middle:.1f}" r="5.0">'
                f"<title>{escape(words)}</title></circle>"
            )
        if row.interval and _drawable(row.interval, False):
            a, b = x(row.interval[0]), x(row.interval[1])
            parts.append(f'<line class="line-{row.kind}" x1="{a:.1f}" x2="{b:.1f}" y1="{middle}" y2="{middle}"/>')
        kept, _ = finite(row.points)
        radius = 5.0 if len(kept) == 1 else 3.5
        for k, value in enumerate(kept.tolist()):
            lift = 0.0 if len(kept) == 1 else ((k * 7) % 5 - 2) * 3.0
            words = f"{row.label}: {number(float(value))}"
            parts.append(
                f'<circle class="dot-{row.kind}" cx="{x(value):.1f}" cy="{middle + lift:.1f}" r="{radius}">'
                f"<title>{escape(words)}</title></circle>"
            )
        if not kept.size:
            parts.append(text(label_width + 8, middle + 4, row.name or "not measured", anchor="start"))
    parts.append(text((x.start + x.end) / 2, height - 8, clipped(x_label, 50), "label"))
    return drawing(WIDTH, height, parts, x_label)


def tile(image: ArrayLike, size: int = 64, title: str = "") -> str:
    """A grayscale image [h, w], [c, h, w] or [h, w, c] as one path per grey level; at most 32 pixels a side."""
    array = np.asarray(image, dtype=float)
    if array.ndim == 3:
        array = array.mean(axis=0 if array.shape[0] <= 4 else 2)
    if array.ndim != 2 or not array.size:
        return ""
    stride = -(-max(array.shape) // 32)
    array = np.nan_to_num(array[::stride, ::stride], nan=0.0, posinf=0.0, neginf=0.0)
    span = array.max() - array.min()
    levels = np.round((array - array.min()) / (span if span > 0 else 1.0) * (GREYS - 1)).astype(int)
    runs: dict[int, list[str]] = {}
    for row in range(levels.shape[0]):
        start = 0
        for column in range(1, levels.shape[1] + 1):
            if column == levels.shape[1] or levels[row, column] != levels[row, start]:
                runs.setdefault(int(levels[row, start]), []).append(f"M{start} {row}h{column - start}v1H{start}z")
                start = column
    paths = "".join(
        f'<path fill="#{(g := round(level * 255 / (GREYS - 1))):02x}{g:02x}{g:02x}" d="{"".join(parts)}"/>'
        for level, parts in sorted(runs.items())
    )
    h, w = levels.shape
    return (
        f'<svg class="tile" role="img" viewBox="0 0 {w} {h}" width="{size}" height="{size * h / w:.0f}" '
        f'shape-rendering="crispEdges" xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>{paths}</svg>'
    )
