"""Which artifacts does a pipeline start from? Those of a model version, by name."""

from __future__ import annotations

from typing import Any

from adapters import artifacts, prefixes
from expunge.errors import NotFoundError
from expunge.settings import ProjectSettings

_MADE_BY = {
    "privacy_losses": "`expunge score`",
    "gradient_norms": "`expunge score`",
    "budget_predictor": "`expunge calibrate`",
    "planted_outputs": "`expunge calibrate`",
    "reference_pool": "`expunge calibrate`",
}


def optional(name: str, model_version: str) -> Any | None:
    """The newest artifact of that name of a model version, or None."""
    return artifacts.newest(name, model_version_id=model_version)


def required(name: str, model_version: str) -> Any:
    """The same. Raises NotFoundError saying what makes it."""
    found = optional(name, model_version)
    if found is None:
        maker = _MADE_BY.get(name, "`expunge train`")
        raise NotFoundError(f"The model has no {name.replace('_', ' ')}.", f"Run {maker} first.")
    return found


def lent(model_version: str) -> dict[str, Any]:
    """The restricted prefix that a rewind of this version may start in, for a step that takes one; else nothing."""
    found = prefixes.before(model_version)
    return {} if found is None else {"rewind_prefix": found.version}


def judging_inputs(model_version: str, settings: ProjectSettings) -> dict[str, Any]:
    """What calibration left to judge with. Raises NotFoundError at level pool without a reference pool."""
    needed = settings.evaluation.evidence_level == "pool"
    found = {
        "planted_outputs": optional("planted_outputs", model_version),
        "reference_pool": (required if needed else optional)("reference_pool", model_version),
    }
    return {name: version for name, version in found.items() if version is not None}
