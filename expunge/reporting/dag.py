"""How are nodes laid out in layers, left to right? Longest paths give the layers, barycentres the order inside them.

An edge over several layers runs through a narrow slot in each of them, so that it crosses no box. A cycle, which a
lineage should not have, is broken at the edge that closes it; that edge is still drawn.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from expunge.reporting.escaping import escape
from expunge.reporting.svg import clipped, drawing, text

BOX, TALL, GAP_X, GAP_Y, SLOT, PAD = 162, 40, 48, 10, 10, 6
SWEEPS = 6
MOST_LABELS = 24

Key = Hashable


@dataclass(frozen=True)
class Box:
    """One node as it is drawn: two lines of text and a style (present, destroyed, kept)."""

    id: str
    first: str
    second: str
    style: str
    tooltip: str = ""


@dataclass(frozen=True)
class Link:
    """One arrow."""

    source: str
    target: str
    label: str = ""


def layers(ids: Sequence[str], links: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Layer of each node: one more than the farthest of its sources; edges that close a cycle do not count."""
    forward = _without_cycles(ids, links)
    depth = dict.fromkeys(ids, 0)
    waiting = dict.fromkeys(ids, 0)
    for _, target in forward:
        waiting[target] += 1
    ready = [i for i in ids if not waiting[i]]
    for node in ready:
        for source, target in forward:
            if source == node:
                depth[target] = max(depth[target], depth[node] + 1)
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)
    return depth


def _without_cycles(ids: Sequence[str], links: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    targets: dict[str, list[str]] = {i: [] for i in ids}
    for source, target in dict.fromkeys(links):
        if source != target:
            targets[source].append(target)
    state: dict[str, int] = {}
    kept: list[tuple[str, str]] = []
    for root in ids:
        if root in state:
            continue
        state[root] = 1
        stack = [(root, iter(targets[root]))]
        while stack:
            node, rest = stack[-1]
            for target in rest:
                if state.get(target) == 1:
                    continue  # closes a cycle
                kept.append((node, target))
                if target not in state:
                    state[target] = 1
                    stack.append((target, iter(targets[target])))
                    break
            else:
                state[node] = 2
                stack.pop()
    return kept


def layered_dag(boxes: Sequence[Box], links: Sequence[Link], title: str) -> str:
    """The drawing at its natural size (it scrolls sideways on a phone); links to unknown nodes are left out."""
    by_id = {box.id: box for box in boxes}
    known = [link for link in links if link.source in by_id and link.target in by_id and link.source != link.target]
    depth = layers(list(by_id), [(link.source, link.target) for link in known])
    columns: list[list[Key]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for node in by_id:
        columns[depth[node]].append(node)
    routes = [_route(i, link, depth, columns) for i, link in enumerate(known)]
    _order(columns, routes)
    heights = [
        sum(TALL if isinstance(key, str) else SLOT for key in column) + GAP_Y * len(column) for column in columns
    ]
    height = max(heights, default=TALL) + 2 * PAD
    middle: dict[Key, tuple[float, float]] = {}
    for c, column in enumerate(columns):
        y = (height - heights[c]) / 2
        for key in column:
            size = TALL if isinstance(key, str) else SLOT
            middle[key] = (PAD + c * (BOX + GAP_X), y + size / 2)
            y += size + GAP_Y
    width = 2 * PAD + len(columns) * BOX + (len(columns) - 1) * GAP_X
    labelled = sum(bool(link.label) for link in known) <= MOST_LABELS
    paths = [_arrow(link, route, middle, labelled) for link, route in zip(known, routes, strict=True)]
    drawn = [_box(box, *middle[box.id]) for box in by_id.values()]
    return drawing(width, height, [p for p, _ in paths] + drawn + [w for _, w in paths], title, "natural")


def _route(index: int, link: Link, depth: Mapping[str, int], columns: list[list[Key]]) -> list[Key]:
    """The keys that an edge passes: its ends and a slot in each layer between them."""
    route: list[Key] = [link.source]
    for layer in range(depth[link.source] + 1, depth[link.target]):
        slot = (index, layer)
        columns[layer].append(slot)
        route.append(slot)
    return [*route, link.target]


def _order(columns: list[list[Key]], routes: Sequence[Sequence[Key]]) -> None:
    before: dict[Key, list[Key]] = {}
    after: dict[Key, list[Key]] = {}
    for route in routes:
        for a, b in pairwise(route):
            before.setdefault(b, []).append(a)
            after.setdefault(a, []).append(b)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        neighbours = before if forward else after
        order = range(1, len(columns)) if forward else range(len(columns) - 2, -1, -1)
        for c in order:
            place = {key: (i + 0.5) / len(column) for column in columns for i, key in enumerate(column)}
            column = columns[c]

            def centre(key: Key, place: Mapping[Key, float] = place) -> float:
                near = [place[k] for k in neighbours.get(key, [])]  # noqa: B023
                return sum(near) / len(near) if near else place[key]

            column.sort(key=centre)


def _arrow(
    link: Link, route: Sequence[Key], middle: Mapping[Key, tuple[float, float]], labelled: bool
) -> tuple[str, str]:
    """The path of an arrow with its head, and its label, which is drawn above everything else."""
    x0, y0 = middle[route[0]]
    points = [(x0 + BOX, y0)]
    for key in route[1:-1]:
        x, y = middle[key]
        points += [(x, y), (x + BOX, y)]
    x1, y1 = middle[route[-1]]
    points.append((x1 - 7, y1))
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for k in range(1, len(points)):
        (ax, ay), (bx, by) = points[k - 1], points[k]
        if ay == by:
            path += f"L{bx:.1f} {by:.1f}"
        else:
            bend = GAP_X * 0.5 if bx > ax else GAP_X
            path += f"C{ax + bend:.1f} {ay:.1f} {bx - bend:.1f} {by:.1f} {bx:.1f} {by:.1f}"
    tip = f'<path class="tip" d="M{x1:.1f} {y1:.1f}l-8 -4v8z"/>'
    name = escape(f"{link.source} → {link.target}" + (f": {link.label}" if link.label else ""))
    line = f'<g><title>{name}</title><path class="edge" d="{path}"/>{tip}</g>'
    if not (labelled and link.label):
        return line, ""
    (ax, ay), (_, by) = points[-2], points[-1]
    return line, text(ax + 4, ay + (3 if by == ay else 0.12 * (by - ay) + 3), clipped(link.label, 8), "halo", "start")


def _box(box: Box, x: float, y: float) -> str:
    struck = " struck" if box.style == "destroyed" else ""
    return (
        f"<g><title>{escape(box.tooltip or box.first)}</title>"
        f'<rect class="node {escape(box.style)}" x="{x:.1f}" y="{y - TALL / 2:.1f}" width="{BOX}" height="{TALL}" '
        'rx="5"/>'
        + text(x + 9, y - 3, clipped(box.first, 22), f"name{struck}", "start")
        + text(x + 9, y + 13, clipped(box.second, 27), f"small {box.style}", "start")
        + "</g>"
    )
