"""What do norms cost beside a plain pass? Measured in pairs, one after the other, so that a busy machine hits both.

The plain pass is what training does anyway: forward, summed loss, gradient of every trainable parameter; in eval mode,
as the norms are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from expunge.privacy.batches import Inputs, call, count, map_tensors, rows
from expunge.privacy.gradient_norms import plain, quiet_evaluation
from expunge.privacy.losses import losses
from expunge.privacy.scorer import GradientNormScorer

_PROBE = 32


@dataclass(frozen=True)
class PlainRatio:
    """Time for the norms of a batch over that of a plain pass: the median of `pairs` paired runs of `records`."""

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
    probe = _first(whole, _PROBE)
    _norms(scorer, probe)  # settles the way: neither kind of pass pays for it below
    once = _seconds(lambda: _norms(scorer, probe)) + _seconds(lambda: _plain_pass(scorer, probe))
    batch = _first(whole, max(_PROBE, int(seconds / 3 / once * _PROBE)))
    _norms(scorer, batch)
    _plain_pass(scorer, batch)
    found: list[float] = []
    started = time.perf_counter()
    while len(found) < 3 or (len(found) < pairs and time.perf_counter() - started < seconds):
        took = _seconds(lambda: _norms(scorer, batch))
        found.append(took / _seconds(lambda: _plain_pass(scorer, batch)))
    return PlainRatio(median(found), len(found), count(batch[0]))


def _norms(scorer: GradientNormScorer, batch: tuple[Any, ...]) -> None:
    for _ in scorer.norms([(batch[0], batch[1])]):
        pass


def _plain_pass(scorer: GradientNormScorer, batch: tuple[Any, ...]) -> None:
    model = scorer.model
    with quiet_evaluation(model):
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        values = losses(scorer.loss, call(model, batch[0], buffers), batch[1], count(batch[0]))
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
