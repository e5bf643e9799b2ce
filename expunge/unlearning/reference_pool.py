"""The reference pool: models trained once per model version, each without a random block of the training records.

Every record is out of several models, so the pool can stand beside any forget set: RMIA, and the `pool` level of the
evidence. Its models saw fewer records than the original and keep its b and q (METHOD section 1).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expunge.data import RecordTable
from expunge.data.record_table import places_of
from expunge.errors import UsageError
from expunge.evaluation.shadows import PoolOutputs
from expunge.training import StackedJob, train_stacked
from expunge.training.randomness import derived_seed
from expunge.training.trainer import Progress
from expunge.unlearning.methods import Procedure


@dataclass(frozen=True, eq=False)
class ReferencePool:
    """What P models say of n records, and which of these each trained on.

    Attributes:
        logits: float32 [P, n, K], in eval mode. targets: int64 [n]. record_ids: n, training and held-out records.
        trained: bool [P, n], False for every record that the model did not train on (held-out records: everywhere).
        seeds: P. share_left_out: share of the training records that a model left out, mean over models.

    Raises:
        UsageError: shapes that do not fit, or an id twice.
    """

    logits: NDArray[np.float32]
    trained: NDArray[np.bool_]
    targets: NDArray[np.int64]
    record_ids: tuple[str, ...]
    seeds: tuple[int, ...]
    share_left_out: float

    def __post_init__(self) -> None:
        shape = (len(self.seeds), len(self.record_ids))
        if (
            self.logits.ndim != 3
            or self.logits.shape[:2] != shape
            or self.trained.shape != shape
            or self.targets.shape != shape[1:]
        ):
            raise UsageError(
                f"The pool's logits {self.logits.shape}, membership {self.trained.shape} and targets"
                f" {self.targets.shape} do not go with {shape[0]} seeds and {shape[1]} records.",
                "Give logits [P, n, K], membership [P, n] and targets [n].",
            )
        if len(self._position) != shape[1]:
            raise UsageError("The pool names a record twice.", "One column is one record.")

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def cost(self) -> float:
        """Examples trained on, in retrainings: q is the original's, so a model that saw half cost half."""
        return pool_cost(len(self), self.share_left_out)

    @cached_property
    def _position(self) -> dict[str, int]:
        return {record_id: i for i, record_id in enumerate(self.record_ids)}

    def outputs_for(self, record_ids: Sequence[str]) -> PoolOutputs:
        """The pool on the records of an evaluation, in their order. Raises NotFoundError naming unknown ids."""
        columns = self._columns(record_ids)
        return PoolOutputs(
            self.logits[:, columns].astype(np.float64),
            self.targets[columns],
            self.trained[:, columns],
            self.share_left_out,
        )

    def saw(self, record_ids: Collection[str]) -> tuple[int, ...]:
        """Numbers of the models that trained on any of these records: their descendants.

        Raises NotFoundError naming unknown ids: a record that `without` has dropped can no longer be asked for.
        """
        return tuple(np.flatnonzero(self.trained[:, self._columns(list(record_ids))].any(axis=1)).tolist())

    def without(self, record_ids: Collection[str]) -> ReferencePool:
        """The pool without the columns of these records; ids that are not there are ignored.

        The models stay, and what those that `saw` the records say of others still goes back to them in part.
        """
        gone = set(record_ids)
        kept = np.array([i for i, r in enumerate(self.record_ids) if r not in gone], dtype=np.int64)
        return replace(
            self,
            logits=self.logits[:, kept],
            trained=self.trained[:, kept],
            targets=self.targets[kept],
            record_ids=tuple(self.record_ids[i] for i in kept),
        )

    def _columns(self, record_ids: Sequence[str]) -> NDArray[np.int64]:
        advice = "It belongs to another data version: train the pool again."
        return places_of(record_ids, self._position, "the reference pool", advice)


def train_pool(
    procedure: Procedure,
    table: RecordTable,
    training_ids: Sequence[str],
    *,
    models: int = 64,
    share_left_out: float = 0.5,
    seed: int,
    progress: Progress | None = None,
) -> ReferencePool:
    """Train the pool in stacks and predict on every record of `table`.

    All records of a subject are out of the same models. Every subject is out of the same number of models, within one,
    and every model leaves out the same number of subjects.

    Args:
        table: training and held-out records. share_left_out: of the subjects, for each model.

    Raises UsageError when a record would be in every model or in none, or a model have less than a batch;
    NotFoundError for ids that the table lacks.
    """
    rows = table.rows(training_ids)
    subjects, owner = np.unique([table.subject_ids[i] for i in rows], return_inverse=True)
    out = left_out_blocks(len(subjects), models, share_left_out, derived_seed(seed, "pool blocks"))[:, owner]
    jobs = [StackedJob(derived_seed(seed, "pool", k), np.sort(rows[~own])) for k, own in enumerate(out)]
    fewest, batch = min(len(job.rows) for job in jobs), procedure.config.batch_size
    if fewest < batch:
        raise UsageError(
            f"A model of the reference pool would train on {fewest} of {len(rows)} records, fewer than a batch"
            f" ({batch}).",
            "Lower evaluation.pool_left_out, or do without a pool: evaluation.pool_models=0.",
        )
    made = train_stacked(
        procedure.spec, table, procedure.config, jobs, procedure.sampling_rate,
        device=procedure.device, progress=progress,
    )  # fmt: skip
    trained = np.zeros((models, len(table)), dtype=np.bool_)
    trained[:, rows] = ~out
    return ReferencePool(
        logits=made.logits(table),
        trained=trained,
        targets=table.targets,
        record_ids=table.record_ids,
        seeds=tuple(job.seed for job in jobs),
        share_left_out=float(out.mean()),
    )


def pool_cost(models: int, share_left_out: float) -> float:
    """What a pool costs, in retrainings."""
    return models * (1.0 - share_left_out)


def left_out_blocks(subjects: int, models: int, share: float, seed: int) -> NDArray[np.bool_]:
    """bool [models, subjects]: the random block of subjects that each model leaves out, round(share * subjects) each.

    A model leaves out those that the fewest models before it left out, ties drawn at random: the counts stay within
    one of each other.

    Raises UsageError when a subject would be out of no model or of all.
    """
    size = round(share * subjects)
    if not (0 < size < subjects and subjects <= size * models and subjects <= (subjects - size) * models):
        raise UsageError(
            f"{models} models that each leave out {share:g} of {subjects} subjects: a record would be in all or none.",
            "Take more models or a share nearer to one half, or do without a pool: evaluation.pool_models=0.",
        )
    rng = np.random.default_rng(seed)
    counts = np.zeros(subjects)
    out = np.zeros((models, subjects), dtype=np.bool_)
    for own in out:
        own[np.argsort(counts + rng.random(subjects))[:size]] = True
        counts += own
    return out
