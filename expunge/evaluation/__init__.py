"""Evidence that a model forgot: checks with controls and power, the gate, and their formats.

The names below load on first use, so that the formats alone cost no scientific imports.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from expunge.evaluation.checks import CHECKS, Check, register_check, run_checks
    from expunge.evaluation.evidence import CheckResult, Evidence, GateDecision, RequestEvidence
    from expunge.evaluation.gate import decide
    from expunge.evaluation.influence import model_influence, residual_influence
    from expunge.evaluation.inputs import EvaluationInputs, PlantedSet
    from expunge.evaluation.settings import EvaluationSettings

_HOMES = {
    "CHECKS": "checks",
    "Check": "checks",
    "CheckResult": "evidence",
    "EvaluationInputs": "inputs",
    "EvaluationSettings": "settings",
    "Evidence": "evidence",
    "GateDecision": "evidence",
    "PlantedSet": "inputs",
    "RequestEvidence": "evidence",
    "decide": "gate",
    "model_influence": "influence",
    "register_check": "checks",
    "residual_influence": "influence",
    "run_checks": "checks",
}

__all__ = [
    "CHECKS", "Check", "CheckResult", "EvaluationInputs", "EvaluationSettings", "Evidence", "GateDecision",
    "PlantedSet", "RequestEvidence", "decide", "model_influence", "register_check", "residual_influence", "run_checks",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"expunge.evaluation.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
