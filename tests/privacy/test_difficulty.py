"""Do the difficulty baselines give the numbers of their definitions, larger for harder records?"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.record_table import make_table
from expunge.errors import UsageError
from expunge.models import ModelSpec, build_model
from expunge.privacy import BASELINES, find_baseline, trajectory_logits
from expunge.privacy.difficulty import (
    average_gradient_norm,
    c_proxy,
    el2n,
    final_gradient_norm,
    grand,
    held_out_loss,
    random_difficulty,
)
from expunge.training import NoiseConfig, TrainingConfig, train

HALF = math.log(3)  # softmax([ln 3, 0]) = [3/4, 1/4]


def test_gradient_norm_baselines_are_averages_of_norms() -> None:
    norms = np.array([[1.0, 2.0, 6.0], [0.0, 4.0, 2.0]], dtype=np.float32)
    assert average_gradient_norm(norms).tolist() == [3.0, 2.0]
    assert final_gradient_norm(torch.from_numpy(norms)).tolist() == [6.0, 2.0]
    assert grand([[1.0, 5.0], [3.0, 7.0]]).tolist() == [2.0, 6.0]  # two seeds, two records


def test_el2n_is_the_distance_of_the_probabilities_from_the_label() -> None:
    logits = np.array([[[HALF, 0.0], [HALF, 0.0], [0.0, 0.0]], [[0.0, 0.0], [HALF, 0.0], [0.0, 0.0]]])
    got = el2n(logits, np.array([0, 1, 0]))
    np.testing.assert_allclose(got, [(math.sqrt(2) / 4 + math.sqrt(2) / 2) / 2, math.sqrt(2) * 3 / 4, math.sqrt(0.5)])
    certain = el2n(np.array([[[800.0, -800.0], [-800.0, 800.0]]]), np.array([0, 0]))
    np.testing.assert_allclose(certain, [0.0, math.sqrt(2)], atol=1e-12)


def test_c_proxy_is_one_minus_the_average_probability_of_the_true_class() -> None:
    logits = np.array([[[HALF, 0.0], [HALF, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    np.testing.assert_allclose(c_proxy(logits, np.array([0, 1])), [1 - 0.625, 1 - 0.375])


def test_held_out_loss_leaves_out_the_models_that_saw_the_record() -> None:
    logits = np.array([[[HALF, 0.0]] * 3, [[0.0, 0.0]] * 3, [[0.0, HALF]] * 3])
    seen = np.array([[True, False, False], [False, False, True], [False, True, False]])
    got = held_out_loss(logits, np.array([0, 0, 1]), seen)
    first, second, third = math.log(4 / 3), math.log(2), math.log(4)
    np.testing.assert_allclose(got, [(second + third) / 2, (first + second) / 2, (third + math.log(4 / 3)) / 2])
    far = held_out_loss(np.array([[[0.0, 900.0]]]), np.array([0]), np.zeros((1, 1), dtype=bool))
    np.testing.assert_allclose(far, [900.0])
    seen[:, 1] = True
    with pytest.raises(UsageError, match="1 records were trained on by every model; the first is in row 1"):
        held_out_loss(logits, np.array([0, 0, 1]), seen)
    with pytest.raises(UsageError, match="trained_on"):
        held_out_loss(logits, np.array([0, 0, 1]), seen.astype(float))


def test_random_difficulty_depends_on_the_seed_alone() -> None:
    assert random_difficulty(5, 1).tolist() == random_difficulty(5, 1).tolist() != random_difficulty(5, 2).tolist()
    with pytest.raises(UsageError, match="records"):
        random_difficulty(-1, 0)


@given(st.lists(st.floats(-20, 20), min_size=3, max_size=3), st.floats(0.1, 5))
def test_a_lower_logit_of_the_true_class_is_harder_by_every_measure(logits: list[float], drop: float) -> None:
    easy = np.array([[logits]])
    hard = easy.copy()
    hard[0, 0, 1] -= drop
    at = np.array([1])
    for measure in (el2n, c_proxy, lambda x, y: held_out_loss(x, y, np.zeros((1, 1), dtype=bool))):
        assert measure(hard, at)[0] >= measure(easy, at)[0] - 1e-12
    assert held_out_loss(hard, at, np.zeros((1, 1), dtype=bool))[0] > -1e-12


def test_baselines_are_found_by_name() -> None:
    assert list(BASELINES) == [
        "average_gradient_norm", "final_gradient_norm", "grand", "el2n", "c_proxy", "held_out_loss", "random"
    ]  # fmt: skip
    assert find_baseline("el2n") is el2n
    with pytest.raises(UsageError, match="Did you mean 'el2n'"):
        find_baseline("el2m")
    with pytest.raises(TypeError):
        BASELINES["mine"] = el2n  # type: ignore[index]


def test_arrays_that_do_not_fit_are_named() -> None:
    logits, at = np.zeros((1, 2, 3)), np.array([0, 1])
    for call, message in (
        (lambda: average_gradient_norm(np.ones(3)), r"\[records, checkpoints\]"),
        (lambda: final_gradient_norm(np.ones((3, 0))), r"\[records, checkpoints\]"),
        (lambda: grand(np.array([[np.nan]])), "not finite"),
        (lambda: el2n(logits[0], at), "logits must have shape"),
        (lambda: el2n(logits, at[:1]), r"class numbers \[2\]"),
        (lambda: c_proxy(logits, np.array([0.0, 1.0])), "class numbers"),
        (lambda: c_proxy(logits, np.array([0, 3])), r"outside 0\.\.2"),
        (lambda: c_proxy(logits, np.array([-1, 0])), r"outside 0\.\.2"),
    ):
        with pytest.raises(UsageError, match=message):
            call()


def test_logits_along_a_trajectory_are_the_models_own_in_eval_mode(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = make_table(
        features=rng.normal(size=(30, 6)), targets=rng.integers(0, 3, 30), record_ids=[f"r{i}" for i in range(30)],
        classes=3, name="made",
    )  # fmt: skip
    noise = NoiseConfig(convention="langevin", sigma=0.02)
    config = TrainingConfig(steps=10, batch_size=8, learning_rate=0.3, noise=noise, checkpoints=3)
    run = train(ModelSpec("mlp", (6,), 3, options={"hidden": [8]}), table, config, tmp_path)
    got = trajectory_logits(run, table)
    assert got.shape == (3, 30, 3) and got.dtype == np.float32
    for c, checkpoint in enumerate(run.kept):
        model = build_model(run.model_spec)
        model.load_state_dict(run.state(checkpoint).model_state())
        with torch.no_grad():
            np.testing.assert_allclose(got[c], model.eval()(torch.from_numpy(table.features)).numpy(), rtol=1e-6)
    assert np.abs(got[0] - got[2]).max() > 1e-3
    assert c_proxy(got, table.targets).shape == (30,)
