"""What a sequence of requests cost, and what is left of all of them together, as numbers and as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from pareto_energies import energies, jackknife, pooled

from expunge.unlearning.predictor import BudgetPredictor

Part = Mapping[str, Any]
Results = dict[str, Any]
RETRAIN, WEEKLY = "retraining", "retraining weekly"


def summary(
    sizes: Sequence[int],
    hard: Sequence[int],
    batch: int,
    models: Part,
    arms: Mapping[str, Sequence[Part]],
    calibrations: Sequence[BudgetPredictor],
    together: Mapping[int, Part],
) -> Results:
    """Everything that the report prints; lists are over originals, `cumulative` over requests too.

    sizes: records by request. models, arms: what ``sequence`` measured.
    """
    requests = len(sizes)
    of_request = np.repeat(np.arange(requests), sizes)
    is_hard = np.isin(of_request, hard)
    groups = {"all": np.ones(len(of_request), bool), "hard": is_hard, "others": ~is_hard}
    finals = {RETRAIN: np.asarray(models["retrained"])} | {
        name: np.stack([own["model"] for own in parts]) for name, parts in arms.items()
    }
    found = {
        "requests": requests, "sizes": [int(size) for size in sizes], "hard": [int(k) for k in hard], "batch": batch,
        "originals": len(models["originals"]), "oracles": len(models["oracles"]),
        "calibration": [one.cost for one in calibrations],
        "nothing_below": [one.nothing_below for one in calibrations],
        "energy": _energy(models, groups),
        "untouched_held_out": float(models["originals"][:, -1].mean()),
        "costs": {
            RETRAIN: _fixed(requests, 1, len(calibrations)), WEEKLY: _fixed(requests, batch, len(calibrations)),
            **{name: _costs(parts, requests) for name, parts in arms.items()},
        },
        "left": {name: _left(own, models, finals[RETRAIN], groups) for name, own in finals.items()},
        "answers": {name: [_answers(own) for own in parts] for name, parts in arms.items()},
    }  # fmt: skip
    found["after_a_change"] = {name: _after(answers) for name, answers in found["answers"].items()}
    found["together"] = {count: _at_once(own) for count, own in together.items()}
    return found


def _at_once(own: Part) -> dict[str, Any]:
    """What is left where the first requests were forgotten in one plan, and by which ways."""
    left = pooled(energies(own["models"][:, :-1], own["oracles"][:, :-1], own["originals"][:, :-1])[None])
    rows = zip(*(own[key].tolist() for key in ("method", "amount", "strength")), strict=True)
    return {
        "records": own["models"].shape[1] - 1, "cost": float(own["cost"].mean()),
        "influence": list(left.influence), "excess": list(left.excess),
        "ways": dict(Counter(f"{method.replace('_', ' ')} {amount} {strength:g}" for method, amount, strength in rows)),
    }  # fmt: skip


def _energy(models: Part, groups: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """S_o/m of each group with its 95 % interval: whether there was anything to forget."""
    found = {}
    for name, own in groups.items():
        o, x = models["oracles"][:, :-1][:, own], models["originals"][:, :-1][:, own]
        value, half = jackknife(energies(x, o, x)[:, 2] / own.sum())
        found[name] = [value, value - half, value + half]
    return found


def _left(u: np.ndarray, models: Part, retrained: np.ndarray, groups: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Influence and excess of each group, their difference to retraining, and held-out accuracy, in percent."""
    found: dict[str, Any] = {"held_out": [float(100 * value) for value in u[:, -1]]}
    for name, own in groups.items():
        o, x = models["oracles"][:, :-1][:, own], models["originals"][:, :-1][:, own]
        parts, exact = (energies(one[:, :-1][:, own], o, x) for one in (u, retrained))
        left = pooled(parts[None])
        found[name] = {"influence": list(left.influence), "excess": list(left.excess)}
        for part, what in enumerate(("influence", "excess")):
            value, half = jackknife(parts[:, part] / parts[:, 2] - exact[:, part] / exact[:, 2])
            found[name][f"{what}_over_retraining"] = [value, value - half, value + half]
    return found


def _fixed(requests: int, batch: int, originals: int) -> dict[str, Any]:
    """One retraining a batch; nothing is scored."""
    spent = [float(k // batch) for k in range(1, requests + 1)]
    return {"cumulative": [spent] * originals, "scoring": [0.0] * originals, "runs": requests // batch}


def _costs(parts: Sequence[Part], requests: int) -> dict[str, Any]:
    """Cumulative cost after every request; a batch is paid for when its last request is in."""
    runs = len(parts[0]["cost"])
    batch = requests // runs
    cumulative = []
    for own in parts:
        paid = np.zeros(requests)
        paid[batch - 1 :: batch] = own["cost"]
        cumulative.append([float(value) for value in np.cumsum(paid)])
    return {"cumulative": cumulative, "scoring": [float(own["scoring"].sum()) for own in parts], "runs": runs}


def _answers(own: Part) -> list[dict[str, Any]]:
    keys = ("method", "amount", "strength", "cost", "records", "why")
    return [dict(zip(keys, row, strict=True)) for row in zip(*(own[key].tolist() for key in keys), strict=True)]


def _after(answers: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, int]:
    """Requests that came right after one that was neither retrained nor the first, and how they were answered."""
    return dict(
        Counter(now["method"] for own in answers for before, now in pairwise(own) if before["method"] != "retrain")
    )


def as_markdown(results: Results) -> str:
    """The tables of docs/sequence.md."""
    return "\n\n".join(_of_world(name, own) for name, own in results.items())


def _of_world(name: str, own: Results) -> str:
    requests = own["requests"]
    looks = list(range(own["batch"], requests + 1, own["batch"]))
    lines = [
        f"### {name}",
        "",
        f"{own['originals']} originals, {own['oracles']} oracles that left out all {sum(own['sizes'])} records of the"
        f" {requests} requests ({min(own['sizes'])} to {max(own['sizes'])} records each, requests"
        f" {' and '.join(str(k + 1) for k in own['hard'])} hard). Calibration: {np.mean(own['calibration']):.0f}"
        " retrainings, once, on one original. Energy S_o/m: "
        + ", ".join(f"{group} {_interval(value)}" for group, value in own["energy"].items())
        + ".",
        "",
        f"| arm | {' | '.join(f'cost after {k}' for k in looks)} | least, most | retrained | rewound plain, unrolled"
        " | kept | scoring beside it |",
        "|" + "---|" * (len(looks) + 6),
    ]
    for arm, cost in own["costs"].items():
        cumulative = np.array(cost["cumulative"])
        methods = Counter(one["method"] for made in own["answers"].get(arm, []) for one in made)
        if arm not in own["answers"]:
            methods = Counter({"retrain": cost["runs"] * own["originals"]})
        share = {key: value / own["originals"] for key, value in methods.items()}
        lines.append(
            f"| {arm} | {' | '.join(f'{cumulative[:, k - 1].mean():.1f}' for k in looks)}"
            f" | {cumulative[:, -1].min():.1f}, {cumulative[:, -1].max():.1f} | {share.get('retrain', 0):.1f}"
            f" | {share.get('rewind', 0):.1f}, {share.get('unrolled_rewind', 0):.1f} | {share.get('keep', 0):.1f}"
            f" | {np.mean(cost['scoring']):.1f} |"
        )
    lines += [
        "",
        "| what is left at the end | influence, all | excess, all | excess over retraining's | influence, hard"
        " | excess, hard | held-out accuracy, % |",
        "|" + "---|" * 7,
    ]
    for arm, left in own["left"].items():
        lines.append(
            f"| {arm} | {_interval(left['all']['influence'])} | {_interval(left['all']['excess'])}"
            f" | {_interval(left['all']['excess_over_retraining'])} | {_interval(left['hard']['influence'])}"
            f" | {_interval(left['hard']['excess'])} | {np.mean(left['held_out']):.1f} |"
        )
    lines += [
        "",
        "| the first requests, at once | records | cost | influence | excess | ways (step, strength) |",
        "|" + "---|" * 6,
    ]
    lines += [
        f"| {count} | {one['records']} | {one['cost']:.2f} | {_interval(one['influence'])} | {_interval(one['excess'])}"
        f" | {', '.join(f'{way}: {times}' for way, times in one['ways'].items())} |"
        for count, one in own["together"].items()
    ]
    lines += ["", "How a request was answered that came after one that was not retrained, all originals together:", ""]
    for arm, after in own["after_a_change"].items():
        told = ", ".join(f"{method.replace('_', ' ')} {count}" for method, count in sorted(after.items()))
        lines.append(f"* {arm}: {told or 'none came'}.")
    return "\n".join(lines)


def _interval(value: Sequence[float]) -> str:
    return f"{value[0]:.2f} [{value[1]:.2f}, {value[2]:.2f}]"
