"""What was remembered and what is left, from made models whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.unlearning.calibration import _reference
from expunge.unlearning.pilot_energies import PilotReference

M, SHIFT = 40, 0.8


def models(rng: np.random.Generator, count: int, memory: float, remembered: np.ndarray) -> np.ndarray:
    """phi [count, M]: own noise of each record, and one shift that moves all records of a model together."""
    common = SHIFT * rng.standard_normal((count, 1))
    return memory * remembered + common + rng.standard_normal((count, M))


def estimates(memory: float, left: float, repeats: int = 60) -> np.ndarray:
    """[repeats, 3]: energy, influence, excess of runs that kept a share `left` of what was remembered."""
    rng = np.random.default_rng(5)
    remembered = rng.lognormal(0, 1, M)
    found = []
    for _ in range(repeats):
        reference = PilotReference.of(models(rng, 20, 0, remembered), models(rng, 60, memory, remembered))
        runs = models(rng, 3, left * memory, remembered)
        found.append((reference.energy, *reference.left(runs)))
    return np.array(found)


@pytest.mark.parametrize("left", [1.0, 0.3, 0.0, -0.3])
def test_a_known_share_is_found(left: float) -> None:
    found = estimates(1.0, left)
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    rng = np.random.default_rng(5)
    # In units of the variance that 20 oracles show: 1/s^2 is 19/17 of 1/sigma^2 on average.
    truth = float((rng.lognormal(0, 1, M) ** 2).mean()) / (1 + SHIFT**2) * 19 / 17
    assert found[:, 0].mean() == pytest.approx(truth, rel=0.1)
    assert abs(found[:, 1].mean() - left) < 4 * error[1] + 0.03
    assert abs(found[:, 2].mean() - left**2) < 4 * error[2] + 0.05


def test_nothing_remembered_reads_as_nothing() -> None:
    found = estimates(0.0, 0.0)
    assert abs(found[:, 0].mean()) < 0.03 and np.abs(found[:, 0]).max() < 0.25
    rng = np.random.default_rng(1)
    nothing = np.zeros(M)
    # A single model in place of sixty would be far off in many draws: its records move together.
    alone = [
        float(((x - o.mean(axis=0)) ** 2 / o.var(axis=0, ddof=1)).mean() - 1 - 1 / 20)
        for o, x in ((models(rng, 20, 0, nothing), models(rng, 1, 0, nothing)[0]) for _ in range(60))
    ]
    assert np.std(alone) > 5 * found[:, 0].std()


def test_without_anything_to_remember_no_share_is_divided() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        reference = PilotReference.of(models(rng, 20, 0, np.zeros(M)), models(rng, 60, 0, np.zeros(M)))
        if reference.energy <= 0:
            assert reference.left(models(rng, 3, 0, np.zeros(M))) == (0.0, 0.0)
            return
    raise AssertionError("no draw had an energy of zero or less")


def test_many_oracles_of_the_hardest_set_are_not_taken_for_memory_of_an_easy_one() -> None:
    """Without the hardest records a model is surer of all others: that is no memory of them."""
    rng, targets, surer = np.random.default_rng(0), np.zeros(100, dtype=np.int64), 1.0
    forget = {name: np.arange(20 * k, 20 * k + 20) for k, name in enumerate(("hardest", "a", "b", "c", "d"))}
    oracles = {}
    for name in forget:
        phi = rng.standard_normal((50 if name == "hardest" else 10, 100)) + surer * (name == "hardest")
        oracles[name] = np.stack([phi, np.zeros_like(phi)], axis=-1).astype(np.float32)
    found = {most: _reference("a", forget, oracles, targets, most).energy for most in (10, 50)}
    assert found[10] < 0.15 < found[50]
