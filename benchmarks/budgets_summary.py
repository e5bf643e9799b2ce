"""U-LiRA of every arm over all sets, the differences between arms on the same shadows, and the tables of both."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.attacks import auc
from expunge.evaluation.shadow_judging import over_models
from expunge.evaluation.u_lira import ULira, lira_scores, u_lira

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
ARMS = ("planner", "uniform unrolled rewind", "uniform rewind", "retrain", "none")
PAIRS = (
    ("planner", "uniform unrolled rewind"),
    ("planner", "uniform rewind"),
    ("planner", "retrain"),
    ("uniform unrolled rewind", "retrain"),
    ("uniform rewind", "retrain"),
    ("planner", "none"),
    ("uniform unrolled rewind", "none"),
    ("retrain", "none"),
)
FLOOR = 0.5
OTHERS = "forget, without the hardest set"
# What the planner's budgets may add to the exposure of retained records.
RETAIN_MARGIN = 0.01


@dataclass(frozen=True)
class Shadows:
    """One set's shadows of one arm: phi [M, a] and who trained on what, bool [M, a]; records to forget come first."""

    phi: Array
    trained: Mask


def summary(outputs: dict[str, list[Shadows]], matched: Mask, seed: int) -> dict[str, Any]:
    """Figures by arm and group, differences by pair of arms, and each set's AUC.

    outputs: by arm, [sets], the hardest first; matched [sets, retained records]. The shadows of different sets are
    different models: row k of all sets side by side is one unit, and a jackknife over rows takes the same share of
    models from every set.
    """
    sets, size = matched.shape
    first = np.tile(np.arange(2 * size) < size, sets)
    close = np.concatenate([np.concatenate([np.zeros(size, bool), own]) for own in matched])
    others = first & (np.arange(first.size) >= 2 * size)
    groups = {"forget": first, "retain": ~first, "retain, matched": close}
    phi = {arm: np.concatenate([one.phi for one in own], axis=1) for arm, own in outputs.items()}
    trained = np.concatenate([one.trained for one in next(iter(outputs.values()))], axis=1)
    for own in outputs.values():
        assert np.array_equal(trained, np.concatenate([one.trained for one in own], axis=1)), "arms must be paired"
    return {
        "arms": {
            arm: {name: _figures(one) for name, one in u_lira(values, trained, groups, seed=seed).items()}
            for arm, values in phi.items()
        },
        "differences": [
            {"of": a, "and": b, **{name: difference(phi[a], phi[b], trained, group, seed)
                                   for name, group in (groups | {OTHERS: others}).items()}}
            for a, b in PAIRS
        ],
        "by_set": {
            arm: [
                {name: _figures(one) for name, one in u_lira(s.phi, s.trained, _two(size), seed=seed).items()}
                for s in own
            ]
            for arm, own in outputs.items()
        },
    }  # fmt: skip


def _two(size: int) -> dict[str, Mask]:
    first = np.arange(2 * size) < size
    return {"forget": first, "retain": ~first}


def _figures(one: ULira) -> dict[str, Any]:
    low, high = np.quantile(one.null, [0.05, 0.95])
    rates = {f"{rate.fpr:g}": asdict(rate) for rate in one.rates}
    return {
        "auc": one.auc, "auc_interval": list(one.auc_interval), "balanced": one.balanced_accuracy,
        "balanced_interval": list(one.balanced_interval), "rates": rates, "records": one.records,
        "null": [float(one.null.mean()), float(low), float(high)],
        "null_p": float((1 + (np.abs(one.null - 0.5) >= abs(one.auc - 0.5)).sum()) / (len(one.null) + 1)),
    }  # fmt: skip


def difference(a: Array, b: Array, trained: Mask, group: Mask, seed: int) -> dict[str, list[float]]:
    """AUC and balanced accuracy of `a` minus those of `b` on the same shadows: [value, low, high], 90 % over models."""
    phis, own = [values[:, group] for values in (a, b)], trained[:, group]

    def figures(rows: Index) -> Array:
        member = own[rows]
        return np.subtract(*(_attack(values[rows], member, seed) for values in phis))

    value, half = over_models(figures, len(own), seed)
    return {
        name: [float(v), float(v - h), float(v + h)]
        for name, v, h in zip(("auc", "balanced"), value, half, strict=True)
    }


def _attack(phi: Array, trained: Mask, seed: int) -> Array:
    scores = lira_scores(phi, trained, FLOOR, seed)
    balanced = 0.5 * ((scores[trained] > 0).mean() + (scores[~trained] <= 0).mean())
    return np.array([auc(scores.ravel(), trained.ravel().astype(np.int64)), balanced])


def as_markdown(results: dict[str, Any]) -> str:
    """The tables of docs/budgets_under_u_lira.md."""
    return "\n\n".join(_world(name, one) for name, one in results.items())


def _world(name: str, one: dict[str, Any]) -> str:
    lines = [
        f"### {name}",
        "",
        f"{len(one['sets'])} sets of {one['records']} of {one['trained_on']:,} records, {one['shadows']} shadows a set "
        f"and arm; {one['pilots']} pilot sets, {one['measurable_pilots']} of them measurable. Brackets are 90 % over "
        "models.",
        "",
        "| arm | mean cost | forget: AUC | null, 5 to 95 % | balanced accuracy | TPR at FPR 1 % "
        "| retain: AUC | balanced accuracy | retain, matched: AUC |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for arm, groups in one["arms"].items():
        forget, retain, close = (groups[key] for key in ("forget", "retain", "retain, matched"))
        rate = forget["rates"]["0.01"]
        tpr = "no power" if rate["value"] is None else f"{rate['value']:.3f} [{_range(rate['interval'], 3)}]"
        lines.append(
            f"| {arm} | {np.mean(one['costs'][arm]):.3f} | {_value(forget, 'auc')} | {_range(forget['null'][1:], 3)} "
            f"| {_value(forget, 'balanced')} | {tpr} | {_value(retain, 'auc')} | {_value(retain, 'balanced')} "
            f"| {_value(close, 'auc')} |"
        )
    columns = ("forget", OTHERS, "retain", "retain, matched")
    lines += ["", f"| difference of AUC, same shadows | {' | '.join(columns)} |", "|---|---|---|---|---|"]
    for pair in one["differences"]:
        told = (pair[key]["auc"] for key in columns)
        cells = (f"{value:+.3f} [{low:+.3f}, {high:+.3f}]" for value, low, high in told)
        lines.append(f"| {pair['of']} - {pair['and']} | {' | '.join(cells)} |")
    lines += [
        "",
        "| difference of balanced accuracy | forget | retain |",
        "|---|---|---|",
    ]
    for pair in one["differences"][:2]:
        told = (pair[key]["balanced"] for key in ("forget", "retain"))
        cells = (f"{value:+.3f} [{low:+.3f}, {high:+.3f}]" for value, low, high in told)
        lines.append(f"| {pair['of']} - {pair['and']} | {' | '.join(cells)} |")
    lines += ["", *_by_set(one), "", *_goals(one)]
    return "\n".join(lines)


def _by_set(one: dict[str, Any]) -> list[str]:
    lines = [
        f"Forget AUC by set; {_way(one['ways']['uniform unrolled rewind'][0])} and "
        f"{_way(one['ways']['uniform rewind'][0])} are the uniform arms.",
        "",
        f"| set | mean privacy loss | planned | cost | {' | '.join(one['arms'])} |",
        "|---|---|---|---|" + "---|" * len(one["arms"]),
    ]
    for n, own in enumerate(one["sets"]):
        cells = [_value(rows[n]["forget"], "auc", 2) for rows in one["by_set"].values()]
        lines.append(
            f"| {own['name']} | {own['mean_loss']:.3g} | {_way(one['ways']['planner'][n])} "
            f"| {one['costs']['planner'][n]:.2f} | {' | '.join(cells)} |"
        )
    return lines


def _goals(one: dict[str, Any]) -> list[str]:
    """What the comparison was set up to show, and whether it does."""
    lines = []
    for pair in one["differences"][:2]:
        value, low, high = pair["forget"]["auc"]
        sides = "met" if high < 0 else "fails: the planner leaves more" if low > 0 else "not decided"
        _, kept_low, kept_high = pair["retain"]["auc"]
        kept = "met" if kept_high <= RETAIN_MARGIN else "fails" if kept_low > RETAIN_MARGIN else "not decided"
        lines.append(
            f"* {pair['of']} - {pair['and']}: forget below 0: {sides} ({value:+.3f}); "
            f"retain up by at most {RETAIN_MARGIN:g}: {kept}."
        )
    return lines


def _way(way: dict[str, Any]) -> str:
    words = str(way["method"]).replace("_", " ")
    if way["method"] in ("keep", "retrain"):
        return words
    return f"{words} ({way['amount']}" + ("" if way["strength"] is None else f", {way['strength']:g}") + ")"


def _value(figures: dict[str, Any], name: str, digits: int = 3) -> str:
    return f"{figures[name]:.{digits}f} [{_range(figures[name + '_interval'], digits)}]"


def _range(interval: list[float], digits: int) -> str:
    return ", ".join(f"{bound:.{digits}f}" for bound in interval)
