"""Is every shipped configuration valid, and every mistake in one answered with the place and the nearest name?"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from expunge.data import LOADERS
from expunge.errors import NotFoundError, UsageError
from expunge.functions import check_options
from expunge.models import MODELS, ModelSpec, build_model
from expunge.settings import load_settings

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
MINIMAL = """
data: {name: digits}
model: {name: mlp, registered_as: m}
training: {steps: 10, batch_size: 4, learning_rate: 0.1, noise: {convention: mean_gradient, sigma: 0.1}}
"""


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_what_ships_is_valid(path: Path) -> None:
    assert load_settings(path).training.checkpoints == (10 if path.stem == "week" else 35)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_what_ships_names_loaders_and_models_with_options_that_they_take(path: Path) -> None:
    settings = load_settings(path, ["data.options.limit=10"] if path.stem not in ("digits", "week") else [])
    check_options(settings.data.name, LOADERS[settings.data.name], settings.data.options)
    check_options(
        settings.model.name, MODELS[settings.model.name], {"in_shape": 0, "classes": 0, **settings.model.options}
    )


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_colour_images_take_a_folder_a_device_and_the_commented_vit(name: str) -> None:
    path = next(path for path in CONFIGS if path.stem == name)
    given = ["data.options.data_dir=/mnt/data", "device=cuda"]
    settings = load_settings(path, given)
    assert settings.data.options == {"published_split": True, "data_dir": "/mnt/data"} and settings.device == "cuda"
    commented = [line.removeprefix("# ") for line in path.read_text().splitlines()]
    start = commented.index("model:", commented.index("model:") + 1)
    options = yaml.safe_load("\n".join(commented[start : start + 4]))["model"]
    assert load_settings(path, [f"model={options}"]).model.name == "vit_small"
    spec = ModelSpec("vit_small", (3, 32, 32), 10, options=options["options"])
    assert sum(p.numel() for p in build_model(spec).parameters()) == 10_695_562


def test_an_override_changes_one_number_and_the_digest(minimal: Path) -> None:
    plain, changed = load_settings(minimal), load_settings(minimal, ["training.steps=20", "data.held_out=0.3"])
    assert (plain.training.steps, changed.training.steps, changed.data.held_out) == (10, 20, 0.3)
    assert plain.digest() != changed.digest()
    assert load_settings(minimal, ["training.steps=10"]).digest() == plain.digest()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.stps=3", "unknown key 'training.stps'.*Did you mean 'steps'"),
        ("planing.target=0.1", "unknown key 'planing'.*Did you mean 'planning'"),
        ("training.noise.sgma=1", "training.noise"),
        ("training.steps=0", "training.steps"),
        ("training.steps=many", "training.steps.*'many'"),
        ("data.held_out=1", "data.held_out"),
        ("model.registered_as=a/b", "letters, digits"),
        ("evaluation.gating=[a, b, c, d]", "evaluation.gating"),
        ("deletion.purge_prefix=keep", "deletion.purge_prefix"),
        ("device=tpu", "device"),
        ("data.name.more=1", "no section"),
        ("=3", "key.path=value"),
    ],
)
def test_a_mistake_is_placed(minimal: Path, override: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_settings(minimal, [override])


def test_files_that_hold_no_settings(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "torn.yaml").write_text("data: {name: digits\n")
    with pytest.raises(UsageError, match="holds no settings"):
        load_settings(tmp_path / "list.yaml")
    with pytest.raises(UsageError, match="not valid YAML"):
        load_settings(tmp_path / "torn.yaml")
    with pytest.raises(NotFoundError, match="No configuration"):
        load_settings(tmp_path / "none.yaml")
