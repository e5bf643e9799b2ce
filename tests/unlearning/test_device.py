"""Does the device reach everything that trains or predicts? Asked with a device that holds no numbers: each refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expunge.data import RecordTable, load_records
from expunge.errors import UsageError
from expunge.evaluation.inputs import EvaluationInputs
from expunge.models import ModelSpec
from expunge.privacy.trajectory_scores import score_trajectory, trajectory_losses
from expunge.training import TrainingConfig, Trajectory, train
from expunge.unlearning.barriers import measure_barriers
from expunge.unlearning.calibration import CalibrationSettings, calibrate
from expunge.unlearning.forgetting import forget
from expunge.unlearning.judging import evaluation_inputs
from expunge.unlearning.methods import METHODS, Procedure, apply
from expunge.unlearning.plan import UnlearningPlan
from expunge.unlearning.reference_pool import train_pool
from expunge.unlearning.references import cross_fitted_logits, train_references
from expunge.unlearning.runner import unlearn
from expunge.unlearning.shadow_models import train_shadows
from expunge.unlearning.stopping import LookReference

CONFIG = TrainingConfig.model_validate(
    {"steps": 20, "batch_size": 20, "learning_rate": 0.3, "checkpoints": 4,
     "noise": {"convention": "mean_gradient", "sigma": 0.02}}
)  # fmt: skip
SPEC = ModelSpec("mlp", (64,), 10, options={"hidden": [6]})
NOWHERE = pytest.raises((RuntimeError, NotImplementedError, UserWarning), match="meta")


@pytest.fixture(scope="module")
def table() -> RecordTable:
    whole = load_records("digits")
    return whole.select(whole.record_ids[:120])


@pytest.fixture(scope="module")
def trajectory(table: RecordTable, tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    return train(SPEC, table, CONFIG, tmp_path_factory.mktemp("original"))


@pytest.fixture
def nowhere(trajectory: Trajectory) -> Procedure:
    return Procedure.of(trajectory, "meta")


def plan(method: str, trajectory: Trajectory) -> UnlearningPlan:
    rewinds = (trajectory.kept[1].step,) if method == "rewind" else ()
    return UnlearningPlan(
        model_version="m 1", requests=(), forget_records=5, retain_records=115, set_kind="random", set_loss=None,
        method=method, predicted_steps=10, predicted_interval=(5, 15), interval_note="", budget_steps=10,
        retrain_steps=20, predicted_cost=0.5, attempts=rewinds, target=0.1, reason="",
    )  # fmt: skip


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_named(trajectory: Trajectory, device: str) -> None:
    with pytest.raises(UsageError, match=f"Device '{device}' cannot be used here"):
        Procedure.of(trajectory, device)


def test_reference_models_train_there(nowhere: Procedure, table: RecordTable) -> None:
    ids = table.record_ids
    with NOWHERE:
        train_references(nowhere, table, ids, ids[:5], {"verdict": 2}, 1)
    with NOWHERE:
        cross_fitted_logits(nowhere, table, 2, 1, 1)
    with NOWHERE:
        train_pool(nowhere, table, ids, models=4, seed=1)
    with NOWHERE:
        train_shadows(nowhere, table, ids, ids[:5], ids[5:10], "retrain", 0, models=4, seed=1)


@pytest.mark.parametrize("method", ["rewind", "fine_tune", "noisy_fine_tune", "retrain"])
def test_unlearning_happens_there(trajectory: Trajectory, table: RecordTable, tmp_path: Path, method: str) -> None:
    amount = {"rewind": trajectory.kept[1].step, "retrain": 0}.get(method, 5)
    with NOWHERE:
        apply(METHODS[method], trajectory, table, amount, 1, tmp_path / "apply", {}, device="meta")
    gone = table.record_ids[:5]
    retain, chosen = table.without(gone), table.select(gone)
    outputs = np.zeros((5, 10), dtype=np.float32)
    reference = LookReference(SPEC, chosen, outputs, np.stack([outputs] * 5), 0.1, 0.05)
    with NOWHERE:
        unlearn(
            plan(method, trajectory), trajectory, retain, reference, tmp_path / "run", seed=1, facts={}, device="meta"
        )
    with NOWHERE:
        forget(
            plan(method, trajectory), trajectory, table, retain, gone, tmp_path / "forget",
            look_oracles=5, level=0.05, seed=1, facts={}, device="meta",
        )  # fmt: skip


def test_looks_predict_there(trajectory: Trajectory, table: RecordTable) -> None:
    chosen, outputs = table.select(table.record_ids[:5]), np.zeros((5, 10), dtype=np.float32)
    reference = LookReference(SPEC, chosen, outputs, np.stack([outputs] * 5), 0.1, 0.05, "meta")
    with NOWHERE:
        reference.look(trajectory.state(trajectory.final).model_state(), 1, 0)


def test_calibration_trains_there(trajectory: Trajectory, table: RecordTable, monkeypatch: pytest.MonkeyPatch) -> None:
    from expunge.unlearning import calibration

    asked: dict[str, Any] = {"target": 0.1, "planted_oracles": 4, "planted_held_back": 1, "seed": 1}
    losses = trajectory_losses(score_trajectory(trajectory, table), trajectory, 8, 1.0)
    sizes = CalibrationSettings(bins=(0, 100), set_size=5, oracles=3, runs=1)
    with NOWHERE:
        calibrate(trajectory, table, losses, sizes, device="meta", **asked)
    # And past the first prediction, the oracles of the pilot sets:
    monkeypatch.setattr(calibration, "predict", lambda *given: np.zeros((120, 10), dtype=np.float32))
    with NOWHERE:
        calibrate(trajectory, table, losses, sizes, device="meta", **asked)


def test_judging_predicts_there(
    trajectory: Trajectory, nowhere: Procedure, table: RecordTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = table.record_ids
    state = trajectory.state(trajectory.final).model_state()
    here = train_references(Procedure.of(trajectory), table, ids[:100], ids[:5], {"verdict": 3}, 1, keep={"verdict": 3})

    def judge(procedure: Procedure) -> EvaluationInputs:
        return evaluation_inputs(
            procedure, table, training_ids=ids[:100], forget_ids=ids[:5], requests={}, original=state,
            unlearned=here.states["verdict"][0], references=here, look_ids=(),
            cross_fitted=np.zeros((1, 120, 10), dtype=np.float32), planted=None,
        )  # fmt: skip

    with NOWHERE:
        judge(nowhere)
    with NOWHERE:
        measure_barriers(nowhere, state, state, here.states["verdict"], table, table, pairs=1)
