"""What is a person asked to approve? A plan in one paragraph, from the ledger alone."""

from __future__ import annotations

from collections.abc import Sequence

from expunge.compliance.rows import DeletionRun, Request

_METHODS = {
    "retrain": "train the model anew without them",
    "rewind": "go back to an earlier checkpoint and train on without them",
    "unrolled_rewind": "go back to an earlier checkpoint, take back what they had moved, and train on without them",
    "keep": "leave the model as it is, for little of them was remembered",
}


def in_words(run: DeletionRun, requests: Sequence[Request]) -> str:
    """One paragraph: how many requests and records, until when, how, at what cost, and why so."""
    plan = run.plan
    count, records = len(requests), plan["forget_records"]
    deadline = min(request.deadline for request in requests).isoformat() if requests else "-"
    how = _METHODS.get(plan["method"], f"use {plan['method'].replace('_', ' ')}")
    left = plan.get("predicted_left")
    predicted = "" if left is None else f"; about {left:.0%} of what the model knew of them is predicted to be left"
    second = f" A first attempt was refused: {run.fallback_reason}." if run.fallback_reason else ""
    return (
        f"{count} request{'' if count == 1 else 's'} with {records} record{'' if records == 1 else 's'}, the first due"
        f" {deadline}, from model {plan['model_version']}: {how}. That takes {plan['predicted_steps']} steps,"
        f" {plan['predicted_cost']:.2f} of a retraining{predicted}. Why: {plan['reason'].rstrip('.')}.{second}"
        f" Nothing is promoted unless the gate passes; then the old model and everything made from the records is"
        f" destroyed, which cannot be undone."
    )
