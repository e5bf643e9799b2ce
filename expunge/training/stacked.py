"""Train many models at once: oracles, rewinds, shadows and pools of one architecture, as one stack of tensors.

Each model draws the batches and the noise it would draw alone, so a stacked model equals the one `train` would give
up to rounding (masks of dropout are drawn for the whole stack). Models with convolutions train one by one: stacked,
theirs become grouped convolutions, which are slower than one after the other (benchmarks/stacked_training.py). So do
models that torch.func cannot stack (BatchNorm, data-dependent Python).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap

from expunge.data import RecordTable
from expunge.errors import UsageError
from expunge.models import ModelSpec, build_model, uses_batch_statistics
from expunge.training.config import TrainingConfig
from expunge.training.gradients import Tensors, clipped_sum, summed_loss
from expunge.training.noise import gradient_noise_deviation, weight_noise_deviation
from expunge.training.randomness import derived_seed
from expunge.training.schedule import learning_rate
from expunge.training.stacked_draws import StackedDraws
from expunge.training.state import TrainingState
from expunge.training.trainer import Progress, check_config, refuse_divergence, train_step


@dataclass(frozen=True)
class StackedJob:
    """One model of a stack: its seed and the rows of the table that it trains on, int64 [records].

    absent: some of `rows` that are drawn as if they were there and then left out of every batch. So the run on all of
    `rows` with this seed and the run without `absent` differ by these records alone: initialisation, batches and noise
    are the same. (Leaving them out of `rows` would toss every later record's coin anew.)
    """

    seed: int
    rows: NDArray[np.int64]
    absent: NDArray[np.int64] | None = None

    def absent_places(self) -> Tensor | None:
        """Where in `rows` the absent ones stand, int64; None for none."""
        return None if self.absent is None else torch.from_numpy(np.flatnonzero(np.isin(self.rows, self.absent)))


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

    def logits(self, table: RecordTable, chunk: int = 1024) -> NDArray[np.float32]:
        """float32 [models, n, classes], in eval mode: what `predict` says of each model, with one module for all.

        Vectorised over models it is no faster for an MLP and several times slower for convolutions: measured.
        """
        device = next(iter(self.state.params.values())).device
        module = build_model(self.spec).to(device).eval()
        parts = [part.to(device) for part in torch.from_numpy(table.features).split(chunk)]
        with torch.no_grad():
            outputs = [
                torch.cat([functional_call(module, state, (part,)).float().cpu() for part in parts])
                for state in self.states()
            ]
        return torch.stack(outputs).numpy()


def stacked_states(spec: ModelSpec, states: Sequence[TrainingState]) -> StackedModels:
    """Single states as one stack, in memory of its own."""
    return StackedModels(spec, _map_states(list(states), torch.stack))


Start = tuple[int, TrainingState] | tuple[int, StackedModels]


def train_stacked(
    spec: ModelSpec,
    table: RecordTable,
    config: TrainingConfig,
    jobs: Sequence[StackedJob],
    sampling_rate: float,
    *,
    start: Start | None = None,
    until: int | None = None,
    device: str = "cpu",
    at_once: int = 128,
    together: bool | None = None,
    progress: Progress | None = None,
) -> StackedModels:
    """Train one model per job for steps start..until; `config.seed` is replaced by each job's.

    Args:
        sampling_rate: q (METHOD section 1).
        start: (step, state) from which every job continues, as rewinds of one trajectory do, or (step, models) with
            one model per job, in the order of the jobs, as `until` leaves them; default: initialisation at step 0.
        until: the step to stop at, default T. Going on from the result gives what one call would have given.
        at_once: models in one stack at most; more are trained in turn. Where gradients are clipped it is fewer.
        together: False trains one by one, True stacks wherever torch.func can; default: as the module's text says.

    Raises TrainingDiverged when any of them diverges, UsageError for an unusable config, start or `until`.
    """
    first, last = start[0] if start else 0, config.steps if until is None else until
    if not 0 <= first <= last <= config.steps:
        raise UsageError(f"Cannot train from step {first} to step {last} of {config.steps}.")
    if start and isinstance(start[1], StackedModels) and len(start[1]) != len(jobs):
        raise UsageError(f"{len(start[1])} models to start from, but {len(jobs)} jobs.", "Give one model per job.")
    for job in jobs:
        check_config(config, len(job.rows), sampling_rate)
    each = last - first
    if config.noise.clip is not None:
        at_once = min(at_once, _most_clipped(spec, config))
    groups = [range(i, min(i + at_once, len(jobs))) for i in range(0, len(jobs), at_once)]
    done: list[TrainingState] = []
    for index, group in enumerate(groups):

        def report(step: int, index: int = index) -> None:
            if progress is not None:
                progress(index * each + step, len(groups) * each)

        own = [jobs[k] for k in group]
        stack = _initial(spec, own, group, start, device)
        run = _Run(spec, table, config, own, sampling_rate, first, last, device)
        done.append(run.train(stack, together, report))
    return StackedModels(spec, _map_states(done, torch.cat))


# Clipping takes the gradient of every record. Stacks are fastest while these lie in the cache: of 4,810 weights, with
# batches of 64, 16 models train twice as fast as one by one, 128 only 1.4 times (measured).
_RECORD_GRADIENTS = 20 * 2**20


def _most_clipped(spec: ModelSpec, config: TrainingConfig) -> int:
    """Models in a stack whose gradients are clipped record by record."""
    weights = sum(p.numel() for p in build_model(spec).parameters())
    return max(1, _RECORD_GRADIENTS // (4 * weights * config.batch_size))


def _initial(
    spec: ModelSpec, jobs: Sequence[StackedJob], places: range, start: Start | None, device: str
) -> TrainingState:
    """The state each job starts from, stacked, in memory of its own; `places` are those of `jobs` among all."""
    if start is None:
        singles = [TrainingState.of(build_model(spec, derived_seed(job.seed, "init"))) for job in jobs]
        return _map_states(singles, lambda parts: torch.stack(parts).to(device))
    if isinstance(start[1], StackedModels):
        return _map_states([start[1].state], lambda parts: parts[0][places.start : places.stop].to(device))
    return _map_states([start[1]], lambda parts: parts[0].to(device).expand(len(jobs), *parts[0].shape))


@dataclass(frozen=True)
class _Run:
    """One stack's way from step `first` to step `last`."""

    spec: ModelSpec
    table: RecordTable
    config: TrainingConfig
    jobs: Sequence[StackedJob]
    q: float
    first: int
    last: int
    device: str

    def train(self, stack: TrainingState, together: bool | None, report: Callable[[int], None]) -> TrainingState:
        model = build_model(self.spec).to(self.device)
        x = torch.from_numpy(self.table.features).to(self.device)
        y = torch.from_numpy(self.table.targets).to(self.device)
        wanted = not _has_convolutions(model) if together is None else together
        if wanted and not uses_batch_statistics(model) and _stackable(model, stack, x, y, self.config.noise.clip):
            self._stacked(model, stack, x, y, report)
            return stack
        return self._one_by_one(model, stack, x, y, report)

    def _stacked(
        self, model: nn.Module, stack: TrainingState, x: Tensor, y: Tensor, report: Callable[[int], None]
    ) -> None:
        gradients = _stacked_gradients(model, self.config.noise.clip)
        names = sorted(stack.params)
        sizes = [stack.params[name][0].numel() for name in names]
        noisy = self.config.noise.convention != "implicit"
        spare = {name: torch.empty_like(weight) for name, weight in stack.params.items()}
        seeds, rows = [job.seed for job in self.jobs], [job.rows for job in self.jobs]
        absent = [job.absent_places() for job in self.jobs]
        with StackedDraws(self.config, seeds, rows, self.q, sum(sizes) if noisy else 0, absent) as draws:
            for step in range(self.first, self.last):
                index, weight = (drawn.to(self.device) for drawn in draws.batches(step))
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(derived_seed(self.config.seed, "model", step))
                    sums, loss = gradients(stack, x[index], y[index], weight)
                refuse_divergence(loss, step)
                noise: Tensors = {}
                if noisy:
                    parts = zip(names, draws.noise(step).split(sizes, dim=1), strict=True)
                    noise = {name: part.view_as(stack.params[name]).to(stack.params[name]) for name, part in parts}
                _update_in_place(stack, sums, noise, spare, self.config, learning_rate(self.config, step))
                report(step + 1 - self.first)

    def _one_by_one(
        self, model: nn.Module, stack: TrainingState, x: Tensor, y: Tensor, report: Callable[[int], None]
    ) -> TrainingState:
        trained = []
        for k, job in enumerate(self.jobs):
            config = self.config.model_copy(update={"seed": job.seed})
            state = _map_states([stack], lambda parts, k=k: parts[0][k])
            rows = torch.from_numpy(job.rows).to(self.device)
            own_x, own_y, absent = x[rows], y[rows], job.absent_places()
            for step in range(self.first, self.last):
                train_step(model, state, own_x, own_y, config, step, self.q, None, absent)
            trained.append(state)
            report((k + 1) * (self.last - self.first) // len(self.jobs))
        return _map_states(trained, torch.stack)


def _has_convolutions(model: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.conv._ConvNd) for module in model.modules())


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


def _update_in_place(
    stack: TrainingState, sums: Tensors, noise: Tensors, spare: Tensors, config: TrainingConfig, lr: float
) -> None:
    """`apply_update` for a whole stack without new memory, which for wide models costs more than the arithmetic.

    `spare` has the shapes of the parameters; gradients may share memory with each other and are not written to.
    """
    on_gradient = gradient_noise_deviation(config.noise, config.batch_size)
    on_weights = weight_noise_deviation(config.noise, lr)
    for name, weight in stack.params.items():
        step = torch.div(sums[name], config.batch_size, out=spare[name])
        if on_gradient:
            step.add_(noise[name], alpha=on_gradient)
        if config.weight_decay:
            step.add_(weight, alpha=config.weight_decay)
        if config.momentum:
            previous = stack.momentum.get(name)
            step = step.clone() if previous is None else previous.mul_(config.momentum).add_(step)
            stack.momentum[name] = step
        weight.add_(step, alpha=-lr)
        if on_weights:
            weight.add_(noise[name], alpha=on_weights)


def _stackable(model: nn.Module, stack: TrainingState, x: Tensor, y: Tensor, clip: float | None) -> bool:
    """Whether torch.func can run this model stacked: tried on two records rather than guessed."""
    rows = torch.zeros(len(next(iter(stack.params.values()))), 2, dtype=torch.int64, device=x.device)
    try:
        with torch.random.fork_rng(devices=[]):
            _stacked_gradients(model, clip)(stack, x[rows], y[rows], torch.ones(rows.shape, device=x.device))
    except (RuntimeError, ValueError, NotImplementedError):
        return False
    return True


def _map_states(parts, join) -> TrainingState:  # type: ignore[no-untyped-def]
    """Join states tensor by tensor, in memory of their own."""
    flat = [p.tensors() for p in parts]
    return TrainingState.from_tensors({name: join([f[name] for f in flat]) for name in flat[0]})
