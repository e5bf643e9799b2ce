"""A test could not tell: what would let it? More models, more records, or another way of forgetting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from expunge.evaluation.evidence import CheckResult, Evidence

ROUNDING = 1e-9
PLANTED = ("influence", "mia_loss", "mia_confidence", "mia_forest", "drift")  # checks that read a planted set
ENOUGH = 0.8  # share of half-forgotten models that a test must notice (METHOD section 7)


def what_to_do(check: CheckResult, evidence: Evidence) -> str:
    """What to do about a check without power, in a sentence without a full stop; nothing for one that could tell.

    Checks that know better say it in their details: `to_do` in words, or `models_needed`, `records_needed`.
    """
    if check.verdict != "no power" or "`expunge" in check.words:  # which says it already
        return ""
    details: Mapping[str, Any] = check.details
    own = details.get("to_do")
    if isinstance(own, str) and own:
        return own
    records, asked = _count(details.get("records")), _count(details.get("records_needed"))
    if check.statistic is None and asked and (records is None or records < asked):
        return f"answer requests together until they name {asked} records, or go by each record's own rank"
    for advice in (_models(check, evidence), _controls(check), _half(check, asked, records)):
        if advice:
            return advice
    if not check.controls:
        return ""
    asked = asked or _distance_needs(evidence)
    enough = f"about {asked} such records" if asked else "more records"
    sure = "of so few, only a retrained model (planning.method=retrain) is sure to know nothing"
    return f"answer {enough} together; {sure}"


def _distance_needs(evidence: Evidence) -> int | None:
    """What the check of the distance says: it is the most sensitive one."""
    return next((_count(c.details.get("records_needed")) for c in evidence.checks if c.name == "influence"), None)


def _models(check: CheckResult, evidence: Evidence) -> str:
    models = _count(check.details.get("models_needed"))
    if models:
        return f"train about {models} shadow models (`expunge evaluate --shadows {models}`)"
    level, count = check.details.get("level"), evidence.oracles.count
    if isinstance(level, float) and 0 < level < 1:
        needed = math.ceil(1 / level - ROUNDING) - 1
        if count < needed:
            return f"train {needed} oracles (evaluation.verdict_oracles={needed}; there were {count})"
    return ""


def _controls(check: CheckResult) -> str:
    oracle = check.controls.get("oracle")
    if oracle is not None and oracle.of == 0:
        return "hold oracles back as a control (evaluation.held_back=5)"
    if oracle is not None and not oracle.holds:
        return "do not trust this test here: it fails models that never saw the records"
    constant = check.controls.get("constant")
    if constant is not None and not constant.holds:
        return "hold out more records (data.held_out): even a useless model could not be told apart"
    return ""


def _half(check: CheckResult, asked: int | None, records: int | None) -> str:
    original = check.controls.get("original")
    if original is None or not original.holds:
        if original is not None and not original.note:
            if check.name not in PLANTED:
                return "go by the other checks: this one does not see that the original remembers"
            return "calibrate the model (`expunge calibrate`): its planted set shows whether this test could see more"
        return ""
    seen = check.power.not_pass_given_half
    if check.power.models == 0:
        return "train models that keep half of the records (evaluation.half_kept=10): they show what the test can see"
    if seen is not None and seen < ENOUGH - ROUNDING:
        more = f"answer about {asked} such records together" if asked and asked > (records or 0) else ""
        models = "train more oracles (evaluation.verdict_oracles)"
        return f"{more}, or {models}" if more else models
    return ""


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None
