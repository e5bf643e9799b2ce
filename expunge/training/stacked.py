"""Train many models at once: oracles, rewinds and pools of one architecture, as one stack of tensors.

Each model draws the batches and the noise it would draw alone, so a stacked model equals the one `train` would give
up to rounding. Where torch.func cannot stack a model (BatchNorm, data-dependent Python) they train one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap

from expunge.data import RecordTable
from expunge.models import ModelSpec, build_model, uses_batch_statistics
from expunge.training.config import TrainingConfig
from expunge.training.gradients import Tensors, clipped_sum, summed_loss
from expunge.training.predict import predict
from expunge.training.randomness import derived_seed
from expunge.training.sampler import batch_rows
from expunge.training.schedule import learning_rate
from expunge.training.state import TrainingState, apply_update
from expunge.training.trainer import Progress, check_config, draw_noise, refuse_divergence, train_step


@dataclass(frozen=True)
class StackedJob:
    """One model of a stack: its seed and the rows of the table that it trains on, int64 [records]."""

    seed: int
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class StackedModels:
    """Trained models; every tensor of `state` has a leading dimension [models]."""

    spec: ModelSpec
    state: TrainingState

    def __len__(self) -> int:
        return len(next(iter(self.state.params.values())))

    def states(self) -> Iterator[dict[str, Tensor]]:
        """Parameters and buffers of each model in turn."""
        for k in range(len(self)):
            yield {name: tensor[k] for name, tensor in self.state.model_state().items()}

    def logits(self, table: RecordTable) -> NDArray[np.float32]:
        """float32 [models, n, classes], in eval mode."""
        return np.stack([predict(self.spec, state, table) for state in self.states()])


def train_stacked(
    spec: ModelSpec,
    table: RecordTable,
    config: TrainingConfig,
    jobs: Sequence[StackedJob],
    sampling_rate: float,
    *,
    start: tuple[int, TrainingState] | None = None,
    device: str = "cpu",
    at_once: int = 128,
    progress: Progress | None = None,
) -> StackedModels:
    """Train one model per job for steps start..T; `config.seed` is replaced by each job's.

    Args:
        start: (step, state) from which every job continues, as rewinds of one trajectory do.
        at_once: models in one stack; more are trained in turn.

    Raises TrainingDiverged when any of them diverges.
    """
    groups = [jobs[i : i + at_once] for i in range(0, len(jobs), at_once)]
    first = start[0] if start else 0
    each = config.steps - first
    done: list[TrainingState] = []
    for index, group in enumerate(groups):

        def report(step: int, _: int, index: int = index) -> None:
            if progress is not None:
                progress(index * each + step, len(groups) * each)

        done.append(_train_group(spec, table, config, group, sampling_rate, start, device, report))
    return StackedModels(spec, _map_states(done, lambda parts: torch.cat(parts)))


def _train_group(
    spec: ModelSpec,
    table: RecordTable,
    config: TrainingConfig,
    jobs: Sequence[StackedJob],
    q: float,
    start: tuple[int, TrainingState] | None,
    device: str,
    progress: Progress,
) -> TrainingState:
    for job in jobs:
        check_config(config, len(job.rows), q)
    model = build_model(spec).to(device)
    first = start[0] if start else 0
    singles = [
        TrainingState.from_tensors(start[1].tensors())
        if start
        else TrainingState.of(build_model(spec, derived_seed(job.seed, "init")))
        for job in jobs
    ]
    stack = _map_states(singles, lambda parts: torch.stack([p.to(device) for p in parts]))
    x, y = torch.from_numpy(table.features).to(device), torch.from_numpy(table.targets).to(device)
    configs = [config.model_copy(update={"seed": job.seed}) for job in jobs]
    if uses_batch_statistics(model) or not _stackable(model, stack, x, y, config.noise.clip):
        return _one_by_one(model, singles, jobs, configs, x, y, q, first, progress)
    gradients = _stacked_gradients(model, config.noise.clip)
    rows_of = [torch.from_numpy(job.rows) for job in jobs]
    for step in range(first, config.steps):
        picked = [rows[batch_rows(c, c.seed, step, len(rows), q)] for c, rows in zip(configs, rows_of, strict=True)]
        index, weight = _pad(picked)
        index, weight = index.to(device), weight.to(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(config.seed, "model", step))
            sums, loss = gradients(stack, x[index], y[index], weight)
        refuse_divergence(loss, step)
        noises = [draw_noise({k: v[0] for k, v in stack.params.items()}, c, step) for c in configs]
        noise = {k: torch.stack([n[k] for n in noises]) for k in noises[0]}
        apply_update(stack, sums, noise, config, learning_rate(config, step))
        progress(step + 1 - first, config.steps - first)
    return stack


def _stacked_gradients(model: nn.Module, clip: float | None):  # type: ignore[no-untyped-def]
    """Function (state, x [K, b, ...], y [K, b], weight [K, b]) -> (gradient sums, summed losses [K])."""

    def clipped(params: Tensors, buffers: Tensors, x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensors, Tensor]:
        return clipped_sum(model, params, buffers, x, y, w, clip or 0.0)

    def loss(params: Tensors, buffers: Tensors, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        return summed_loss(model, buffers)(params, x, y, w)

    def of_stack(state: TrainingState, x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensors, Tensor]:
        if clip is not None:
            return vmap(clipped, randomness="different")(state.params, state.buffers, x, y, w)
        leaves = {k: v.detach().requires_grad_(True) for k, v in state.params.items()}
        losses = vmap(loss, randomness="different")(leaves, state.buffers, x, y, w)
        # The models do not interact: the gradient of the sum holds each model's own gradient.
        grads = torch.autograd.grad(losses.sum(), list(leaves.values()))
        return dict(zip(leaves, grads, strict=True)), losses.detach()

    return of_stack


def _stackable(model: nn.Module, stack: TrainingState, x: Tensor, y: Tensor, clip: float | None) -> bool:
    """Whether torch.func can run this model stacked: tried on two records rather than guessed."""
    k = len(next(iter(stack.params.values())))
    rows = torch.zeros(k, 2, dtype=torch.int64, device=x.device)
    try:
        with torch.random.fork_rng(devices=[]):
            _stacked_gradients(model, clip)(stack, x[rows], y[rows], torch.ones(k, 2, device=x.device))
            with torch.no_grad():
                vmap(lambda p, b, a: functional_call(model, {**p, **b}, (a,)), randomness="different")(
                    stack.params, stack.buffers, x[rows]
                )
    except (RuntimeError, ValueError, NotImplementedError):
        return False
    return True


def _one_by_one(
    model: nn.Module,
    singles: Sequence[TrainingState],
    jobs: Sequence[StackedJob],
    configs: Sequence[TrainingConfig],
    x: Tensor,
    y: Tensor,
    q: float,
    first: int,
    progress: Progress,
) -> TrainingState:
    total = configs[0].steps - first
    for k, (state, job, config) in enumerate(zip(singles, jobs, configs, strict=True)):
        rows = torch.from_numpy(job.rows).to(x.device)
        own_x, own_y = x[rows], y[rows]
        for step in range(first, config.steps):
            train_step(model, state, own_x, own_y, config, step, q)
        progress((k + 1) * total // len(jobs), total)
    return _map_states(singles, lambda parts: torch.stack(parts))


def _pad(picked: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows of unequal number as int64 [K, b] and their weights float32 [K, b]; padding has weight 0."""
    width = max(1, max(len(p) for p in picked))
    index = torch.zeros(len(picked), width, dtype=torch.int64)
    weight = torch.zeros(len(picked), width)
    for k, rows in enumerate(picked):
        index[k, : len(rows)] = rows
        weight[k, : len(rows)] = 1.0
    return index, weight


def _map_states(parts, join) -> TrainingState:  # type: ignore[no-untyped-def]
    """Join states tensor by tensor."""
    flat = [p.tensors() for p in parts]
    return TrainingState.from_tensors({name: join([f[name] for f in flat]) for name in flat[0]})
