"""How is a scenario's figure drawn? Points with whiskers, lines and the null in grey, one inline SVG each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from expunge.reporting.axes import Axis, axis, number
from expunge.reporting.escaping import escape
from expunge.reporting.style import style_sheet
from expunge.reporting.svg import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Band,
    Line,
    band_polygon,
    clipped,
    drawing,
    frame,
    polyline,
    text,
)
from expunge.reproduction.findings import Figure, Series

HEIGHT = 270
COLOURS = ("a", "b", "c", "d", "e", "f")
# Beyond so many names under the axis they are turned.
MOST_LEVEL = 5
# And take so much more height.
TURNED = 54


def colours(figure: Figure) -> list[str]:
    """A colour class for each series: grey for the null, the palette in turn for the others."""
    found, place = [], 0
    for series in figure.series:
        if series.kind.startswith("null"):
            found.append("grey")
        else:
            found.append(COLOURS[place % len(COLOURS)])
            place += 1
    return found


def scenario_plot(figure: Figure) -> str:
    """The figure as one SVG element; colours come from the page's style sheet."""
    turned = len(figure.x_names) > MOST_LEVEL
    bottom = HEIGHT - BOTTOM - (TURNED if turned else 0)
    xs = [v for series in figure.series for v in series.x] + (
        [-0.5, len(figure.x_names) - 0.5] if figure.x_names else []
    )
    ys = [v for series in figure.series for v in (*series.y, *series.low, *series.high) if math.isfinite(v)]
    x = axis(xs, LEFT, WIDTH - RIGHT, figure.x_log and not figure.x_names)
    y = axis(ys, bottom, TOP, figure.y_log)
    parts = (
        _named_frame(figure, x, y, turned) if figure.x_names else frame(x, y, _label(figure, "x"), _label(figure, "y"))
    )
    if not figure.y_log and y.low < 0 < y.high:
        parts.append(f'<line class="axis" x1="{x.start}" x2="{x.end}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>')
    # The null lies below what is measured.
    order = sorted(range(len(figure.series)), key=lambda k: not figure.series[k].kind.startswith("null"))
    kinds = colours(figure)
    for k in order:
        parts += _series(figure.series[k], kinds[k], x, y, figure)
    return drawing(WIDTH, HEIGHT, parts, figure.title)


def plot_file(figure: Figure) -> str:
    """The same as a file of its own, with its style sheet and its legend."""
    kinds = colours(figure)
    rows = [(kind, series.name) for kind, series in zip(kinds, figure.series, strict=True)]
    height = HEIGHT + 18 * len(rows) + 6
    keys = []
    for place, (kind, name) in enumerate(rows):
        at = HEIGHT + 8 + 18 * place
        keys.append(f'<circle class="fill-{kind}" cx="{LEFT + 6}" cy="{at}" r="5"/>')
        keys.append(text(LEFT + 18, at + 4, clipped(name, 62), anchor="start"))
    start = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="expunge" viewBox="0 0 {WIDTH} {height}" width="690" '
        f'height="{690 * height / WIDTH:.0f}">'
    )
    # The style sheet speaks of what lies in an svg of the page: the legend in one of its own has its colours.
    return f"{start}<style>{style_sheet()}</style>{scenario_plot(figure)}<svg>{''.join(keys)}</svg></svg>\n"


def _label(figure: Figure, which: str) -> str:
    words, log = (figure.x_label, figure.x_log) if which == "x" else (figure.y_label, figure.y_log)
    return words + (" (log)" if log else "")


def _named_frame(figure: Figure, x: Axis, y: Axis, turned: bool) -> list[str]:
    """Grid and labels over places that have names."""
    parts = []
    for tick in y.ticks(4):
        place = y(tick)
        parts.append(f'<line class="grid" x1="{x.start:.1f}" x2="{x.end:.1f}" y1="{place:.1f}" y2="{place:.1f}"/>')
        parts.append(text(x.start - 6, place + 4, number(tick), anchor="end"))
    for place, name in enumerate(figure.x_names):
        at = x(place)
        turn = f' transform="rotate(-28 {at:.1f} {y.start + 16:.1f})"' if turned else ""
        parts.append(text(at, y.start + 16, clipped(name, 17), anchor="end" if turned else "middle", extra=turn))
    parts.append(f'<line class="axis" x1="{x.start:.1f}" x2="{x.end:.1f}" y1="{y.start:.1f}" y2="{y.start:.1f}"/>')
    middle = (y.start + y.end) / 2
    parts.append(
        text(13, middle, clipped(_label(figure, "y"), 38), "label", extra=f' transform="rotate(-90 13 {middle:.1f})"')
    )
    parts.append(text((x.start + x.end) / 2, HEIGHT - 8, clipped(figure.x_label, 66), "label"))
    return parts


def _series(series: Series, kind: str, x: Axis, y: Axis, figure: Figure) -> list[str]:
    if series.kind.endswith("line"):
        parts = []
        if series.low and series.high:
            low, high = _inside(series.low, y), _inside(series.high, y)
            parts.append(band_polygon(Band(series.x, low, high, kind, series.name), x, y, figure.y_log))
        style = "dashed" if series.kind == "null line" else ""
        return [*parts, polyline(Line(series.x, series.y, kind, series.name, style=style), x, y, figure.y_log)]
    return [_point(series, k, kind, x, y, figure) for k in range(len(series.x))]


def _point(series: Series, k: int, kind: str, x: Axis, y: Axis, figure: Figure) -> str:
    """One mark with its whisker; hollow where it is only known to be at least so large."""
    value, place = series.y[k], series.x[k]
    if not (math.isfinite(value) and math.isfinite(place)) or (figure.y_log and value <= 0):
        return ""
    if figure.x_log and not figure.x_names and place <= 0:
        return ""
    parts = []
    if series.low and series.high:
        low, high = _inside((series.low[k], series.high[k]), y)
        parts.append(
            f'<line class="line-{kind}" stroke-opacity=".45" x1="{x(place):.1f}" x2="{x(place):.1f}" y1="{y(low):.1f}" '
            f'y2="{y(high):.1f}"/>'
        )
    name = series.names[k] if series.names else series.name
    open_ended = bool(series.censored and series.censored[k])
    words = f"{name}: {'at least ' if open_ended else ''}{number(value)}"
    style = f'class="line-{kind}"' if open_ended else f'class="dot-{kind}"'
    parts.append(
        f'<circle {style} cx="{x(place):.1f}" cy="{y(value):.1f}" r="4"><title>{escape(words)}</title></circle>'
    )
    return "".join(parts)


def _inside(values: Sequence[float], y: Axis) -> list[float]:
    """Ends of intervals, cut at the axis: an infinite one reaches its end."""
    return [min(max(value, y.low), y.high) for value in values]
