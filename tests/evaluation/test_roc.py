"""The thinned ROC curve says what the scores say, at the small end too."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.evaluation.attacks import auc
from expunge.evaluation.roc import roc_band, roc_details, roc_points, true_positive_rates

SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=30)


def area(points: list[list[float]]) -> float:
    at, height = np.array(points).T
    return float(np.trapezoid(height, at))


@given(SCORES, SCORES)
@settings(deadline=None)
def test_every_curve_rises_from_nothing_to_all_and_has_the_area_of_the_ranks(
    members: list[float], others: list[float]
) -> None:
    points = roc_points(members, others)
    assert points[0] == [0, 0] and points[-1] == [1, 1]
    assert (np.diff(np.array(points), axis=0) >= 0).all()
    labels = np.array([1] * len(members) + [0] * len(others))
    assert area(points) == pytest.approx(auc(np.array(members + others), labels), abs=1e-4)


def test_a_long_curve_is_thinned_where_it_costs_nothing() -> None:
    rng = np.random.default_rng(0)
    members, others = rng.normal(1.0, 1.0, 20_000), rng.normal(0.0, 1.0, 20_000)
    points = roc_points(members, others)
    assert 40 <= len(points) <= 60
    small = [f for f, _ in points if 0 < f <= 1e-3]
    assert min(small) == pytest.approx(1 / 20_000) and len(small) > 10, "the end that matters keeps its points"
    for false, true in points[1:]:
        caught = true_positive_rates(members, others, [false])[0]
        assert true == pytest.approx(caught, abs=1e-6)
    assert area(points) == pytest.approx(0.76, abs=0.02)
    assert len(roc_points(members, others, 10)) <= 10


def test_a_perfect_a_blind_and_an_inverted_attack() -> None:
    assert roc_points([2, 3], [0, 1]) == [[0, 0], [0, 1], [1, 1]]
    assert roc_points([1, 1], [1, 1, 1]) == [[0, 0], [1, 1]]
    assert roc_points([0, 1], [2, 3]) == [[0, 0], [1, 0], [1, 1]]
    assert true_positive_rates([2, 3], [0, 1], [0.0, 1.0]).tolist() == [1, 1]
    assert true_positive_rates([0.0, 2.0], [1.0], [0.0, 0.5, 1.0]).tolist() == [0.5, 0.5, 1.0]


def test_the_band_is_what_the_oracles_give() -> None:
    rng = np.random.default_rng(1)
    oracles = [(rng.normal(size=80), rng.normal(size=100)) for _ in range(30)]
    band = np.array(roc_band(oracles))
    assert band[0, 0] == pytest.approx(0.01) and band[-1].tolist() == [1, 1, 1]
    assert (band[:, 1] <= band[:, 2]).all() and len(band) <= 40
    middle = band[np.abs(band[:, 0] - 0.5).argmin()]
    assert middle[1] < 0.5 < middle[2]
    assert roc_band([([1.0], [0.0])]) == [[1.0, 1.0, 1.0]]


def test_what_a_check_records_is_plain_and_has_the_median_oracle() -> None:
    details = roc_details(
        ([2.0, 3.0], [0.0, 1.0]), ([0.0, 1.0], [0.0, 1.0]), [([k, 1.0], [0.5, 1.5]) for k in range(3)]
    )
    assert json.loads(json.dumps(details)) == details
    assert details["original"] == [[0, 0], [0, 1], [1, 1]] and details["oracle"] == roc_points([1, 1.0], [0.5, 1.5])
    assert details["members"] == 2 and details["others"] == 2


@pytest.mark.parametrize(
    ("members", "others", "points", "words"),
    [
        ([], [1.0], 60, "0 and 1"),
        ([1.0], [], 60, "1 and 0"),
        ([float("nan")], [1.0], 60, "not a number"),
        ([1.0], [1.0], 3, "four or more"),
    ],
)
def test_what_is_no_curve_is_refused(members: list[float], others: list[float], points: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        roc_points(members, others, points)
    with pytest.raises(ValueError, match="no oracle"):
        roc_band([])
