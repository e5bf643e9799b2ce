"""Forget pilot sets in every candidate way, compare with oracles, fit the budget predictor.

Its cost is that of the whole calibration: the reference pool is in it.
"""

from typing import Annotated

from zenml import step

from adapters.prefixes import lent_to
from adapters.progress import announce
from expunge.data import RecordTable
from expunge.privacy.scores import PrivacyLosses
from expunge.settings import ProjectSettings
from expunge.training import Trajectory
from expunge.unlearning.calibration import CalibrationSettings, PlantedOutputs, calibrate
from expunge.unlearning.predictor import BudgetPredictor
from expunge.unlearning.reference_pool import pool_cost
from expunge.unlearning.rewind_prefix import RewindPrefix
from steps.evaluation.settings import evaluation_settings


@step(enable_cache=False)
def calibrate_budget(
    trajectory: Trajectory,
    privacy_losses: PrivacyLosses,
    training_records: RecordTable,
    settings: ProjectSettings,
    rewind_prefix: RewindPrefix | None = None,
) -> tuple[Annotated[BudgetPredictor, "budget_predictor"], Annotated[PlantedOutputs, "planted_outputs"]]:
    own = settings.evaluation
    sizes = settings.calibration.model_dump(exclude={"seed"})
    gating = evaluation_settings(settings).gating_at(own.evidence_level)
    predictor, planted = calibrate(
        lent_to(trajectory, rewind_prefix),
        training_records,
        privacy_losses,
        CalibrationSettings(**sizes),
        target=settings.planning.target,
        planted_oracles=own.verdict_oracles,
        planted_held_back=own.held_back,
        level=own.level / max(1, len(gating)),
        seed=settings.calibration.seed,
        device=settings.device,
        report=announce,
    )
    pool = pool_cost(own.pool_models, own.pool_left_out)
    predictor = predictor.model_copy(update={"cost": predictor.cost + pool})
    # ZenML counts the outputs in this line.
    return predictor, planted
