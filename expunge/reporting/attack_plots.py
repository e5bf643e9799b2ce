"""What do the attacks see? A strip of values for each attack, the ROC on logarithmic axes, and a strip by name.

A check that this page has never heard of is drawn too where its details hold a `strip`: {"axis": words, "rows":
[{"name", "role" (original, unlearned, oracle, held back, half kept), "values" or "value", "interval"}], "zone": [low,
high] and "words", both optional}; without one, its roles' values are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from expunge.evaluation.evidence import CheckResult, RoleValue
from expunge.reporting.axes import Axis
from expunge.reporting.page import figure
from expunge.reporting.svg import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Band,
    Line,
    StripRow,
    band_polygon,
    drawing,
    frame,
    polyline,
    strip,
)

ROLE_KIND = {"original": "b", "unlearned": "a", "oracle": "grey", "held back": "c", "half kept": "d"}
ROLE_NAME = {"original": "original", "unlearned": "this model", "oracle": "oracles"}
# Of checks over many models, which have no oracle: what is left of it where membership means nothing is their yardstick
SHADOW_KIND = {"retain_original": "b", "retain": "a", "null": "grey"}
SHADOW_NAME = {
    "original": "forgotten: before", "unlearned": "forgotten: after", "retain_original": "kept: before",
    "retain": "kept: after", "null": "shuffled (yardstick)",
}  # fmt: skip
AXES = {"u_lira": "AUC of the attack", "rmia": "AUC of the attack"}
LEGEND = [
    ("b", "original, trained on the records"),
    ("a", "this model, after forgetting"),
    ("grey", "never saw the records (oracles)"),
    ("c", "held-back oracles (control)"),
    ("d", "kept half of the records (control)"),
]
SURE_RECORDS = 10  # METHOD section 7: a rate f needs 10 / f records that are no members
MOST_ROWS = 24
ROOM = 44


def numbers(values: object) -> list[float]:
    """Numbers out of a check's details, whatever is really there."""
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
        return []
    return [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]


def pair(values: object) -> tuple[float, float] | None:
    """An interval out of a check's details."""
    found = numbers(values)
    return (found[0], found[1]) if len(found) == 2 else None


def role_row(check: CheckResult, role: str) -> list[StripRow]:
    """A role's value with its interval, or why there is none."""
    value = check.values.get(role)
    if value is None:
        return []
    return [StripRow(ROLE_NAME.get(role, role), [value.value], ROLE_KIND.get(role, "e"), value.interval, short(value))]


def short(value: RoleValue) -> str:
    """Why a value is missing, in the room of a row."""
    note = value.note if len(value.note) <= ROOM else value.note.split(":")[0][:ROOM]
    return note or "not measured"


def points_row(name: str, values: Sequence[float], kind: str) -> list[StripRow]:
    """Many models' values in one row; nothing where there are none."""
    return [StripRow(name, values, ROLE_KIND[kind])] if values else []


def attack_plot(check: CheckResult) -> str:
    """The value of one of the two scikit-learn attacks on every model."""
    details: Mapping[str, Any] = check.details
    if all(value.value is None for value in check.values.values()):
        return ""  # too few records: the table says so
    what = "AUC of the attack" if check.name == "mia_loss" else "share of the records called unseen"
    rows = [
        *role_row(check, "original"),
        *role_row(check, "unlearned"),
        *(points_row("oracles", numbers(details.get("oracle_values")), "oracle") or role_row(check, "oracle")),
        *points_row("held-back oracles", numbers(details.get("held_back_values")), "held back"),
        *points_row("half kept", numbers(details.get("half_kept_values")), "half kept"),
    ]
    oracle = check.values.get("oracle")
    return figure(
        strip(rows, what, oracle.interval if oracle else None),
        f"{check.title}. The attacker should see in this model what oracles show, not more and not less; 0.5 is no "
        "goal of its own. Lines: 90 % intervals. Shaded: the middle 90 % of the oracles.",
    )


def roc_plot(check: CheckResult) -> str:
    """The ROC of the attack on logarithmic axes, from the check's details; nothing where they hold none."""
    roc = check.details.get("roc")
    if not isinstance(roc, Mapping):
        return ""
    curves = {role: _points(roc.get(role)) for role in ("oracle", "original", "unlearned")}
    band = [row for row in _rows(roc.get("oracle_band"), 3) if row[0] > 0]
    rates = [value for points in curves.values() for point in points for value in point if value > 0]
    if not rates:
        return ""
    low = min(rates)
    # A curve that starts with no false alarm at all starts at the left edge: zero has no place on this axis.
    low = 10.0**-3 if low > 0.1 else low / 1.5
    bottom = 300 - BOTTOM
    x, y = Axis(low, 1.0, LEFT, WIDTH - RIGHT, True), Axis(low, 1.0, bottom, TOP, True)
    parts = []
    others = roc.get("others")
    sure = SURE_RECORDS / others if isinstance(others, int | float) and others > 0 else 0.0
    if low < sure:
        edge = x(min(1.0, sure))
        parts.append(
            f'<rect class="zone" x="{x.start:.1f}" y="{TOP}" width="{edge - x.start:.1f}" height="{bottom - TOP:.1f}"/>'
        )
    parts += frame(x, y, "share of unseen records called seen (log)", "share of the records caught (log)")
    if band:
        at, lows, highs = zip(*band, strict=True)
        area = Band(at, [max(v, low) for v in lows], highs, "grey", "oracles, 5 to 95 %")
        parts.append(band_polygon(area, x, y, True))
    parts.append(polyline(Line([low, 1.0], [low, 1.0], "grey", "guessing", style="dashed thin"), x, y, True))
    for role, points in curves.items():
        placed = [(max(f, low), max(t, low)) for f, t in points]
        line = Line([f for f, _ in placed], [t for _, t in placed], ROLE_KIND[role], ROLE_NAME[role], step=True)
        parts.append(polyline(line, x, y, True))
    words = (
        "The attack at every threshold, both axes logarithmic: what counts is the left end, where the attacker is "
        "sure. The blue line should lie where the grey ones do. Dashed: guessing."
    )
    if low < sure:
        words += f" Shaded: fewer than {SURE_RECORDS} of {others:g} unseen records decide there, so it shows little."
    legend = [*LEGEND[:2], ("grey", "an oracle (median)" + ("; band: 5 to 95 % of them" if band else ""))]
    return figure(drawing(WIDTH, 300, parts, "ROC of the attack on the loss"), words, legend)


def _points(value: object) -> list[tuple[float, float]]:
    """Points of one curve, from a list of pairs."""
    return [(row[0], row[1]) for row in _rows(value, 2)]


def _rows(value: object, width: int) -> list[list[float]]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return []
    return [row for row in (numbers(item) for item in value) if len(row) == width]


def named_plot(check: CheckResult) -> str:
    """A strip of values of a check that this page knows by name only."""
    given = check.details.get("strip")
    if isinstance(given, Mapping):
        listed = given.get("rows")
        rows = [row for row in listed if isinstance(row, Mapping)] if isinstance(listed, list) else []
        drawn = [
            StripRow(
                str(row.get("name", "")),
                numbers(row["values"]) if "values" in row else numbers([row.get("value")]),
                ROLE_KIND.get(str(row.get("role")), "e"),
                pair(row.get("interval")),
            )
            for row in rows[:MOST_ROWS]
        ]
        if not drawn:
            return ""
        words = given.get("words")
        return figure(
            strip(drawn, str(given.get("axis") or check.title), pair(given.get("zone"))),
            f"{check.title}. {words}" if words else f"{check.title}.",
        )
    if sum(value.value is not None for value in check.values.values()) < 2:
        return ""
    shadows = "null" in check.values
    order: list[str] = [
        role for role in ("original", "unlearned", "retain_original", "retain", "oracle") if role in check.values
    ]
    order += [role for role in check.values if role not in order]
    values = {role: check.values[role] for role in order[:MOST_ROWS]}
    names, kinds = (SHADOW_NAME, ROLE_KIND | SHADOW_KIND) if shadows else (ROLE_NAME, ROLE_KIND)
    drawn = [
        StripRow(names.get(role, role), [v.value], kinds.get(role, "e"), v.interval, short(v))
        for role, v in values.items()
    ]
    yardstick = check.values.get("null" if shadows else "oracle")
    zone = yardstick.interval if yardstick else None
    note = yardstick.note if yardstick else ""
    what = note or ("where membership means nothing" if shadows else "the oracles' interval")
    return figure(
        strip(drawn, AXES.get(check.name) or str(check.details.get("unit") or "value"), zone),
        f"{check.title}. Lines: intervals." + (f" Shaded: {what}." if zone else ""),
    )
