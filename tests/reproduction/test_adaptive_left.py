"""What arms left, and their differences, from made-up confidences: planted effects are found, none is made up."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.reproduction.adaptive.left import Left, all_sets

ORIGINALS, SETS, M, R = 6, 8, 12, 3


def made_up(seed: int, shares: list[float], memory: float = 2.0) -> Left:
    """Every arm left a share of what training adds, which is `memory` on the harder half of the sets and else 0."""
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal((SETS, M))
    added = memory * (np.arange(SETS) >= SETS // 2)[:, None] * rng.lognormal(0, 0.3, (SETS, M))

    def noise(*shape: int) -> np.ndarray:
        """Of a model as a whole, and of every record."""
        return 0.5 * rng.standard_normal((*shape, 1)) + rng.standard_normal((*shape, M))

    oracles = centre[None, :, None] + noise(ORIGINALS, SETS, R)
    trained = centre + added + noise(ORIGINALS, SETS) / 2
    unlearned = np.stack([centre + share * added + noise(ORIGINALS, SETS) for share in shares], axis=1)
    return Left(tuple(f"arm {k}" for k in range(len(shares))), all_sets(unlearned, oracles, trained))


def test_what_is_left_is_found() -> None:
    shares = [1.0, 0.5, 0.0, -0.3]
    found = [made_up(seed, shares) for seed in range(30)]
    for k, share in enumerate(shares):
        told = np.array([[one.influence(f"arm {k}").value, one.excess(f"arm {k}").value] for one in found])
        error = told.std(axis=0) / np.sqrt(len(told))
        assert np.all(np.abs(told.mean(axis=0) - [share, share**2]) < 3.5 * error + 0.01)


def test_a_planted_difference_is_found_and_none_is_made_up() -> None:
    found = [made_up(seed, [0.2, 0.6, 0.6]) for seed in range(40)]
    planted = [one.less(["arm 0"], ["arm 1"]) for one in found]
    assert np.mean([one.interval()[1] < 0 for one in planted]) > 0.9
    assert np.mean([one.value for one in planted]) == pytest.approx(-0.4, abs=0.05)
    none = [one.less(["arm 2"], ["arm 1"]).interval() for one in found]
    assert np.mean([low <= 0 <= high for low, high in none]) > 0.85


def test_a_difference_of_several_arms_is_the_mean_of_theirs() -> None:
    one = made_up(0, [0.2, 0.6, 0.9])
    each = [one.less([arm], ["arm 2"]).value for arm in ("arm 0", "arm 1")]
    assert one.less(["arm 0", "arm 1"], ["arm 2", "arm 2"]).value == pytest.approx(np.mean(each))


def test_sets_that_held_nothing_are_not_measurable() -> None:
    assert all(made_up(seed, [1.0]).measurable for seed in range(5))
    assert np.mean([made_up(seed, [1.0], memory=0.0).measurable for seed in range(40)]) < 0.1
