"""Does Gaussian noise look like Gaussian noise, and noise of another kind not?"""

import numpy as np
import pytest

from expunge.reproduction.implicit_noise.character import character

WIDTH, BATCHES = 4000, 24


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_isotropic_gaussian_noise_is_what_the_analysis_asks_for(rng: np.random.Generator) -> None:
    found = character(rng.normal(size=(BATCHES, WIDTH)), rng.normal(size=(50, WIDTH)))
    assert found.dimension == pytest.approx(1.0, abs=0.2)
    assert found.kurtosis == pytest.approx(0.0, abs=0.1)
    assert found.along == pytest.approx(1.0, abs=0.2)
    assert found.mean == pytest.approx(0.0, abs=0.01)
    assert found.untouched == found.seen_through == 0.0


def test_noise_in_ten_directions_is_found_in_ten(rng: np.random.Generator) -> None:
    errors = rng.normal(size=(BATCHES, 10)) @ rng.normal(size=(10, WIDTH))
    found = character(errors, errors[:5])
    assert found.dimension * WIDTH == pytest.approx(10, rel=0.4)
    assert found.along > 100  # these gradients lie where the noise is


def test_weights_that_no_error_touches_let_records_be_seen(rng: np.random.Generator) -> None:
    errors = rng.normal(size=(BATCHES, WIDTH))
    errors[:, : WIDTH // 4] = 0
    gradients = rng.normal(size=(10, WIDTH))
    gradients[:5, : WIDTH // 4] = 0
    found = character(errors, gradients)
    assert found.untouched == pytest.approx(0.25)
    assert found.seen_through == pytest.approx(0.5)


def test_a_mean_is_no_noise(rng: np.random.Generator) -> None:
    errors = rng.normal(size=WIDTH) + rng.normal(size=(BATCHES, WIDTH))
    assert character(errors, rng.normal(size=(5, WIDTH))).mean == pytest.approx(0.5, abs=0.05)


def test_errors_on_few_weights_have_heavy_tails(rng: np.random.Generator) -> None:
    errors = rng.normal(size=(BATCHES, WIDTH)) * (rng.random((BATCHES, WIDTH)) < 0.1)
    assert character(errors, rng.normal(size=(5, WIDTH))).kurtosis == pytest.approx(27, rel=0.1)
