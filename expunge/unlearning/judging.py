"""What does the evaluation get? Outputs of the original, the unlearned model and the references on the same records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from expunge.data import RecordTable
from expunge.errors import UsageError
from expunge.evaluation.confidence import phi
from expunge.evaluation.inputs import EvaluationInputs, PlantedSet
from expunge.evaluation.loss_paths import BarrierPaths
from expunge.training import predict
from expunge.unlearning.calibration import PlantedOutputs
from expunge.unlearning.methods import Procedure
from expunge.unlearning.reference_pool import ReferencePool
from expunge.unlearning.references import References


def evaluation_inputs(
    procedure: Procedure,
    table: RecordTable,
    *,
    training_ids: Sequence[str],
    forget_ids: Sequence[str],
    requests: Mapping[str, Sequence[str]],
    original: Mapping[str, Tensor],
    unlearned: Mapping[str, Tensor],
    references: References,
    look_ids: Sequence[str],
    cross_fitted: NDArray[np.float32],
    planted: PlantedOutputs | None,
    pool: ReferencePool | None = None,
    barriers: BarrierPaths | None = None,
) -> EvaluationInputs:
    """Outputs on every record of `table`: forget and retain records were trained on, all others are held out.

    Args:
        original, unlearned: parameters and buffers.
        look_ids: names of the models that chose or stopped; they never judge.
        cross_fitted: logits [repeats, n, classes] of models that did not train on the record, for matching.
        pool: what it says of the same records is passed on; it must know them all. barriers: passed on.
    """
    forget = table.rows(sorted(forget_ids))
    training = table.rows(training_ids)
    y = table.targets
    position = {record_id: i for i, record_id in enumerate(sorted(forget_ids))}
    difficulty = -phi(cross_fitted, y).mean(axis=0)
    return EvaluationInputs(
        record_ids=table.record_ids,
        targets=y,
        forget=forget,
        retain=np.setdiff1d(training, forget),
        held_out=np.setdiff1d(np.arange(len(table)), training),
        original=predict(procedure.spec, original, table, procedure.device).astype(np.float64),
        unlearned=predict(procedure.spec, unlearned, table, procedure.device).astype(np.float64),
        oracles=references.verdict.astype(np.float64),
        held_back=references.held_back.astype(np.float64),
        half_kept=references.half_kept.astype(np.float64),
        difficulty=difficulty,
        requests={r: np.array(sorted(position[i] for i in ids), dtype=np.int64) for r, ids in requests.items()},
        planted=None if planted is None else _planted(planted, table, difficulty),
        oracle_ids=_names(references, "verdict"),
        held_back_ids=_names(references, "held_back"),
        half_kept_ids=_names(references, "half_kept"),
        look_ids=tuple(look_ids),
        pool=None if pool is None else pool.outputs_for(table.record_ids),
        barriers=barriers,
    )


def judged_by(inputs: EvaluationInputs, references: References, record_ids: Sequence[str]) -> EvaluationInputs:
    """The same outputs before other judges: true oracles trained afterwards, which predicted on `record_ids`.

    Barriers of other oracles are left out. Raises UsageError when these are not the records of the outputs.
    """
    if tuple(record_ids) != inputs.record_ids:
        raise UsageError("The references' outputs are on other records.", "Predict on the records of the evaluation.")
    return replace(
        inputs,
        oracles=references.verdict.astype(np.float64),
        held_back=references.held_back.astype(np.float64),
        half_kept=references.half_kept.astype(np.float64),
        oracle_ids=_names(references, "verdict"),
        held_back_ids=_names(references, "held_back"),
        half_kept_ids=_names(references, "half_kept"),
        barriers=None,
    )


def _names(references: References, purpose: str) -> tuple[str, ...]:
    return tuple(f"seed {seed}" for seed in references.seeds[purpose])


def _planted(planted: PlantedOutputs, table: RecordTable, difficulty: NDArray[np.float64]) -> PlantedSet:
    """The pilot set's outputs; its difficulty only while all of its records are still in the table."""
    known = all(r in table.position for r in planted.record_ids)
    return PlantedSet(
        targets=planted.targets,
        original=planted.original.astype(np.float64),
        oracles=planted.oracles.astype(np.float64),
        held_back=planted.held_back.astype(np.float64),
        difficulty=difficulty[table.rows(planted.record_ids)] if known else None,
    )
