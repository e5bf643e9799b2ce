"""Are a trained trajectory's norms those of autograd at each checkpoint, its losses the formula's, its label honest?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gradient_cases import oracle
from scipy.special import comb, logsumexp

from expunge.data import RecordTable
from expunge.data.record_table import make_table
from expunge.errors import ExpungeError, IntegrityError, NotFoundError, UsageError
from expunge.models import ModelSpec, build_model
from expunge.privacy import (
    GradientNorms,
    ScoringOptions,
    compose,
    sampled_gaussian_divergence,
    score_trajectory,
    trajectory_losses,
)
from expunge.training import NoiseConfig, TrainingConfig, Trajectory, train

SPEC = ModelSpec("mlp", (6,), 3, options={"hidden": [8]})
N, T = 40, 24


@pytest.fixture(scope="module")
def table() -> RecordTable:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, N)
    features = rng.normal(size=(N, 6)) + targets[:, None]
    return make_table(
        features=features, targets=targets, record_ids=[f"r{i:02d}" for i in range(N)], classes=3, name="made"
    )


def config(**changes: Any) -> TrainingConfig:
    noise = NoiseConfig(convention="langevin", sigma=0.02)
    return TrainingConfig(
        **{"steps": T, "batch_size": 8, "learning_rate": 0.3, "noise": noise, "checkpoints": 5} | changes
    )


@pytest.fixture(scope="module")
def trained(table: RecordTable, tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    return train(SPEC, table, config(schedule={"kind": "cosine", "floor": 0.1}), tmp_path_factory.mktemp("run"))


def by_autograd(trajectory: Trajectory, table: RecordTable) -> np.ndarray:
    """Norms of the records of `table` at every kept checkpoint, one backward pass each, in float64."""
    columns = []
    for checkpoint in trajectory.kept:
        model = build_model(trajectory.model_spec)
        model.load_state_dict(trajectory.state(checkpoint).model_state())
        columns.append(oracle(model, torch.from_numpy(table.features), torch.from_numpy(table.targets)).numpy())
    return np.stack(columns, axis=1)


def test_norms_are_those_of_autograd_at_every_checkpoint(trained: Trajectory, table: RecordTable) -> None:
    calls: list[tuple[int, int]] = []
    options = ScoringOptions(batch=16, block=16)
    got = score_trajectory(trained, table, options=options, progress=lambda done, of: calls.append((done, of)))
    assert got.record_ids == table.record_ids and got.steps == (0, 6, 12, 17, 23)
    np.testing.assert_allclose(got.norms, by_autograd(trained, table), rtol=1e-5)
    assert calls == [(40 * i + done, 200) for i in range(5) for done in (16, 32, 40)]
    assert got.settings["loss"] == "cross_entropy" and got.settings["mode"] == "eval"


def test_records_outside_the_run_are_not_scored_and_missing_ones_are_named(
    trained: Trajectory, table: RecordTable
) -> None:
    part = replace(trained, record_ids=("r03", "r01"))
    got = score_trajectory(part, table)
    assert got.record_ids == ("r01", "r03")
    whole = score_trajectory(trained, table).select(["r01", "r03"])
    np.testing.assert_allclose(got.norms, whole.norms, rtol=1e-6)  # other batches round otherwise
    with pytest.raises(NotFoundError, match="'r01'"):
        score_trajectory(trained, table.without(["r01"]))


def test_losses_are_the_binomial_formula_with_trapezoid_widths(trained: Trajectory, table: RecordTable) -> None:
    made = trajectory_losses(score_trajectory(trained, table), trained, order=4, r0=1.0)
    q, k = 8 / N, np.arange(5)
    gaps = np.diff([0, 6, 12, 17, 23])
    widths = (np.r_[gaps, 0] + np.r_[0, gaps]) / 2 * T / (T - 1)
    norms, expected = by_autograd(trained, table), np.zeros(N)
    for column, (width, step) in enumerate(zip(widths, (0, 6, 12, 17, 23), strict=True)):
        eta = 0.3 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * step / T)))
        ratio = norms[:, column] / (8 * 0.02 * np.sqrt(2 / eta))  # METHOD section 1, langevin
        terms = np.log(comb(4, k) * (1 - q) ** (4 - k) * q**k) + (k * k - k) * ratio[:, None] ** 2 / 2
        expected += width * logsumexp(terms, axis=1) / 3
    np.testing.assert_allclose(made.total, expected, rtol=1e-4)
    np.testing.assert_array_equal(made.cumulative[:, -1], made.total)
    assert made.label == "score" and made.reasons == () and made.order == 4.0
    assert made.settings["total_steps"] == T and made.settings["q"] == [q] * 5


def test_after_a_rewind_the_stored_norms_stand_in_for_the_destroyed_checkpoints(
    trained: Trajectory, table: RecordTable, tmp_path: Path
) -> None:
    old = score_trajectory(trained, table)
    retain = table.without(["r05", "r17"])
    rewound = train(
        SPEC, retain, trained.config, tmp_path, start=(12, trained.state(trained.at(12))), sampling_rate=8 / N
    ).following(trained, 13)
    assert [c.destroyed for c in rewound.checkpoints] == [True, True, True, False, False]
    got = score_trajectory(rewound, table, old)
    assert got.steps == old.steps and got.record_ids == retain.record_ids
    np.testing.assert_array_equal(got.norms[:, :3], old.select(retain.record_ids).norms[:, :3])
    np.testing.assert_allclose(got.norms[:, 3:], by_autograd(rewound, retain), rtol=1e-5)
    assert np.abs(got.norms[:, 3:] - old.select(retain.record_ids).norms[:, 3:]).max() > 1e-3
    assert len(trajectory_losses(got, rewound, 8, 1.0)) == N - 2
    with pytest.raises(UsageError, match="step 0 was destroyed"):
        score_trajectory(rewound, table)
    with pytest.raises(NotFoundError, match="'r00'"):
        score_trajectory(rewound, table, old.without(["r00"]))


def test_norms_of_another_trajectory_and_changed_files_are_refused(
    trained: Trajectory, table: RecordTable, tmp_path: Path
) -> None:
    norms = score_trajectory(trained, table)
    with pytest.raises(UsageError, match="different checkpoints"):
        trajectory_losses(GradientNorms(norms.norms[:, :2], norms.record_ids, norms.steps[:2]), trained, 8, 1.0)
    with pytest.raises(IntegrityError):
        score_trajectory(trained.at_directory(tmp_path), table)


def test_norms_that_are_not_finite_name_the_step_and_the_records(trained: Trajectory, table: RecordTable) -> None:
    features = table.features.copy()
    features[7] = np.inf
    with pytest.raises(ExpungeError, match="not finite at step 0: 'r07'"):
        score_trajectory(trained, replace(table, features=features))


def test_plain_sgd_is_scored_under_an_assumed_noise_with_its_rank_stability(table: RecordTable, tmp_path: Path) -> None:
    run = train(SPEC, table, config(noise=NoiseConfig(convention="implicit")), tmp_path)
    norms = score_trajectory(run, table)
    made = trajectory_losses(norms, run, 8, r0=2.0)
    assert made.label == "heuristic" and "only assumed" in made.reasons[0]
    assert made.settings["s"] == pytest.approx([np.median(norms.norms) / 2.0] * 5)
    assert made.settings["assumed_r0"] == 2.0
    assert set(made.settings["rank_stability"]) == {"0.3 vs 1", "0.3 vs 3", "1 vs 3"}


def test_where_training_clips_the_loss_is_that_of_clipped_gradients(table: RecordTable, tmp_path: Path) -> None:
    noise = NoiseConfig(convention="dp_sgd", noise_multiplier=2.0, clip=1.0)
    run = train(SPEC, table, config(noise=noise), tmp_path)
    norms = score_trajectory(run, table)
    assert (norms.norms > 1.0).any() and (norms.norms < 1.0).any()
    made = trajectory_losses(norms, run, 8, 1.0)
    clipped = GradientNorms(np.minimum(norms.norms, 1.0), norms.record_ids, norms.steps)
    expected = compose(clipped.norms, 2.0, 8 / N, norms.steps, T, 8).total
    np.testing.assert_allclose(made.total, expected, rtol=1e-12)
    # s = z C, so no step can cost more than a gradient of norm C does
    most = T * sampled_gaussian_divergence(8, 8 / N, 1 / 2.0)
    assert made.total.max() <= most * (1 + 1e-12) < compose(norms.norms, 2.0, 8 / N, norms.steps, T, 8).total.max()
    assert made.settings["clip"] == 1.0 and made.label == "score"


@pytest.mark.parametrize(
    ("spec", "changes", "reason"),
    [
        (SPEC, {"batches": "shuffled"}, "shuffled"),
        (SPEC, {"momentum": 0.9}, "momentum"),
        (ModelSpec("resnet18", (1, 4, 4), 3, options={"norm": "batch"}), {"steps": 2, "checkpoints": 2}, "BatchNorm"),
    ],
)
def test_training_that_the_formula_does_not_describe_is_labelled_heuristic(
    spec: ModelSpec, changes: dict[str, Any], reason: str, table: RecordTable, tmp_path: Path
) -> None:
    if spec.in_shape != (6,):
        table = replace(table, features=np.resize(table.features, (N, *spec.in_shape)))
    run = train(spec, table, config(**changes), tmp_path)
    made = trajectory_losses(score_trajectory(run, table), run, 8, 1.0)
    assert made.label == "heuristic" and any(reason in text for text in made.reasons)


def test_after_fine_tuning_every_column_is_from_before(trained: Trajectory, table: RecordTable, tmp_path: Path) -> None:
    old = score_trajectory(trained, table)
    retain = table.without(["r05"])
    tuned = replace(
        trained,
        record_ids=retain.record_ids,
        checkpoints=tuple(replace(c, destroyed=True) for c in trained.checkpoints),
    )
    got = score_trajectory(tuned, table, old)
    assert got.steps == old.steps and got.record_ids == retain.record_ids
    np.testing.assert_array_equal(got.norms, old.select(retain.record_ids).norms)
    assert got.settings["from_before"]["through_step"] == 23
    assert len(trajectory_losses(got, tuned, 8, 1.0)) == N - 1
