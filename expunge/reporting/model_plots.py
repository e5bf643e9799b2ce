"""How does the model itself compare? Accuracy as bars, the loss on the way to other models, drift cell by cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from expunge.evaluation.evidence import CheckResult, RoleValue
from expunge.reporting.attack_plots import LEGEND, ROLE_KIND, numbers
from expunge.reporting.page import figure
from expunge.reporting.svg import Line, StripRow, curves, strip
from expunge.reporting.svg_bars import Bar, standing_bars

WHEN = {"original": "before", "unlearned": "after"}
GROUPS = {"forget": "forgotten", "retain": "kept", "held_out": "held out"}
COLUMNS = {
    "true_class_confidence": "confidence",
    "loss": "loss",
    "margin": "margin",
    "predicted_label": "predicted label",
}
# Three kinds of way: from this model, from the original, and between two oracles, which is the yardstick
WAYS = {
    "original-oracle": ("b", "from the original to an oracle"),
    "unlearned-oracle": ("a", "from this model to an oracle"),
    "oracle-oracle": ("grey", "from one oracle to another"),
    "unlearned-original": ("e", "from this model to the original"),
}
MOST_PATHS = 12


def accuracy_bars(utility: Mapping[str, RoleValue]) -> str:
    """Accuracy of original, this model and oracles on the forgotten, the kept and the held-out records."""
    groups = []
    for group, name in GROUPS.items():
        bars = []
        for role, kind in (("original", "b"), ("unlearned", "a"), ("oracle", "grey")):
            value = utility.get(f"{group}_accuracy_{role}")
            if value is not None:
                shown = "–" if value.value is None else f"{100 * value.value:.0f}"
                points = None if value.value is None else 100 * value.value
                interval = None if value.interval is None else (100 * value.interval[0], 100 * value.interval[1])
                bars.append(Bar(f"{name}, {role}", points, kind, interval, shown))
        if bars:
            groups.append((name, bars))
    if not groups:
        return ""
    return figure(
        standing_bars(groups, "accuracy, %", 100.0),
        "Accuracy on the forgotten, the kept and the held-out records. After forgetting, the blue bars should be as "
        "high as the grey ones. Whiskers: 95 % over records for the two models, the middle 90 % of the oracles.",
        LEGEND[:3],
    )


def gaps_plot(utility: Mapping[str, RoleValue]) -> str:
    """The same accuracies minus the oracles', close up."""
    rows = []
    for group, name in GROUPS.items():
        for role in ("original", "unlearned"):
            value = utility.get(f"{group}_gap_{role}")
            if value is not None:
                points = None if value.value is None else 100 * value.value
                interval = None if value.interval is None else (100 * value.interval[0], 100 * value.interval[1])
                rows.append(StripRow(f"{name}: {WHEN[role]}", [points], ROLE_KIND[role], interval))
    if not rows:
        return ""
    return figure(
        strip(rows, "accuracy minus the oracles' mean, points"),
        "The same, close up: the difference to the oracles' mean; 0 is like a retrained model. Lines: 90 % intervals "
        "over training runs.",
    )


def barrier_plot(check: CheckResult) -> str:
    """The loss on kept records on the straight line between two models' weights; nothing where it was not measured.

    Either `details["paths"]`: `points`, the places t in 0..1, and by the name of a way (as in WAYS) one list of losses
    or several, with `aligned` holding the same names again, the neurons of the second model permuted to match the
    first; or `details["retain"]`: `plain` and `aligned` with `curves` of "original", "unlearned" and "oracles".
    """
    at, plain, aligned = _measured(check.details)
    lines = _ways(plain, at, "") + _ways(aligned, at, "dashed")
    if not lines:
        return ""
    seen = {line.kind for line in lines}
    dashed = " Dashed: with the neurons matched first." if any("dashed" in line.style for line in lines) else ""
    return figure(
        curves(lines, "way from one model's weights to the other's", "loss on kept records"),
        "The loss on kept records along the straight line from one model to another: a hill between two models means "
        f"that they solved the task differently. The blue hill should be no higher than the grey one.{dashed}",
        [(kind, words) for kind, words in WAYS.values() if kind in seen],
    )


def _measured(details: Mapping[str, Any]) -> tuple[list[float], Mapping[str, object], Mapping[str, object]]:
    """Places, ways, and ways with aligned neurons."""
    paths = details.get("paths")
    if isinstance(paths, Mapping):
        return numbers(paths.get("points")), paths, _mapping(paths.get("aligned"))
    retain, count = _mapping(details.get("retain")), details.get("points")
    if not isinstance(count, int) or count < 2:
        return [], {}, {}
    names = {"original": "original-oracle", "unlearned": "unlearned-oracle", "oracles": "oracle-oracle"}
    plain, aligned = (
        {names.get(name, name): losses for name, losses in _mapping(_mapping(retain.get(kind)).get("curves")).items()}
        for kind in ("plain", "aligned")
    )
    return [k / (count - 1) for k in range(count)], plain, aligned


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _ways(paths: Mapping[str, object], at: Sequence[float], style: str) -> list[Line]:
    lines = []
    for name, (kind, words) in WAYS.items():
        found = paths.get(name)
        several = found if isinstance(found, list) and found and isinstance(found[0], list) else [found]
        for k, losses in enumerate(several[:MOST_PATHS]):
            values = numbers(losses)
            if at and len(values) == len(at):
                further = "thin" if len(several) > 1 else ""
                lines.append(Line(at, values, kind, f"{words} {k + 1}", style=f"{style} {further}".strip()))
    return lines


def drift_plot(rows: Sequence[Mapping[str, object]]) -> str:
    """Every cell's drift as a multiple of what 95 % of other oracles stay under."""
    drawn = []
    for row in rows:
        value, original, threshold = (_number(row.get(name)) for name in ("value", "original", "threshold"))
        if value is None or not threshold or threshold <= 0:
            continue
        column = str(row.get("column"))
        name = f"{GROUPS.get(str(row.get('group')), str(row.get('group')))}: {COLUMNS.get(column, column)}"
        under = None if original is None else ("b", original / threshold)
        short = name.replace("predicted label", "label")
        drawn.append(StripRow(short, [value / threshold], "a", under=under))
    if not drawn:
        return ""
    return figure(
        strip(drawn, "drift, in units of its threshold", (0.0, 1.0)),
        "How far the predictions lie from those of some oracles together, before (orange) and after (blue). Shaded: no "
        "farther than 95 % of the other oracles lie.",
        [("b", "original"), ("a", "this model"), ("zone", "as other oracles differ")],
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
