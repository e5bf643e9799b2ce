"""The benchmark's pooled sums are those of the library's estimate, and a single set's are unbiased."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from expunge.evaluation.influence import residual_influence
from expunge.unlearning.pilot_energies import PilotReference

FILE = Path(__file__).parents[2] / "benchmarks" / "pareto_energies.py"
K, R, M = 5, 10, 30


@pytest.fixture(scope="module")
def energies() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pareto_energies", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def arms(seed: int, left: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """u [K, M], o [R, M], x [K, M] and further trained models [60, M]; runs carry their original's own noise."""
    rng = np.random.default_rng(seed)
    memory = rng.lognormal(0, 0.7, M)
    own = 0.5 * rng.standard_normal((K, M))

    def noise(count: int) -> np.ndarray:
        return rng.standard_normal((count, M)) + 0.5 * rng.standard_normal((count, 1))

    return left * memory + own + noise(K), noise(R), memory + own + noise(K), memory + noise(60)


def test_they_are_the_librarys_estimate_with_every_original_left_out_in_turn(energies: ModuleType) -> None:
    u, o, x, _ = arms(0)
    found = energies.energies(u, o, x)
    assert found.shape == (1 + K, 3)
    for place, kept in enumerate([np.arange(K), *(np.delete(np.arange(K), k) for k in range(K))]):
        told = residual_influence(u[kept], o, x[kept])
        np.testing.assert_allclose(
            found[place], M * np.array([told.cross, told.energy_unlearned, told.energy]), rtol=1e-9
        )
    stacked = energies.energies(np.stack([u, 2 * u]), o, x)
    np.testing.assert_allclose(stacked[0], found)


def test_over_sets_they_pool_to_a_ratio_of_sums(energies: ModuleType) -> None:
    parts = np.stack([energies.energies(*arms(seed)[:3]) for seed in range(12)])
    told = energies.pooled(parts)
    assert told.influence[0] == pytest.approx(parts[:, 0, 0].sum() / parts[:, 0, 2].sum())
    assert told.influence[1] < told.influence[0] < told.influence[2]
    assert told.worst == max(abs(told.influence[0]), told.excess[0])


def test_a_single_set_is_unbiased_and_sharper(energies: ModuleType) -> None:
    plain, single = [], []
    for seed in range(120):
        u, o, x, trained = arms(seed)
        c, s, e = energies.energies(u, o, x)[0]
        plain.append((c / e, s / e))
        c, s, e = energies.single_set(u, PilotReference.of(o, trained))
        single.append((c / e, s / e))
    means, spread = np.mean(single, axis=0), np.std(single, axis=0)
    assert abs(means[0] - 0.5) < 0.05 and abs(means[1] - 0.25) < 0.06
    assert spread[0] < 0.9 * np.std(plain, axis=0)[0]
