"""The scenario's numbers as the evaluation takes them: levels and margins, models to train, checks to run."""

from __future__ import annotations

from expunge.evaluation.checks import usual_checks
from expunge.evaluation.evidence import Level
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.settings import EvaluationSettings
from expunge.settings import ProjectSettings

HALF_KEPT_BARRIERS = 5


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


def judge_counts(settings: ProjectSettings, level: Level | None = None) -> dict[str, int]:
    """How many models are retrained to judge, by purpose.

    Level pool gets only the half-kept models, that show its power: without them it can seldom pass anything.
    """
    sizes = settings.evaluation
    level = level or sizes.evidence_level
    if level == "oracle-free":
        return {}
    if level == "pool":
        return {"half_kept": sizes.half_kept}
    return {"verdict": sizes.verdict_oracles, "held_back": sizes.held_back, "half_kept": sizes.half_kept}


def weights_for_barriers(settings: ProjectSettings) -> dict[str, int]:
    """Whose weights are kept: two anchors, one held-back oracle and the pairs; some half-kept models for the power."""
    pairs = settings.evaluation.barrier_pairs
    return {"verdict": pairs + 3, "half_kept": HALF_KEPT_BARRIERS} if pairs else {}


def checks_at(settings: ProjectSettings, inputs: EvaluationInputs, level: Level) -> tuple[str, ...]:
    """The scenario's checks and those that gate; where it names none, the usual ones."""
    named = settings.evaluation.checks if level == settings.evaluation.evidence_level else None
    gating = evaluation_settings(settings).gating_at(level)
    return tuple(dict.fromkeys((*(named or usual_checks(inputs, level)), *gating)))
