"""Does each shipped model fit its records, repeat from its seed, and say in words when it does not fit?"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from expunge.errors import NotFoundError, UsageError
from expunge.functions import set_project_root
from expunge.models.registry import ModelSpec, build_model, uses_batch_statistics

SPECS = {
    "mlp on vectors": ModelSpec("mlp", (64,), 10),
    "mlp on images": ModelSpec("mlp", (1, 28, 28), 10, options={"hidden": [32, 16]}),
    "small_cnn on images": ModelSpec("small_cnn", (1, 28, 28), 10),
    "small_cnn on colour": ModelSpec("small_cnn", (3, 32, 32), 7, options={"width": 8, "groups": 2}),
    "small_cnn on square vectors": ModelSpec("small_cnn", (64,), 10),
    "resnet18 with GroupNorm": ModelSpec("resnet18", (3, 32, 32), 10),
    "resnet18 with BatchNorm": ModelSpec("resnet18", (3, 32, 32), 10, options={"norm": "batch"}),
    "vit_small": ModelSpec("vit_small", (3, 32, 32), 10),
    "vit_small on grey": ModelSpec("vit_small", (28, 28), 7, options={"patch": 7, "width": 24, "depth": 2, "heads": 3}),
}


@pytest.mark.parametrize("case", SPECS)
def test_it_fits_and_repeats(case: str) -> None:
    spec = SPECS[case]
    before = torch.random.get_rng_state()
    model, again, other = build_model(spec, 5), build_model(spec, 5), build_model(spec, 6)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert model.training and model(torch.rand(3, *spec.in_shape)).shape == (3, spec.classes)
    assert ModelSpec.from_dict(spec.to_dict()) == ModelSpec(**{**vars(spec), "options": dict(spec.options)})


def test_resnet18_is_torchvisions_with_a_stem_for_32x32() -> None:
    group, batch = build_model(SPECS["resnet18 with GroupNorm"]), build_model(SPECS["resnet18 with BatchNorm"])
    assert uses_batch_statistics(batch) and not uses_batch_statistics(group)
    assert any(isinstance(m, nn.GroupNorm) for m in group.modules())
    first = next(m for m in group.modules() if isinstance(m, nn.Conv2d))
    assert first.stride == (1, 1) and first.kernel_size == (3, 3)
    assert not any(isinstance(m, nn.MaxPool2d) for m in group.modules())
    assert sum(p.numel() for p in group.parameters()) == sum(p.numel() for p in batch.parameters()) == 11_173_962


def test_vit_small_has_a_token_per_patch_and_learns_everywhere_from_the_first_step() -> None:
    model = build_model(SPECS["vit_small"])
    assert sum(p.numel() for p in model.parameters()) == 10_695_562
    tokens = {name: p.shape[1] for name, p in model.named_parameters() if name.endswith("pos_embedding")}
    assert list(tokens.values()) == [1 + 8 * 8]
    small = build_model(SPECS["vit_small on grey"])
    small(torch.rand(5, 28, 28)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in small.parameters())


def test_a_record_does_not_feel_its_batch_unless_the_norm_is_batch() -> None:
    x = torch.rand(4, 3, 32, 32)
    for case in ("resnet18 with GroupNorm", "resnet18 with BatchNorm", "vit_small"):
        model, alone_matters = build_model(SPECS[case]), "BatchNorm" in case
        with torch.no_grad():
            same = torch.allclose(model(x)[:2], model(x[:2]), atol=1e-4)
        assert same is not alone_matters


def test_threads_do_not_change_what_a_seed_gives() -> None:
    spec = SPECS["small_cnn on images"]
    alone = [build_model(spec, seed).state_dict() for seed in range(8)]
    made: dict[int, dict[str, torch.Tensor]] = {}

    def build(seed: int) -> None:
        made[seed] = build_model(spec, seed).state_dict()

    threads = [threading.Thread(target=build, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(8):
        assert all(torch.equal(alone[seed][name], made[seed][name]) for name in alone[seed])


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ModelSpec("resnet", (3, 32, 32), 10), "Did you mean 'resnet18'"),
        (ModelSpec("resnet18", (3, 32, 32), 10, options={"norm": "layer"}), "Choose group or batch"),
        (ModelSpec("vit_small", (3, 32, 32), 10, options={"patch": 5}), "5 x 5 pixels do not cover images of 32 x 32"),
        (ModelSpec("vit_small", (3, 32, 24), 10), "images of 32 x 24. It takes square images"),
        (ModelSpec("vit_small", (3, 32, 32), 10, options={"heads": 5}), "5 heads do not divide a width of 384"),
        (ModelSpec("mlp", (64,), 10, options={"hiden": [3]}), "Did you mean 'hidden'"),
        (ModelSpec("small_cnn", (63,), 10), "are no images"),
        (ModelSpec("small_cnn", (64,), 10, options={"width": 6, "groups": 4}), "cannot be built"),
        (ModelSpec("mine:wide", (4,), 3), r"shape \(2, 4\) for 2 records, but the data set has 3 classes"),
        (ModelSpec("mine:deaf", (4,), 3), "fails on records of shape"),
        (ModelSpec("mine:text", (4,), 3), "returned str"),
        (ModelSpec("mine:bare", (4,), 3), "Unknown option 'classes'"),
        (ModelSpec("mine:picky", (4,), 3), "needs depth"),
    ],
)
def test_a_model_that_does_not_fit(spec: ModelSpec, words: str, tmp_path: Path) -> None:
    set_project_root(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\n"
        "def wide(in_shape, classes):\n    return nn.Linear(in_shape[0], classes + 1)\n\n\n"
        "def deaf(in_shape, classes):\n    return nn.Linear(in_shape[0] + 1, classes)\n\n\n"
        "def text(in_shape, classes):\n    return 'a model'\n\n\n"
        "def bare(in_shape):\n    return nn.Linear(in_shape[0], 3)\n\n\n"
        "def picky(in_shape, classes, depth):\n    return nn.Linear(in_shape[0], 3)\n"
    )
    with pytest.raises(UsageError, match=words):
        build_model(spec)


def test_a_factory_of_ones_own(tmp_path: Path) -> None:
    set_project_root(tmp_path)
    (tmp_path / "tokens.py").write_text(
        "from torch import nn\n\n\n"
        "def make(in_shape, classes, words=50):\n"
        "    return nn.Sequential(nn.Embedding(words, 4), nn.Flatten(), nn.Linear(4 * in_shape[0], classes))\n"
    )
    model = build_model(ModelSpec("tokens:make", (6,), 3, integer_inputs=True))
    assert model(torch.randint(0, 50, (5, 6))).shape == (5, 3)
    with pytest.raises(NotFoundError, match="no function 'mak'"):
        build_model(ModelSpec("tokens:mak", (6,), 3))
