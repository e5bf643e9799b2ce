"""What do norms cost beside a plain pass? Measured in pairs, one after the other, so that a busy machine hits both.

The plain pass is what training does anyway: forward, summed loss, gradient of every trainable parameter; in eval mode,
as the norms are. Where there are images it is run contiguous and channels-last, and the faster one counts.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import nn

from expunge.privacy.batches import Inputs, call, count, map_tensors, rows
from expunge.privacy.gradient_norms import plain, quiet_evaluation, recurrent_backward
from expunge.privacy.losses import Loss, losses
from expunge.privacy.scorer import GradientNormScorer

_PROBE, _OURS = 32, "ours"


@dataclass(frozen=True)
class PlainRatio:
    """Time for the norms of a batch over that of the faster plain pass: median of `pairs` paired runs of `records`."""

    median: float
    pairs: int
    records: int


def ratio_to_plain_pass(
    scorer: GradientNormScorer, inputs: Inputs, targets: Any, *, seconds: float = 2.0, pairs: int = 15
) -> PlainRatio:
    """How many plain passes the norms of this batch take.

    Args:
        inputs, targets: one batch of the size that is scored at once; cut short where three pairs would take longer
            than `seconds`.
        pairs: most pairs; at least three are run.
    """
    device = next(scorer.model.parameters()).device
    whole = tuple(map_tensors(values, lambda value: plain(value).to(device)) for values in (inputs, targets))
    with quiet_evaluation(scorer.model):
        took, records = _paired(scorer, whole, seconds, pairs)
    fastest = min((name for name in took if name != _OURS), key=lambda name: median(took[name]))
    ratios = [ours / other for ours, other in zip(took[_OURS], took[fastest], strict=True)]
    return PlainRatio(median(ratios), len(ratios), records)


def _paired(
    scorer: GradientNormScorer, whole: tuple[Any, ...], seconds: float, pairs: int
) -> tuple[dict[str, list[float]], int]:
    """Times of the norms and of the plain passes, one of each a round, and the records of the batch."""
    probe = _first(whole, _PROBE)
    _norms(scorer, probe)  # settles the way: neither kind of pass pays for it below
    others = plain_passes(scorer.model, scorer.loss, *probe)
    once = _seconds(lambda: _norms(scorer, probe)) + sum(_seconds(run) for run in others.values())
    batch = _first(whole, max(_PROBE, int(seconds / 3 / once * _PROBE)))
    runs = {_OURS: lambda: _norms(scorer, batch), **plain_passes(scorer.model, scorer.loss, *batch)}
    for run in runs.values():
        run()
    took: dict[str, list[float]] = {name: [] for name in runs}
    started = time.perf_counter()
    while len(took[_OURS]) < 3 or (len(took[_OURS]) < pairs and time.perf_counter() - started < seconds):
        for name, run in runs.items():
            took[name].append(_seconds(run))
    return took, count(batch[0])


def plain_passes(model: nn.Module, loss: Loss, inputs: Inputs, targets: Any) -> dict[str, Callable[[], None]]:
    """The plain pass over a batch, by memory format: "plain", and "plain, channels-last" where there are images.

    The model is in eval mode and autograd is on.
    """
    found = {"plain": lambda: _plain_pass(model, loss, inputs, targets)}
    if any(isinstance(layer, nn.Conv2d) for layer in model.modules()):
        other = copy.deepcopy(model).to(memory_format=torch.channels_last)
        images = map_tensors(inputs, lambda v: v.to(memory_format=torch.channels_last) if v.ndim == 4 else v)
        found["plain, channels-last"] = lambda: _plain_pass(other, loss, images, targets)
    return found


def _norms(scorer: GradientNormScorer, batch: tuple[Any, ...]) -> None:
    list(scorer.norms([(batch[0], batch[1])]))


def _plain_pass(model: nn.Module, loss: Loss, inputs: Inputs, targets: Any) -> None:
    with recurrent_backward(model):
        values = losses(loss, call(model, inputs), targets, count(inputs))
        trained = [p for p in model.parameters() if p.requires_grad]
        torch.autograd.grad(values.sum(), trained, allow_unused=True)


def _first(batch: tuple[Any, ...], most: int) -> tuple[Any, ...]:
    return tuple(rows(values, slice(0, most)) for values in batch)


def _seconds(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started
