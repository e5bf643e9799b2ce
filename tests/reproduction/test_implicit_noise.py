"""Does the scenario say what a noise is worth, and does it find nothing where there is nothing?"""

from pathlib import Path

import numpy as np
import pytest

from expunge.errors import UsageError
from expunge.reproduction.config import ScenarioConfig, WorldConfig, load_scenario
from expunge.reproduction.findings import Findings
from expunge.reproduction.implicit_noise.arithmetic import threads
from expunge.reproduction.implicit_noise.worth import losses_at, median_loss, needed_noise
from expunge.reproduction.originals import Original, train_originals
from expunge.reproduction.registry import find_scenario
from expunge.reproduction.rules import conclude
from expunge.reproduction.work import Work
from expunge.reproduction.world import open_world

DECLARATION = Path(__file__).parents[2] / "configs" / "reproduce" / "implicit-noise.yaml"


@pytest.fixture(scope="module")
def full_batch(tmp_path_factory: pytest.TempPathFactory) -> Original:
    raw = {
        "data": {"name": "digits", "train": 60, "held_out": 20},
        "model": {"name": "mlp", "options": {"hidden": [8]}},
        "training": {
            "steps": 5, "batch_size": 60, "learning_rate": 0.1, "checkpoints": 5, "noise": {"convention": "implicit"},
        },
    }  # fmt: skip
    world = open_world("digits", WorldConfig.model_validate(raw), 0)
    with threads(1):
        return train_originals(world, Work(tmp_path_factory.mktemp("work"), "test", {}), 1)[0]


def test_a_full_batchs_loss_is_the_formula(full_batch: Original) -> None:
    expected = (
        8 * (full_batch.norms.norms.astype(np.float64) ** 2).sum(axis=1) / (2 * 0.3**2)
    )  # METHOD section 2, q = 1
    assert losses_at(full_batch, 0.3) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("nats", [1.0, 10.0, 1e9])
def test_the_needed_noise_gives_the_wanted_loss(full_batch: Original, nats: float) -> None:
    assert median_loss(full_batch, needed_noise(full_batch, nats)) == pytest.approx(nats, rel=1e-3)


def test_noise_of_the_size_of_rounding_is_worth_nothing(full_batch: Original) -> None:
    assert 1e9 < median_loss(full_batch, 1e-7) < np.inf


def _quick(*overrides: str) -> ScenarioConfig:
    return load_scenario(DECLARATION, quick=True, overrides=overrides, only=["digits"])


def test_training_with_noise_is_refused(tmp_path: Path) -> None:
    config = _quick("worlds.digits.training.noise={convention: mean_gradient, sigma: 0.01}")
    with pytest.raises(UsageError, match="adds noise"):
        find_scenario(config.scenario)(config, Work(tmp_path, "test", {}))


def test_a_gpu_is_no_reference(tmp_path: Path) -> None:
    config = _quick("worlds.digits.device=cuda")
    with pytest.raises(UsageError, match="single CPU thread"):
        find_scenario(config.scenario)(config, Work(tmp_path, "test", {}))


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    config = _quick("options.drawss=2")
    with pytest.raises(UsageError, match="drawss"):
        find_scenario(config.scenario)(config, Work(tmp_path, "test", {}))


def _measure(config: ScenarioConfig, folder: Path) -> tuple[Findings, list[str]]:
    said: list[str] = []
    work = Work(folder, "implicit-noise", {"config": config.digest()}, lambda what, done, of: said.append(what))
    return find_scenario(config.scenario)(config, work), said


@pytest.mark.slow
def test_the_quick_form_measures_all_that_the_rules_ask_for(tmp_path: Path) -> None:
    config = load_scenario(DECLARATION, quick=True)
    found, said = _measure(config, tmp_path)
    assert {verdict.verdict for verdict in conclude(config.rules, found, incomplete="a quick run")} == {"undecided"}
    for world in config.worlds:
        assert found.estimates[f"{world}: repeats that differ"].value == 0  # the null
        assert "s is 0" in found.not_estimable[f"{world}: same again: log10 s over the run"]
        assert found.estimates[f"{world}: float32: log10 s"].value < -4
        assert found.estimates[f"{world}: float32: log10 median loss"].value > 6
        # noise of known size, in one step: exactly what was put in
        for s in config.options["known"]:
            seen = found.estimates[f"{world}: known noise {s:g}: log10 s in one step"]
            assert seen.value == pytest.approx(np.log10(s), abs=0.02)
    assert all(any(series.kind.startswith("null") for series in figure.series) for figure in found.figures)
    assert all(np.isfinite([*series.x, *series.y]).all() for figure in found.figures for series in figure.series)
    assert [text.partition(":")[0] for text in found.answer] == list(config.worlds)
    assert said
    again, said_again = _measure(config, tmp_path)
    assert again == found and not [what for what in said_again if "norms" not in what]
