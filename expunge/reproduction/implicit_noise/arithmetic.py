"""In which ways can one machine compute the same step? All of them are right; they differ in how they round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import vmap

from expunge.training.gradients import Tensors, gradient_sum, summed_loss
from expunge.training.randomness import generator
from expunge.training.state import TrainingState
from expunge.training.trainer import Objective

# repeat: the same settings again. float32, bfloat16: another way to compute in that precision. float64: exact, next to
# float32. chance: rounding by coin. gpu: with one. known: Gaussian noise of a known size, the control. record: without
# one record, what is to be hidden.
Kind = Literal["repeat", "float32", "bfloat16", "float64", "chance", "gpu", "known", "record"]
PLAIN = "plain"
CHUNK = 16
# What an older processor would choose; ignored where there is nothing to choose.
OLDER = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
# Threads that wait asleep compute the same, and leave the cores to others.
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True)
class Arithmetic:
    """A way to compute one step of plain SGD.

    Attributes:
        gradient: (model, state, x, y, rows, step) -> (SUM over the batch of the gradients, loss).
        setting: what is in force while it computes. dtype: of weights and records.
        grid: the format in which the weights lie between steps. store: called with (state, step) after each step.
        against: the arithmetic to compare with, where it is not the plain one.
        environment: of a process of its own, where it needs one; None: it does not.
    """

    name: str
    kind: Kind
    gradient: Objective
    setting: Callable[[], AbstractContextManager[object]] = nullcontext
    dtype: torch.dtype = torch.float32
    grid: torch.dtype = torch.float32
    device: str = "cpu"
    store: Callable[[TrainingState, int], None] | None = None
    against: str = PLAIN
    environment: Mapping[str, str] | None = field(default=None)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """`count` threads of torch, put back after."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _bfloat16_products() -> Iterator[None]:
    """Matrix products of float32 numbers may be made of bfloat16 ones, where the processor has them."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _without_onednn() -> AbstractContextManager[object]:
    # None: this setting is for GPUs of another maker, and torch warns about touching it.
    return torch.backends.mkldnn.flags(enabled=False, allow_tf32=None)


def plain(
    model: nn.Module, state: TrainingState, x: Tensor, y: Tensor, rows: Tensor, step: int
) -> tuple[Tensors, Tensor]:
    """The trainer's own way."""
    return gradient_sum(model, state, x[rows], y[rows], None)


def backwards(
    model: nn.Module, state: TrainingState, x: Tensor, y: Tensor, rows: Tensor, step: int
) -> tuple[Tensors, Tensor]:
    """The records of the batch are summed from the last to the first."""
    return plain(model, state, x, y, rows.flip(0), step)


def in_chunks(
    model: nn.Module, state: TrainingState, x: Tensor, y: Tensor, rows: Tensor, step: int
) -> tuple[Tensors, Tensor]:
    """Micro-batches, added up."""
    first, *others = rows.split(CHUNK)
    total, loss = plain(model, state, x, y, first, step)
    for part in others:
        sums, more = plain(model, state, x, y, part, step)
        total, loss = {name: total[name] + sums[name] for name in total}, loss + more
    return total, loss


def stacked(
    model: nn.Module, state: TrainingState, x: Tensor, y: Tensor, rows: Tensor, step: int
) -> tuple[Tensors, Tensor]:
    """Beside a twin, as stacked training computes: batched products, grouped convolutions."""
    leaves = {name: torch.stack([w, w]).detach().requires_grad_(True) for name, w in state.params.items()}
    loss = summed_loss(model, state.buffers)
    losses = vmap(loss, in_dims=(0, None, None, None))(leaves, x[rows], y[rows], torch.ones(len(rows)))
    grads = torch.autograd.grad(losses.sum(), list(leaves.values()))
    return {name: grad[0] for name, grad in zip(leaves, grads, strict=True)}, losses[0].detach()


def channels_last(
    model: nn.Module, state: TrainingState, x: Tensor, y: Tensor, rows: Tensor, step: int
) -> tuple[Tensors, Tensor]:
    """Convolutions with the channels innermost in memory."""
    laid = {k: w.to(memory_format=torch.channels_last) if w.ndim == 4 else w for k, w in state.params.items()}
    sums, loss = plain(model, TrainingState(laid, state.buffers, {}), x, y, rows, step)
    return {name: grad.contiguous() for name, grad in sums.items()}, loss


def autocast(
    model: nn.Module, state: TrainingState, x: Tensor, y: Tensor, rows: Tensor, step: int
) -> tuple[Tensors, Tensor]:
    """Mixed precision: products in bfloat16, weights and sums in float32."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return plain(model, state, x, y, rows, step)


def round_by_coin(state: TrainingState, source: torch.Generator) -> None:
    """Round float32 weights to bfloat16 in place, up or down at random so that the mean is kept.

    A bfloat16 is the upper half of a float32: add a random lower half and cut it off.
    """
    for _, weight in sorted(state.params.items()):
        bits = weight.view(torch.int32)
        coin = torch.randint(0, 1 << 16, weight.shape, generator=source, dtype=torch.int32)
        bits.add_(coin).bitwise_and_(-(1 << 16))


def _coin_store(seed: int) -> Callable[[TrainingState, int], None]:
    return lambda state, step: round_by_coin(state, generator(seed, "rounding", step))


def _with_noise(s: float, seed: int) -> Objective:
    """The plain gradient sum with Gaussian noise of deviation `s` on it."""

    def gradient(
        model: nn.Module, state: TrainingState, x: Tensor, y: Tensor, rows: Tensor, step: int
    ) -> tuple[Tensors, Tensor]:
        sums, loss = plain(model, state, x, y, rows, step)
        source = generator(seed, "known noise", step)
        return {k: sums[k] + s * torch.randn(sums[k].shape, generator=source) for k in sorted(sums)}, loss

    return gradient


def _without(record: int) -> Objective:
    """The plain gradient sum of the batch without this row, whether or not it was drawn."""

    def gradient(
        model: nn.Module, state: TrainingState, x: Tensor, y: Tensor, rows: Tensor, step: int
    ) -> tuple[Tensors, Tensor]:
        kept = rows[rows != record]
        if len(kept):
            return plain(model, state, x, y, kept, step)
        return {name: torch.zeros_like(weight) for name, weight in state.params.items()}, torch.zeros(())

    return gradient


def known_name(s: float) -> str:
    """What the control with noise of deviation `s` is called."""
    return f"known noise {s:g}"


def arithmetics(
    convolutions: bool, seed: int, known: Sequence[float] = (), left_out: Mapping[str, int] | None = None
) -> dict[str, Arithmetic]:
    """All ways by name, the plain one first.

    Args:
        convolutions: the model has some. seed: of what is random by intent. known: s of the controls. left_out: rows
            of training records, by the name of the run without each.
    """
    float32: Kind = "float32"
    bfloat16: Kind = "bfloat16"
    ways = [
        Arithmetic(PLAIN, "repeat", plain),
        Arithmetic("same again", "repeat", plain),
        Arithmetic("same, new process", "repeat", plain, environment=PATIENT),
        Arithmetic("two threads", float32, plain, lambda: threads(2), environment=PATIENT),
        Arithmetic(
            "two threads again", "repeat", plain, lambda: threads(2), against="two threads", environment=PATIENT
        ),
        Arithmetic("older instructions", float32, plain, environment=OLDER),
        Arithmetic("without oneDNN", float32, plain, _without_onednn),
        Arithmetic("stacked", float32, stacked),
        Arithmetic("chunks", float32, in_chunks),
        Arithmetic("backwards", float32, backwards),
        Arithmetic("bfloat16 products", bfloat16, plain, _bfloat16_products),
        Arithmetic("bfloat16 autocast", bfloat16, autocast),
        Arithmetic("bfloat16 throughout", bfloat16, plain, dtype=torch.bfloat16, grid=torch.bfloat16),
        Arithmetic("bfloat16 by coin", "chance", plain, grid=torch.bfloat16, store=_coin_store(seed)),
        Arithmetic("float64", "float64", plain, dtype=torch.float64),
        *(Arithmetic(known_name(s), "known", _with_noise(s, seed)) for s in known),
        *(Arithmetic(name, "record", _without(row)) for name, row in (left_out or {}).items()),
    ]
    if convolutions:
        ways.insert(7, Arithmetic("channels last", float32, channels_last))
    if torch.cuda.is_available():
        ways += [
            Arithmetic("GPU", "gpu", plain, device="cuda"),
            Arithmetic("GPU again", "gpu", plain, device="cuda", against="GPU"),
        ]
    return {way.name: way for way in ways}
