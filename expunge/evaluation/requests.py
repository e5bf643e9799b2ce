"""One request's figures: rank, accuracy and attack on its own records, beside the verdict on the whole forget set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.evidence import Rank, RecordPlace, RequestEvidence
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.membership import request_loss_values
from expunge.evaluation.rank import OracleReference, planted_standing
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.utility import accuracies
from expunge.evaluation.verdict import Judgement, Standing, judge

Index = NDArray[np.int64]


def request_evidence(inputs: EvaluationInputs, settings: EvaluationSettings) -> list[RequestEvidence]:
    """Evidence of every request, in the order given; level ``settings.level`` each, not corrected: it does not gate.

    Without oracles there is no place and no verdict: the accuracies alone. Under ``min_records`` records half of a
    request is not a set: half-kept models do not count, the planted set does.
    """
    if not len(inputs.oracles):
        return [_without_oracles(inputs, settings, name, positions) for name, positions in inputs.requests.items()]
    reference = OracleReference(inputs.forget_phi("oracles"), settings.variance_floor)
    return [_one(inputs, settings, reference, name, positions) for name, positions in inputs.requests.items()]


def _one(
    inputs: EvaluationInputs, settings: EvaluationSettings, reference: OracleReference, name: str, positions: Index
) -> RequestEvidence:
    rows = inputs.forget[positions]
    large = rows.size >= settings.min_records
    ranks = {role: reference.rank(inputs.forget_phi(role), positions) for role in ("original", "unlearned")}
    held_back = [reference.rank(model, positions) for model in inputs.forget_phi("held_back")]
    half_kept = [reference.rank(model, positions) for model in inputs.forget_phi("half_kept")] if large else []
    judgement = judge(
        _standing(ranks["unlearned"]),
        _standing(ranks["original"]),
        [_standing(rank) for rank in held_back],
        [_standing(rank) for rank in half_kept],
        oracles=reference.count,
        settings=settings,
        planted=planted_standing(inputs.planted, rows.size, settings) if inputs.planted else None,
        need_half=large,
    )
    if held_back:
        ranks["oracle"] = sorted(held_back, key=lambda rank: rank.p_value)[len(held_back) // 2]
    return RequestEvidence(
        request_id=name,
        records=rows.size,
        forget_accuracy=accuracies(inputs, rows),
        influence_rank=ranks,
        mia=request_loss_values(inputs, rows, settings),
        places=[] if large else [_place(inputs, reference, position) for position in positions.tolist()],
        verdict=judgement.verdict,
        little_remembered=judgement.little_remembered,
        words=_words(judgement, ranks),
    )


def _without_oracles(
    inputs: EvaluationInputs, settings: EvaluationSettings, name: str, positions: Index
) -> RequestEvidence:
    rows = inputs.forget[positions]
    return RequestEvidence(
        request_id=name,
        records=rows.size,
        forget_accuracy=accuracies(inputs, rows),
        influence_rank={},
        mia=request_loss_values(inputs, rows, settings),
        verdict="no power",
        words="no power: no model was retrained to compare this request with; the verdict is on the whole forget set",
    )


def _standing(rank: Rank) -> Standing:
    return Standing(rank.distance, rank.p_value)


def _place(inputs: EvaluationInputs, reference: OracleReference, position: int) -> RecordPlace:
    column = np.array([position])
    models = {role: inputs.forget_phi(role) for role in ("original", "unlearned")}
    held_back = inputs.forget_phi("held_back")
    if len(held_back):
        models["oracle"] = held_back[0]
    return RecordPlace(
        record_id=inputs.record_ids[int(inputs.forget[position])],
        places={role: reference.rank(model, column) for role, model in models.items()},
    )


def _words(judgement: Judgement, ranks: dict[str, Rank]) -> str:
    rank, original = ranks["unlearned"], ranks["original"]
    place = f"rank {rank.position} of {rank.of}"
    if judgement.verdict == "no power":
        return f"no power: {judgement.reason} ({place})"
    if judgement.verdict == "fail":
        return f"not forgotten: unlike models that never saw the records ({place}, 1 is farthest)"
    if judgement.little_remembered:
        return f"little was remembered: the original ranked {original.position} of {original.of}, this model {place}"
    return f"forgotten: indistinguishable from models that never saw the records ({place})"
