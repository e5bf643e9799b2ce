"""The tables of docs/adaptive.md and its plots, from the JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expunge.reporting.style import style_sheet
from expunge.reporting.svg import Line, curves

KINDS = ("remembered", "random", "hardest")
NAMES = {"unrolled_rewind": "unrolled rewind", "l1_sparse": "L1-sparse", "neggrad_plus": "NegGrad+", "scrub": "SCRUB"}
COLOURS = {"rewind": "grey", "unrolled_rewind": "a", "fine_tune": "c", "l1_sparse": "d", "neggrad_plus": "e"}


def as_markdown(results: dict[str, Any]) -> str:
    return "\n".join(line for name, found in results.items() for line in _world(name, found))


def _world(name: str, found: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{count} {kind}" for kind, count in found["sets"].items())
    lines = [
        f"### {name}", "",
        f"Forget sets of {found['size']} records: {counts}. {found['originals']} originals, {found['oracles']} oracles "
        f"a set. {sum(e >= 0.25 for e in found['energies'])} of {len(found['energies'])} sets held something "
        "measurable.", "",
    ]  # fmt: skip
    if found["rates"]:
        lines += ["Learning rates, as a share of the training's last: "
                  + ", ".join(f"{_name(key)} {rate:g}" for key, rate in found["rates"].items()) + ".", ""]  # fmt: skip
    if "planner" in found:
        lines += _planner(found)
    lines += [
        "| method | cost | remembered: influence | excess | random: influence | excess | hardest: influence | "
        "excess | accuracy lost, points |", "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for place, row in enumerate(found["rows"]["every difficulty"]):
        cells = [_both(found["rows"][kind][place]) for kind in KINDS]
        lines.append(f"| {_name(row['method'], row['strength'])} | {row['cost']:.2f} | {' | '.join(cells)} | "
                     f"{100 * row['accuracy_lost']:+.1f} |")  # fmt: skip
    return [*lines, ""]


def _planner(found: dict[str, Any]) -> list[str]:
    plan = found["planner"]
    own, null = plan["quality"], found["null"]
    lines = [
        "| planner, target .10 | mean cost | influence | excess | accuracy lost, points |",
        "|---|---|---|---|---|",
    ]
    for kind in ("every difficulty", *KINDS):
        row = plan["at_target"][kind]
        if "influence" not in row:  # no set of this kind
            continue
        lines.append(f"| {kind} | {row['cost']:.2f} | {_both(row)} | {100 * row['accuracy_lost']:+.1f} |")
    ways = ", ".join(f"{_name(key)} {count}" for key, count in plan["ways"].items())
    thirds = ", ".join(_number(value) for value in own["spearman_by_third"])
    lines += [
        "",
        f"Plans (sets times originals): {ways}. Mean cost {own['mean_cost']:.2f}, cost* {own['mean_best']:.2f}; "
        f"{own['nothing_to_forget']} of {own['sets']} sets had nothing measurable to forget. Spearman of planned cost "
        f"with cost* {_number(own['spearman'])}, within thirds of difficulty {thirds}; median error "
        f"{_number(own['median_error'])} of cost*. Target missed in {own['missed']} of {own['measurable']} sets with "
        f"something to forget; by chance retraining misses it in {null['missed']} of {null['of']}.",
        "",
    ]
    held = plan["coverage"]
    if held:
        low, high = held["interval"]
        lines += [f"The 90 % interval of the cost held cost* in {held['covered']} of {held['of']} sets "
                  f"([{low:.2f}, {high:.2f}]); median width {held['median_width']:.2f} of retraining.", ""]  # fmt: skip
    lines += [
        "| predictor | Spearman with cost* | mean cost | target missed | left, all sets |",
        "|---|---|---|---|---|",
    ]
    for score, row in plan["scores"].items():
        lines.append(f"| {score} | {_number(row['spearman'])} | {row['mean_cost']:.2f} | {row['missed']} of "
                     f"{row['measurable']} | {row['left']:.2f} |")  # fmt: skip
    lines += ["", "| cost | planner | best fixed method | difference, 95 % | not worse by .02 (Holm) |",
              "|---|---|---|---|---|"]  # fmt: skip
    for row, holds in zip(plan["against_fixed"], _holm(plan["against_fixed"]), strict=True):
        low, high = row["difference"] - row["half"], row["difference"] + row["half"]
        fixed = f"{row['fixed']:.2f} ({_name(row['method'], row['strength'])})"
        lines.append(f"| {row['cost']:.2f} | {row['planner']:.2f} | {fixed} | {row['difference']:+.2f} [{low:+.2f}, "
                     f"{high:+.2f}] | {'yes' if holds else 'not shown'} |")  # fmt: skip
    lines += ["", "| law of the steps needed | error left out (steps) | log score left out (nats) | censored |",
              "|---|---|---|---|"]  # fmt: skip
    lines += [f"| {law['name']} | {law['error']:.0f} | {law['log_score']:.2f} | {law['censored']:.0%} |"
              for law in plan["laws"]]  # fmt: skip
    return [*lines, ""]


def _holm(rows: list[dict[str, Any]], level: float = 0.05) -> list[bool]:
    """Which hypotheses "worse by .02 or more" are rejected, Holm-corrected."""
    order = sorted(range(len(rows)), key=lambda k: rows[k]["p_worse"])
    found, open_ = [False] * len(rows), True
    for place, k in enumerate(order):
        open_ = open_ and rows[k]["p_worse"] <= level / (len(rows) - place)
        found[k] = open_
    return found


def plot(found: dict[str, Any], kind: str) -> str:
    """max(|influence|, excess) by cost, one line a method, and the planner's curve: a whole SVG file."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in found["rows"][kind]:
        if row["method"] in COLOURS and (row["strength"] is None or abs(row["strength"] - 0.6) < 1e-9):
            lines.setdefault(row["method"], []).append((row["cost"], _worst(row)))
    drawn = [
        Line([c for c, _ in points], [min(y, 1.5) for _, y in points], COLOURS[name], _name(name))
        for name, points in lines.items()
    ]
    if kind == KINDS[0] and "planner" in found:
        points = sorted((row["cost"], _worst(row)) for row in found["planner"]["curve"])
        drawn.append(Line([c for c, _ in points], [y for _, y in points], "b", "planner"))
    drawn.append(Line([0, 1], [0.1, 0.1], "grey", "target", style="dashed"))
    body = curves(drawn, "cost, in retrainings", "left, of the influence")
    start = '<svg xmlns="http://www.w3.org/2000/svg" class="expunge" viewBox="0 0 460 230" width="690">'
    return f"{start}<style>{style_sheet()}</style>{body}</svg>\n"


def write_plots(results: dict[str, Any], folder: Path) -> None:
    """adaptive-WORLD.svg for every data set."""
    for name, found in results.items():
        (folder / f"adaptive-{name}.svg").write_text(plot(found, KINDS[0]))


def _worst(row: dict[str, Any]) -> float:
    return float(max(abs(row["influence"][0]), row["excess"][0]))


def _both(row: dict[str, Any]) -> str:
    if "influence" not in row:
        return " | "
    return " | ".join(f"{v[0]:.2f} [{v[1]:.2f}, {v[2]:.2f}]" for v in (row["influence"], row["excess"]))


def _name(method: str, strength: float | None = None) -> str:
    words = NAMES.get(method, method.replace("_", " "))
    return words if strength is None else f"{words}, {strength:.0%}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"
