"""One request's figures: rank, accuracy and attack on its own records, beside the verdict on the whole forget set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.distance import FOLDS
from expunge.evaluation.evidence import Rank, RecordPlace, RequestEvidence
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.membership import request_loss_values
from expunge.evaluation.places import Places
from expunge.evaluation.planted import planted_at
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.utility import accuracies
from expunge.evaluation.verdict import Judgement, judge

Index = NDArray[np.int64]


def request_evidence(inputs: EvaluationInputs, settings: EvaluationSettings) -> list[RequestEvidence]:
    """Evidence of every request, in the order given; level ``settings.level`` each, not corrected: it does not gate.

    ``settings`` are those that the gate's checks are held to: a run of one request shows one rank and one verdict.
    Without oracles, or with fewer than ``distance.FOLDS``, there is no place and no verdict: the accuracies alone.
    Under ``min_records`` records half of a request is not a set: half-kept models do not count, the planted set does.
    """
    count = len(inputs.oracles)
    if count < FOLDS:
        why = f"{count} retrained models are too few" if count else "no model was retrained"
        return [_without_places(inputs, settings, name, positions, why) for name, positions in inputs.requests.items()]
    places = Places.of(inputs, settings)
    return [
        _one(inputs, settings, places.on(positions), name, positions) for name, positions in inputs.requests.items()
    ]


def _one(
    inputs: EvaluationInputs, settings: EvaluationSettings, places: Places, name: str, positions: Index
) -> RequestEvidence:
    rows = inputs.forget[positions]
    large = rows.size >= settings.min_records
    unlearned = places.place(inputs.phi["unlearned"])
    judgement = judge(
        unlearned.standing,
        places.original.standing,
        [found.standing for found in places.held_back],
        [found.standing for found in places.half_kept] if large else [],
        oracles=places.reference.count,
        settings=settings,
        planted=planted_at(inputs, rows.size, settings),
        need_half=large,
    )
    ranks = {"original": places.original.rank, "unlearned": unlearned.rank}
    if held_back := [found.rank for found in places.held_back]:
        ranks["oracle"] = sorted(held_back, key=lambda rank: rank.p_value)[len(held_back) // 2]
    return RequestEvidence(
        request_id=name,
        records=rows.size,
        forget_accuracy=accuracies(inputs, rows),
        influence_rank=ranks,
        mia=request_loss_values(inputs, rows, settings),
        places=[] if large else [_place(inputs, places, k, row) for k, row in enumerate(rows.tolist())],
        verdict=judgement.verdict,
        little_remembered=judgement.little_remembered,
        words=_words(judgement, ranks),
    )


def _without_places(
    inputs: EvaluationInputs, settings: EvaluationSettings, name: str, positions: Index, why: str
) -> RequestEvidence:
    rows = inputs.forget[positions]
    return RequestEvidence(
        request_id=name,
        records=rows.size,
        forget_accuracy=accuracies(inputs, rows),
        influence_rank={},
        mia=request_loss_values(inputs, rows, settings),
        verdict="no power",
        words=f"no power: {why} to compare this request with; the verdict is on the whole forget set",
    )


def _place(inputs: EvaluationInputs, places: Places, position: int, row: int) -> RecordPlace:
    own = places.on(np.array([position]))
    found = {"original": own.original.rank, "unlearned": own.place(inputs.phi["unlearned"]).rank}
    if own.held_back:
        found["oracle"] = own.held_back[0].rank
    return RecordPlace(record_id=inputs.record_ids[row], places=found)


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
