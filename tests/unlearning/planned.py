"""A small calibrated model, pilots that tell in place of its few, and its plans: what tests of planning stand on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from expunge.data import load_records
from expunge.models import ModelSpec
from expunge.privacy.forget_sets import build_forget_set
from expunge.privacy.trajectory_scores import score_trajectory, trajectory_losses
from expunge.training import TrainingConfig, train
from expunge.unlearning.calibration import CalibrationSettings, calibrate
from expunge.unlearning.candidates import PlanningSettings
from expunge.unlearning.pilots import PilotCandidate, PilotSet
from expunge.unlearning.planner import make_plan
from expunge.unlearning.predictor import BudgetPredictor

SMALL = CalibrationSettings(
    bins=(0, 20, 100),
    set_size=12,
    oracles=5,
    runs=1,
    rewind_shares=(0.3, 0.6),
    strengths=(0.5,),
    fine_tune_shares=(0.5,),
)


def calibrated_world(folder: Path) -> dict[str, Any]:
    """300 digits, a model of them with its trajectory, scores and calibration, and the 15 hardest records."""
    whole = load_records("digits")
    table = whole.select(whole.record_ids[:300])
    spec = ModelSpec("mlp", tuple(table.features.shape[1:]), table.classes, options={"hidden": [8]})
    config = TrainingConfig.model_validate(
        {"steps": 60, "batch_size": 30, "learning_rate": 0.3, "checkpoints": 10,
         "noise": {"convention": "mean_gradient", "sigma": 0.02}}
    )  # fmt: skip
    trajectory = train(spec, table, config, folder)
    losses = trajectory_losses(score_trajectory(trajectory, table), trajectory, 8, 1.0)
    predictor, planted = calibrate(
        trajectory, table, losses, SMALL, target=0.1, planted_oracles=20, planted_held_back=3, seed=1
    )
    hard = build_forget_set("hardest", losses, size=15)
    return {"table": table, "trajectory": trajectory, "losses": losses, "predictor": predictor, "planted": planted,
            "hard": hard}  # fmt: skip


def left_of(point: int) -> float:
    """What a plain rewind to a step of 60 leaves: the less, the more training follows."""
    return -0.3 * float(np.log((60 - point) / 60))


def known(world: dict[str, Any], visible_size: int = 1, slope: float = 0.0, energy: float = 2.0) -> BudgetPredictor:
    """Pilots that tell, in place of the few small ones: of them a rewind leaves `left_of`, an unrolled one half of it.

    slope: what a factor e of privacy loss adds to all of them.
    """
    trajectory, losses = world["trajectory"], world["losses"]
    points = [c.step for c in trajectory.kept if 0 < c.step < 60]
    middle, pilots = float(np.median(losses.total)), []
    for k, factor in enumerate(np.geomspace(0.2, 5, 12)):
        made = [
            PilotCandidate(
                method="rewind" if strength is None else "unrolled_rewind", amount=point, strength=strength,
                steps=60 - point, cost=1 - point / 60 + (0.02 if strength else 0.0), excess=0.0,
                influence=left_of(point) * (0.5 if strength else 1) + slope * float(np.log(factor / 0.2)),
            )
            for strength in (None, 0.5) for point in points
        ]  # fmt: skip
        pilots.append(PilotSet(name=f"{k}", size=12, mean_loss=middle * factor, energy=energy, candidates=tuple(made)))
    given = {"pilots": tuple(pilots), "spent": (), "visible_size": visible_size}
    return BudgetPredictor.model_validate({**world["predictor"].model_dump(), **given})


def plan(world: dict[str, Any], **given: Any) -> Any:
    options = {"predictor": world["predictor"], "settings": PlanningSettings(), **given}
    return make_plan(
        options.pop("forget", world["hard"]), {}, world["losses"], world["trajectory"], options.pop("predictor"),
        options.pop("settings"), model_version="m 1", **options,
    )  # fmt: skip
