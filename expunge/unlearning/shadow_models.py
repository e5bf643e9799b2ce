"""Shadow models: many models that went through the whole procedure, training and then unlearning, for U-LiRA.

Hayes et al. 2024 (arXiv 2403.01218). Every shadow trains on the base records, on a random half of the records to
forget and on a random half of the audited retain records, and then unlearns its own half of the records to forget.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from expunge.data import RecordTable
from expunge.errors import UsageError, nearest
from expunge.evaluation.shadows import ShadowOutputs
from expunge.models import build_model
from expunge.training import Checkpoint, StackedJob, StackedModels, TrainingConfig, Trajectory, train_stacked
from expunge.training.randomness import derived_seed
from expunge.training.schedule import learning_rate, scored_steps
from expunge.training.state import TrainingState
from expunge.training.trainer import Progress
from expunge.unlearning.methods import METHODS, PLAIN, Continuation, Method, Procedure, UnrolledRewind, method_of
from expunge.unlearning.plan import REWINDS
from expunge.unlearning.unrolling import Pushes, summed_gradient

MOST_AUDITED = 200


def train_shadows(
    procedure: Procedure,
    table: RecordTable,
    training_ids: Sequence[str],
    forget_ids: Sequence[str],
    audited_retain_ids: Sequence[str],
    method: str,
    amount: int,
    *,
    models: int = 64,
    seed: int,
    strength: float | None = None,
    with_before: bool = False,
    progress: Progress | None = None,
) -> ShadowOutputs:
    """Train `models` shadows, let each unlearn, and predict on the audited records, all in stacks.

    A rewind goes on from the shadow's own state at step `amount` (an unrolled one takes back what the shadow's own half
    had moved), a fine-tuning from its last one, with the configuration that the method gives a real deletion. Of
    training, only what the method starts from is done, unless `with_before`. All shadows keep the original's b and q,
    with fewer records (METHOD section 1).

    Args:
        training_ids: the records that the original trained on; those that are not audited are the base.
        forget_ids, audited_retain_ids: the audited records; the outputs' columns have this order.
        method, amount: a name of `METHODS` and its amount: step to rewind to, steps to fine-tune, nothing to retrain.
        strength: of an unrolled rewind.
        with_before: also finish training, for the outputs before unlearning.

    Raises UsageError for audited records that are not distinct or were not trained on, fewer than two models, an
    unknown method or an impossible amount; NotFoundError for records that the table lacks.
    """
    audited = [*forget_ids, *audited_retain_ids]
    _check(training_ids, forget_ids, audited, models)
    continuation = _continuation(procedure, method, amount)
    config, first = continuation.config, continuation.start[0] if continuation.start else 0
    forget = np.arange(len(audited)) < len(forget_ids)
    trained = balanced_halves(models, len(audited), derived_seed(seed, "shadow records"))
    rows, shown = table.rows(audited), table.select(audited)
    base = np.setdiff1d(table.rows(training_ids), rows)
    columns = shown.rows(audited)

    def jobs(purpose: str, members: NDArray[np.bool_]) -> list[StackedJob]:
        own = [np.sort(np.concatenate([base, rows[mask]])) for mask in members]
        return [StackedJob(derived_seed(seed, purpose, k), r) for k, r in enumerate(own)]

    def outputs(made: StackedModels) -> NDArray[np.float64]:
        return made.logits(shown)[:, columns].astype(np.float64)

    def trained_by(config: TrainingConfig, own: list[StackedJob], part: int, **given: Any) -> StackedModels:
        return train_stacked(
            procedure.spec, table, config, own, procedure.sampling_rate,
            device=procedure.device, progress=reports[part], **given,
        )  # fmt: skip

    last = procedure.config.steps
    learning, unlearning = jobs("shadow", trained), jobs("shadow unlearning", trained & ~forget)
    lengths = [first, last - first if with_before else 0, config.steps - first]
    reports = [_part(progress, sum(lengths[:i]), length, sum(lengths)) for i, length in enumerate(lengths)]
    if method == UnrolledRewind.name:
        own_halves = [rows[mask] for mask in trained & forget]
        at, start_from = _unrolled(
            procedure, table, learning, own_halves, first, method_of(method, strength), progress=reports[0]
        )
    else:
        at = start_from = trained_by(procedure.config, learning, 0, until=first)
    before = None
    if with_before:
        before = outputs(trained_by(procedure.config, learning, 1, start=(first, at)))
    # Retraining starts anew, with the seeds of the second half.
    start = (first, start_from) if continuation.start else None
    made = trained_by(config, unlearning, 2, start=start)
    return ShadowOutputs(outputs(made), table.targets[rows], trained, forget, before)


def _unrolled(
    procedure: Procedure,
    table: RecordTable,
    jobs: Sequence[StackedJob],
    forget: Sequence[NDArray[np.int64]],
    step: int,
    method: Method,
    progress: Progress,
) -> tuple[StackedModels, StackedModels]:
    """The shadows at `step`, and the same without what each one's own `forget` rows moved in its weights by then."""
    assert isinstance(method, UnrolledRewind)
    config, device = procedure.config, procedure.device
    model = build_model(procedure.spec).to(device)
    x, y = torch.from_numpy(table.features).to(device), torch.from_numpy(table.targets).to(device)
    pushes = [Pushes(config) for _ in jobs]
    nodes = sorted({*(t for t in scored_steps(config) if t < step), step})
    made: StackedModels | None = None
    totals: list[dict[str, torch.Tensor]] = []
    for before, node in zip([0, *nodes], nodes, strict=False):
        made = train_stacked(
            procedure.spec, table, config, jobs, procedure.sampling_rate, device=device, until=node,
            start=None if made is None else (before, made), progress=_part(progress, before, node - before, step),
        )  # fmt: skip
        states = [TrainingState(params, {}, {}) for params in _each(made.state.params)]
        for state, buffers in zip(states, _each(made.state.buffers, len(jobs)), strict=True):
            state.buffers = buffers
        rate = learning_rate(config, node)
        totals = [
            push.add(node, rate, procedure.sampling_rate, summed_gradient(model, state, x[r], y[r], config))
            for push, state, r in zip(pushes, states, forget, strict=True)
        ]
    assert made is not None
    params = {
        name: value + method.strength * torch.stack([total[name] for total in totals])
        for name, value in made.state.params.items()
    }
    taken = TrainingState(params, made.state.buffers, made.state.momentum)
    return made, StackedModels(made.spec, taken)


def _each(stack: dict[str, torch.Tensor], count: int | None = None) -> list[dict[str, torch.Tensor]]:
    """The tensors of each model of a stack."""
    models = len(next(iter(stack.values()))) if stack else count or 0
    return [{name: value[k] for name, value in stack.items()} for k in range(models)]


def audited_records(
    training_ids: Sequence[str], forget_ids: Sequence[str], seed: int, most: int = MOST_AUDITED
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(records to forget, records to keep) that shadows audit: at most `most` of the forget set, and as many others."""
    forget, rng = sorted(forget_ids), np.random.default_rng(derived_seed(seed, "audited records"))
    if len(forget) > most:
        forget = [forget[i] for i in sorted(rng.choice(len(forget), most, replace=False))]
    others = sorted(set(training_ids) - set(forget_ids))
    kept = sorted(rng.choice(len(others), min(len(forget), len(others)), replace=False))
    return tuple(forget), tuple(others[i] for i in kept)


def balanced_halves(models: int, records: int, seed: int) -> NDArray[np.bool_]:
    """bool [models, records]: True in models // 2 models of every column, drawn for each record anew."""
    ranks = np.random.default_rng(seed).random((models, records)).argsort(axis=0).argsort(axis=0)
    return np.asarray(ranks < models // 2)


def _check(training_ids: Sequence[str], forget_ids: Sequence[str], audited: Sequence[str], models: int) -> None:
    if models < 2:
        raise UsageError(f"{models} shadow models.", "A record must be in half of them: take 64.")
    if not forget_ids:
        raise UsageError("There are no records to forget.", "Shadow models audit a forget set.")
    if len(set(audited)) != len(audited):
        raise UsageError("A record is audited twice.", "The records to forget and the retain records must be distinct.")
    foreign = sorted(set(audited) - set(training_ids))
    if foreign:
        raise UsageError(f"Record {foreign[0]!r} is audited, but was not trained on.", "Audit training records.")


def _continuation(procedure: Procedure, method: str, amount: int) -> Continuation:
    """The configuration and first step that the method gives an original of this procedure, its state left empty."""
    if method not in METHODS:
        raise UsageError(f"Unknown method {method!r}.", nearest(method, list(METHODS)))
    if method not in PLAIN:
        raise UsageError(f"Shadows of {method!r} cannot be trained in stacks.", f"Audit one of {', '.join(PLAIN)}.")
    if method in REWINDS and amount < 0:
        raise UsageError(f"Cannot rewind to step {amount}.")
    config = procedure.config
    run = {"config": config.model_dump(mode="json"), "model": procedure.spec.to_dict(),
           "sampling_rate": procedure.sampling_rate}  # fmt: skip
    return METHODS[method].continuation(_Shadow(run, (), (), _checkpoint(config.steps)), amount, config.seed)


class _Shadow(Trajectory):
    """A trajectory with a checkpoint at every step and no files: the shadows bring their own states."""

    def at(self, step: int) -> Checkpoint:
        return _checkpoint(step)

    def state(self, checkpoint: Checkpoint) -> TrainingState:
        return TrainingState({}, {}, {})


def _checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, lr=0.0, s=None, q=0.0, sha256="", file="", size=0)


def _part(progress: Progress | None, before: int, length: int, total: int) -> Progress:
    """Progress of one part of a run of `total` steps of every shadow, `before` of them earlier."""

    def report(done: int, of: int) -> None:
        if progress is not None and of:
            progress(before + round(length * done / of), total)

    return report
