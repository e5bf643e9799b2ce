"""Which run judged a model last, and is what it judged still there? Its artifacts by the names its steps gave them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from adapters import artifacts
from adapters.ledger import open_ledger
from expunge.errors import NotFoundError, UsageError

_PARTS = ("trajectory", "forget_set", "training_records", "held_out_records", "unlearning_run")


def newest_judged(levels: Collection[str] = ("oracle", "pool", "oracle-free")) -> tuple[Any, dict[str, Any]]:
    """The newest evidence of one of these levels, and the artifact versions it rests on, all of them still there.

    Raises NotFoundError when there is none, and when the outputs were destroyed with the records they spoke of.
    """
    every = artifacts.versions("evidence", present_only=True)
    if not every:
        raise NotFoundError(
            "Nothing was unlearned in this project yet.", "Run `expunge run-due`, or try `expunge forget hardest:0.05`."
        )
    evidence = next((v for v in every if v.run_metadata.get("level") in levels), None)
    if evidence is None:
        raise NotFoundError(
            f"All evidence of this project is of level {every[0].run_metadata.get('level')}: true oracles judged it.",
            "An audit checks evidence of level pool or oracle-free; set evaluation.evidence_level.",
        )
    step = evidence.run.steps["train_references"]
    found = {name: step.inputs[name][0] for name in _PARTS}
    found["evaluation_outputs"] = step.outputs["evaluation_outputs"][0]
    known = {str(v.id): v for v in artifacts.versions()}
    parts = {name: known[str(version.id)] for name, version in found.items()}
    if any(artifacts.is_destroyed(version) for version in parts.values()):
        raise NotFoundError(
            "The outputs behind this evidence were destroyed with the records they spoke of.",
            "Try `expunge forget hardest:0.05`, which destroys nothing, and then this command again.",
        )
    return evidence, parts


def refuse_requested(parts: dict[str, Any], but_forget_set: bool) -> None:
    """Refuse to train reference models on records that a request has quarantined, its own forget set excepted or not.

    Raises UsageError.
    """
    trained = set(artifacts.load(parts["training_records"]).record_ids)
    if but_forget_set:
        trained -= set(artifacts.load(parts["forget_set"]).record_ids)
    with open_ledger() as ledger:
        requested = ledger.quarantined_among(trained)
    if requested:
        raise UsageError(
            f"{len(requested)} of the records that new models would train on are under a deletion request.",
            "Answer it with `expunge run-due`; then try `expunge forget hardest:0.05` on the new model, then this.",
        )


def by_id(parts: dict[str, str]) -> dict[str, Any]:
    """Artifact versions by name from their ids: what a pipeline's parameters may hold."""
    known = {str(v.id): v for v in artifacts.versions()}
    return {name: known[artifact_id] for name, artifact_id in parts.items()}


def ids(parts: dict[str, Any]) -> dict[str, str]:
    """The other way round."""
    return {name: str(version.id) for name, version in parts.items()}
