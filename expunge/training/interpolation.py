"""How does the loss run along the straight line between two models? Mean cross-entropy at each point of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from expunge.data import RecordTable
from expunge.errors import UsageError
from expunge.models import ModelSpec, build_model, uses_batch_statistics

POINTS = 25
State = Mapping[str, Tensor]


def loss_along(
    spec: ModelSpec,
    first: State,
    second: State,
    tables: Sequence[RecordTable],
    points: int = POINTS,
    *,
    device: str = "cpu",
    chunk: int = 1024,
) -> NDArray[np.float64]:
    """Mean cross-entropy in nats, float64 [tables, points], of (1 - t) first + t second at even t from 0 to 1.

    Parameters and floating buffers are interpolated, counters taken from `first`; everything runs in eval mode. Where
    the model uses batch statistics, BatchNorm's running mean and variance are computed anew at each t, both ends
    included, from the features of the FIRST table (METHOD section 7; Jordan et al. 2022, arXiv 2211.08403).

    The points are evaluated one after the other: a vmap over t was measured to take 1 to 16 times as long on CPUs.

    Raises:
        UsageError: fewer than two points, no table, an empty one, a state that does not fit the model, or fewer than
            two records to compute batch statistics from.
    """
    if points < 2 or not tables or any(not len(table) for table in tables):
        raise UsageError("A path needs two points and tables with records.", "METHOD section 7 uses 25 points.")
    model = build_model(spec).to(device).eval()
    for state in (first, second):
        _refuse_misfit(spec, model, state)
    renew = uses_batch_statistics(model)
    if renew and len(tables[0]) < 2:
        raise UsageError(
            "Batch statistics cannot be computed from one record.", "Give more retain records as the first table."
        )
    data = [(torch.from_numpy(t.features).to(device), torch.from_numpy(t.targets).to(device)) for t in tables]
    ends = [{name: state[name].to(device) for name in model.state_dict()} for state in (first, second)]
    losses = np.empty((len(tables), points))
    with torch.no_grad():
        for column, t in enumerate(np.linspace(0.0, 1.0, points).tolist()):
            model.load_state_dict({name: between(ends[0][name], ends[1][name], t) for name in ends[0]})
            if renew:
                renew_batch_statistics(model, data[0][0], chunk)
            for row, (x, y) in enumerate(data):
                losses[row, column] = _mean_loss(model, x, y, chunk)
    return losses


def between(first: Tensor, second: Tensor, t: float) -> Tensor:
    """(1 - t) first + t second, exact at both ends; a tensor that is not floating point is the first's."""
    if not first.is_floating_point() or t == 0.0:
        return first
    return second if t == 1.0 else (1.0 - t) * first + t * second


def renew_batch_statistics(model: nn.Module, features: Tensor, chunk: int = 1024) -> None:
    """Sets every BatchNorm's running mean and variance to those of the features [n, ...], n >= 2, in place.

    Averages over equal chunks in training mode of the BatchNorm layers alone (dropout stays off); every layer sees
    inputs normalised by the same chunk, as in training. The model is left in eval mode.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    momenta = [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over the chunks
        layer.train()
    with torch.no_grad():
        for part in torch.tensor_split(features, max(1, -(-len(features) // chunk))):
            model(part)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    model.eval()


def _mean_loss(model: nn.Module, x: Tensor, y: Tensor, chunk: int) -> float:
    parts = zip(x.split(chunk), y.split(chunk), strict=True)
    return sum(float(F.cross_entropy(model(a).double(), b, reduction="sum")) for a, b in parts) / len(y)


def _refuse_misfit(spec: ModelSpec, model: nn.Module, state: State) -> None:
    for name, tensor in model.state_dict().items():
        if name not in state or state[name].shape != tensor.shape:
            found = tuple(state[name].shape) if name in state else "nothing"
            raise UsageError(
                f"Tensor {name!r} is {found}, but model {spec.name!r} wants {tuple(tensor.shape)}.",
                "A line joins two models of one architecture.",
            )
