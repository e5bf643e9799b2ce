"""The scenario's numbers as the evaluation takes them: levels and margins, models to train, checks to run."""

from __future__ import annotations

from expunge.evaluation.evidence import Level
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.settings import GATING_BELOW_ORACLE, EvaluationSettings
from expunge.settings import ProjectSettings

HALF_KEPT_BARRIERS = 5
CHECKS_AT: dict[Level, tuple[str, ...]] = {
    "oracle": (
        "influence", "influence_share", "mia_loss", "mia_confidence", "rmia", "utility", "drift",
        "calibration", "loss_barrier",
    ),
    "pool": ("pool_influence", "matched", "utility"),
    "oracle-free": ("matched", "utility"),
}  # fmt: skip


def evaluation_settings(settings: ProjectSettings, level: Level | None = None) -> EvaluationSettings:
    """Levels and margins of the scenario; what it does not set has the library's defaults.

    level: of the evidence, if another than the scenario's. What gates without oracles does not gate with them.
    """
    own = settings.evaluation
    gating = own.gating
    if gating and (level or own.evidence_level) == "oracle":
        gating = (
            tuple(name for name in gating if name not in GATING_BELOW_ORACLE.values()) or EvaluationSettings().gating
        )
    return EvaluationSettings(
        level=own.level,
        gating=gating,
        power_needed=own.power_needed,
        utility_margin=own.utility_margin,
        influence_margin=settings.planning.target,
        seed=own.seed,
    )


def level_of(inputs: EvaluationInputs) -> Level:
    """The highest level of evidence that these outputs can give."""
    if len(inputs.oracles):
        return "oracle"
    return "oracle-free" if inputs.pool is None else "pool"


def judge_counts(settings: ProjectSettings, level: Level | None = None) -> dict[str, int]:
    """How many models are retrained to judge, by purpose; none below level oracle."""
    sizes = settings.evaluation
    if (level or sizes.evidence_level) != "oracle":
        return {}
    return {"verdict": sizes.verdict_oracles, "held_back": sizes.held_back, "half_kept": sizes.half_kept}


def weights_for_barriers(settings: ProjectSettings) -> dict[str, int]:
    """Whose weights are kept: two anchors, one held-back oracle and the pairs; some half-kept models for the power."""
    pairs = settings.evaluation.barrier_pairs
    return {"verdict": pairs + 3, "half_kept": HALF_KEPT_BARRIERS} if pairs else {}


def checks_at(settings: ProjectSettings, inputs: EvaluationInputs, level: Level) -> tuple[str, ...]:
    """The scenario's checks and those that gate; where it names none, all that these outputs have something for."""
    named = settings.evaluation.checks if level == settings.evaluation.evidence_level else None
    lacking = {"rmia": inputs.pool is None, "loss_barrier": inputs.barriers is None}
    chosen = named or tuple(name for name in CHECKS_AT[level] if not lacking.get(name, False))
    return tuple(dict.fromkeys((*chosen, *evaluation_settings(settings, level).gating_at(level))))
