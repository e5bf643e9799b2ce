"""Crossing times of known curves: exact without noise, unmoved by noise where staying inside is not."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.reproduction.forget_curves import spaced_looks
from expunge.reproduction.predict_sgld.smooth_times import crossing, distance_times, falling, share_times
from expunge.reproduction.times import energies, staying

LOOKS = spaced_looks(600, 24).astype(float)


def test_a_line_is_read_between_looks() -> None:
    found = crossing(np.array([3.0, 2.0, 1.0, 0.0]), np.array([0.0, 10.0, 20.0, 40.0]), 0.5)
    assert float(found.steps) == 30.0 and not found.censored


@pytest.mark.parametrize(
    ("values", "steps", "censored"), [([0.4, 0.3, 0.9], 0.0, False), ([3.0, 2.0, 1.0], 40.0, True)]
)
def test_nothing_to_forget_and_not_forgotten(values: list[float], steps: float, censored: bool) -> None:
    found = crossing(np.array(values), np.array([0.0, 20.0, 40.0]), 0.6)
    assert float(found.steps) == steps and bool(found.censored) is censored


def test_the_fit_falls_and_keeps_what_falls() -> None:
    assert falling(np.array([3.0, 1.0, 2.0, 0.0])).tolist() == [3.0, 1.5, 1.5, 0.0]


def test_noise_moves_the_crossing_little_and_the_stay_much() -> None:
    """exp decay from 8 with rate 1/120 is at 0.5 after 333 steps."""
    rng = np.random.default_rng(0)
    truth = 8 * np.exp(-LOOKS / 120)
    expected = 120 * np.log(16)
    crossed, stayed = [], []
    for _ in range(200):
        values = truth + rng.normal(0, 0.3, len(LOOKS))
        crossed.append(float(crossing(values, LOOKS, 0.5).steps))
        stayed.append(float(staying(values <= 0.5, LOOKS).steps))
    assert np.mean(crossed) == pytest.approx(expected, rel=0.05) and np.std(crossed) < 60
    assert np.mean(stayed) > np.mean(crossed) + 50


def planted(start: float, runs: int = 6, records: int = 1000, seed: int = 0):  # type: ignore[no-untyped-def]
    """Originals `start` deviations from the oracles in every record, decaying with rate 1/150."""
    rng = np.random.default_rng(seed)
    oracles = rng.normal(size=(runs, 4, records))
    unlearned = start * np.exp(-LOOKS / 150)[None, :, None] + rng.normal(size=(runs, len(LOOKS), records))
    return energies(unlearned, oracles, start + rng.normal(size=(runs, records)))


def test_distance_takes_longer_from_further_and_a_share_does_not() -> None:
    runs = np.arange(6)
    near, far = planted(2.0), planted(8.0, seed=1)
    distance = [float(distance_times(e, runs, LOOKS, 0.25).steps) for e in (near, far)]
    share = [float(share_times(e, runs, LOOKS, 0.5).steps) for e in (near, far)]
    # Energies decay at twice the rate: 75 ln(4/.25) = 208 and 75 ln(64/.25) = 416; the share at 150 ln 2 = 104.
    assert distance == pytest.approx([208, 416], rel=0.15)
    assert share == pytest.approx([104, 104], rel=0.2)


def test_null_has_nothing_to_forget() -> None:
    found = planted(0.0)
    runs = np.arange(6)
    assert float(distance_times(found, runs, LOOKS, 0.25).steps) == 0.0
    assert float(share_times(found, runs, LOOKS, 0.5).steps) == 0.0
