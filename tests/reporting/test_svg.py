"""Plots stay finite and well-formed whatever the numbers are."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from expunge.reporting.axes import Axis, axis, finite, log_ticks, nice_ticks, number, tick_number
from expunge.reporting.dag import Box, Link, layered_dag, layers
from expunge.reporting.escaping import escape
from expunge.reporting.svg import Band, Line, StripRow, clipped, curves, histogram, strip, tile

BAD = re.compile(r"\b(nan|inf|infinity|None)\b", re.IGNORECASE)
NASTY: list[list[float]] = [
    [],
    [0.0],
    [3.0],
    [2.0, 2.0, 2.0],
    [math.nan, math.inf, -math.inf],
    [1.0, math.inf, math.nan],
    [-1e-300, 1e300],
    [1e-12, 1.0, 1e9],
    [-5.0, 0.0, 5.0],
    [0.0, 0.0, 1e-3, 1e6],
]


def drawn(svg: str) -> ET.Element:
    root = ET.fromstring(svg)
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not BAD.search(value), (element.tag, name, value)
    return root


@pytest.mark.parametrize("values", NASTY)
def test_every_plot_of_anything_is_finite(values: list[float]) -> None:
    x = list(range(len(values)))
    drawn(histogram(np.array(values), "loss"))
    drawn(
        curves(
            [Line(x, values), Line(values, values, step=True)], "x", "y", [Band(x, values, values)], marks=[(0, "m")]
        )
    )
    pair = (values[0], values[-1]) if values else None
    drawn(strip([StripRow("a", values, interval=pair), StripRow("b", [None])], "x", pair))
    drawn(tile(np.array([values, values])) or "<svg/>")
    for log in (False, True):
        scale = axis(values, 10, 100, log)
        assert all(10 <= scale(v) <= 100 for v in scale.ticks())


def test_a_histogram_counts_every_value_once() -> None:
    values = np.random.default_rng(0).lognormal(0, 2, 500)
    counts = [int(t.split(": ")[1]) for t in re.findall(r"<title>([^<]*: \d+)</title>", histogram(values, "loss"))]
    assert sum(counts) == 500
    steady = re.findall(r": (\d+)</title>", histogram(np.linspace(0, 1, 101), "loss"))
    assert sum(map(int, steady)) == 101


def test_ticks_are_round_and_inside() -> None:
    assert nice_ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert nice_ticks(-3, 7, 5) == [-2, 0, 2, 4, 6]
    assert nice_ticks(0.0, 0.0) == [0.0] and nice_ticks(math.nan, 1) == [0.0]
    assert log_ticks(1e-3, 1e3, 6) == pytest.approx([10.0**k for k in range(-3, 4)])
    assert log_ticks(3.1, 4.2) == [3.1, 4.2]
    assert [tick_number(v) for v in (1e-6, 0.5, 200, 1e4, 1e6, -2.5e-5, 0.0)] == [
        "1e-6",
        "0.5",
        "200",
        "10000",
        "1e6",
        "-2.5e-5",
        "0",
    ]


def test_numbers_as_people_write_them() -> None:
    shown = [number(v) for v in (None, True, 3, 12345, 0.0, 0.12345, 1234.5, 1e-9, math.inf, -math.inf, math.nan, "x")]
    assert shown == ["–", "yes", "3", "12,345", "0", "0.123", "1,234", "1.00e-09", "∞", "−∞", "–", "x"]
    assert number(np.float32(0.5)) == "0.5" and number(np.int64(7)) == "7"


def test_what_has_no_place_is_counted() -> None:
    kept, out = finite([1.0, None, math.nan, math.inf, 0.0])
    assert kept.tolist() == [1.0, 0.0] and out == 3
    assert finite([0.0, 2.0], positive=True)[0].tolist() == [2.0]
    assert Axis(0, 1, 0, 10)(99) == 10 and clipped("abcdef", 4) == "abc…"


def test_a_tile_covers_every_pixel_once() -> None:
    image = np.arange(12).reshape(3, 4)
    paths = "".join(p.get("d") or "" for p in drawn(tile(image, title="<&>")))
    assert sum(int(n) for n in re.findall(r"h(\d+)v1", paths)) == 12
    assert drawn(tile(np.zeros((3, 70, 70)))).get("viewBox") == "0 0 24 24"
    assert drawn(tile(np.zeros((9, 9, 3)))).get("viewBox") == "0 0 9 9"
    assert tile(np.zeros(5)) == "" and tile(np.zeros((0, 3))) == ""


def test_layers_follow_the_longest_path_and_survive_cycles() -> None:
    links = [("a", "b"), ("b", "c"), ("a", "c"), ("c", "d")]
    assert layers(["d", "c", "b", "a"], links) == {"a": 0, "b": 1, "c": 2, "d": 3}
    round_trip = layers(["a", "b"], [("a", "b"), ("b", "a"), ("a", "a")])
    assert sorted(round_trip.values()) == [0, 1]
    assert layers([], []) == {}


def test_no_two_boxes_overlap_among_sixty() -> None:
    ids = [f"n{k}" for k in range(60)]
    rng = np.random.default_rng(0)
    links = [Link(ids[i], ids[j]) for j in range(1, 60) for i in rng.integers(max(0, j - 12), j, 2)]
    root = drawn(layered_dag([Box(i, i, "kind", "present") for i in ids], links, "t"))
    width, height = float(root.get("width") or 0), float(root.get("height") or 0)
    rects = [r for r in root.iter() if r.tag.endswith("rect")]
    assert len(rects) == 60
    places = [(float(r.get("x") or 0), float(r.get("y") or 0)) for r in rects]
    for k, (x, y) in enumerate(places):
        assert 0 <= x <= width - 162 and 0 <= y <= height - 40
        assert not any(x == a and abs(y - b) < 40 for a, b in places[k + 1 :])
    assert len([p for p in root.iter() if p.get("class") == "edge"]) == len(links)


def test_text_cannot_turn_or_break_the_page() -> None:
    assert escape("<b a='1'>\u202e\x00\ud800&") == "&lt;b a=&#x27;1&#x27;&gt;\ufffd\ufffd?&amp;"
    assert escape("naïve ☃\n\t") == "naïve ☃\n\t"
