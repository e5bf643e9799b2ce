"""The scenario's numbers as the evaluation takes them."""

from __future__ import annotations

from expunge.evaluation.settings import EvaluationSettings
from expunge.settings import ProjectSettings


def evaluation_settings(settings: ProjectSettings) -> EvaluationSettings:
    """Levels and margins of the scenario; what it does not set has the library's defaults."""
    own = settings.evaluation
    return EvaluationSettings(
        level=own.level,
        gating=own.gating,
        power_needed=own.power_needed,
        utility_margin=own.utility_margin,
        influence_margin=settings.planning.target,
        seed=own.seed,
    )
