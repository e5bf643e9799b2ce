"""Forget pilot sets in every candidate way, compare with oracles, fit the budget predictor."""

from typing import Annotated

from zenml import step

from adapters.progress import announce
from expunge.data import RecordTable
from expunge.privacy.scores import PrivacyLosses
from expunge.settings import ProjectSettings
from expunge.training import Trajectory
from expunge.unlearning.calibration import CalibrationSettings, PlantedOutputs, calibrate
from expunge.unlearning.predictor import BudgetPredictor


@step(enable_cache=False)
def calibrate_budget(
    trajectory: Trajectory, privacy_losses: PrivacyLosses, training_records: RecordTable, settings: ProjectSettings
) -> tuple[Annotated[BudgetPredictor, "budget_predictor"], Annotated[PlantedOutputs, "planted_outputs"]]:
    sizes = settings.calibration.model_dump(exclude={"seed"})
    predictor, planted = calibrate(
        trajectory,
        training_records,
        privacy_losses,
        CalibrationSettings(**sizes),
        target=settings.planning.target,
        planted_oracles=settings.evaluation.verdict_oracles,
        planted_held_back=settings.evaluation.held_back,
        level=settings.evaluation.level / max(1, len(settings.evaluation.gating)),
        seed=settings.calibration.seed,
        report=announce,
    )
    # ZenML counts the outputs in this line.
    return predictor, planted
