"""Which share of members does an attacker catch at which share of false alarms? The ROC curve in few points.

Thinned evenly in the LOGARITHM of the false-positive rate: what an attack is worth shows at the few records of which it
is sure (Carlini et al. 2022, arXiv 2112.03570), and a thinning that is even in the rate itself leaves that end bare.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Scores = npt.ArrayLike
BAND = (0.05, 0.95)


def roc_points(scores_members: Scores, scores_others: Scores, max_points: int = 60) -> list[list[float]]:
    """Points [false-positive rate, true-positive rate] of "call it a member where the score is high", from [0, 0] to
    [1, 1].

    Tied scores are called together, so a tie between members and others is one slanted piece; straight pieces have no
    points inside. Of more than `max_points` corners, those are kept that lie evenly in the logarithm of the
    false-positive rate, with the highest true-positive rate there; the first and the last always.

    Raises ValueError for no members, no others, a score that is not a number, or fewer than four points asked for.
    """
    rates = _corners(scores_members, scores_others)
    if max_points < 4:
        raise ValueError(f"{max_points} points draw no curve: ask for four or more.")
    if len(rates) > max_points:
        rates = rates[_kept(rates[:, 0], max_points)]
    return [[round(float(f), 6), round(float(t), 6)] for f, t in rates]


def true_positive_rates(scores_members: Scores, scores_others: Scores, rates: Sequence[float] | Array) -> Array:
    """Highest true-positive rate at a false-positive rate of at most each of the given ones, [len(rates)]."""
    corners = _corners(scores_members, scores_others)
    at = np.searchsorted(corners[:, 0], np.asarray(rates, dtype=float) + 1e-12, side="right") - 1
    result: Array = corners[np.maximum(at, 0), 1]
    return result


def roc_band(
    oracles: Sequence[tuple[Scores, Scores]], points: int = 40, quantiles: tuple[float, float] = BAND
) -> list[list[float]]:
    """What models that never saw the records give: [false-positive rate, 5 %, 95 % of their true-positive rates].

    At log-spaced false-positive rates from one of the others to all of them. Raises ValueError for no oracle.
    """
    if not oracles:
        raise ValueError("no oracle was given")
    others = min(np.size(out) for _, out in oracles)
    grid = np.unique(np.geomspace(1 / others, 1.0, points) if others > 1 else np.array([1.0]))
    found = np.array([true_positive_rates(members, out, grid) for members, out in oracles])
    low, high = np.quantile(found, quantiles, axis=0)
    return [[round(float(v), 6) for v in row] for row in zip(grid, low, high, strict=True)]


def roc_details(
    original: tuple[Scores, Scores], unlearned: tuple[Scores, Scores], oracles: Sequence[tuple[Scores, Scores]]
) -> dict[str, object]:
    """What a check's details hold under "roc", for pairs (scores of the members, scores of the others) of each model.

    original, unlearned: points; oracle: those of the oracle with the median area; oracle_band: `roc_band`; members,
    others: how many records each curve rests on.
    """
    areas = [true_positive_rates(*pair, np.linspace(0, 1, 201)).mean() for pair in oracles]
    middle = oracles[int(np.argsort(areas, kind="stable")[len(areas) // 2])]
    return {
        "original": roc_points(*original),
        "unlearned": roc_points(*unlearned),
        "oracle": roc_points(*middle),
        "oracle_band": roc_band(oracles),
        "members": int(np.size(unlearned[0])),
        "others": int(np.size(unlearned[1])),
    }


def _corners(scores_members: Scores, scores_others: Scores) -> Array:
    """[points, 2]: the rates at every threshold that lies between two scores, without points on a straight piece."""
    members = np.asarray(scores_members, dtype=float).ravel()
    others = np.asarray(scores_others, dtype=float).ravel()
    if not members.size or not others.size:
        raise ValueError(f"a ROC curve needs members and others, not {members.size} and {others.size}")
    if np.isnan(members).any() or np.isnan(others).any():
        raise ValueError("a score is not a number")
    levels = np.unique(np.concatenate([members, others]))[::-1]
    hits = members.size - np.searchsorted(np.sort(members), levels, side="left")
    alarms = others.size - np.searchsorted(np.sort(others), levels, side="left")
    rates = np.column_stack([np.append(0, alarms) / others.size, np.append(0, hits) / members.size])
    steps = np.diff(rates, axis=0)
    turns = steps[:-1, 0] * steps[1:, 1] != steps[:-1, 1] * steps[1:, 0]
    result: Array = rates[np.concatenate([[True], turns, [True]])]
    return result


def _kept(alarms: Array, count: int) -> npt.NDArray[np.int64]:
    """Rows to keep: the first, the last without a false alarm, and the last at or under each of log-spaced rates."""
    smallest = alarms[alarms > 0].min()
    grid = np.concatenate([[0.0], np.geomspace(smallest, 1.0, count - 2)])
    rows = np.searchsorted(alarms, grid * (1 + 1e-12), side="right") - 1
    return np.unique(np.concatenate([[0], rows, [len(alarms) - 1]]))
