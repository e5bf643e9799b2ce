"""Which hidden units of two models belong together? Permutation alignment by weight matching.

Reordering the hidden units of a layer, and the inputs of the next one with them, leaves the function as it is, so two
models can be far apart in weights and yet be neighbours. Units are matched by iterated linear assignment (Ainsworth,
Hayase and Srinivasa 2023, "Git Re-Basin", arXiv 2209.04836, algorithm 1), for plain chains only: `unit_chain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from expunge.models import ModelSpec, build_model
from expunge.training.unit_chain import Hidden, NotAChain, Use, unit_chain

Array = NDArray[np.float64]
Order = NDArray[np.int64]
State = Mapping[str, Tensor]
MOST_PASSES = 100
ROUNDING = 1e-3


@dataclass(frozen=True)
class Aligned:
    """`state`: the aligned parameters and buffers, or None with the `reason` why the model cannot be aligned.

    orders: for each hidden layer, by name, which of the model's units stands at each place, int64 [units].
    """

    state: dict[str, Tensor] | None
    reason: str = ""
    orders: Mapping[str, Order] | None = None


def align(spec: ModelSpec, reference: State, state: State) -> Aligned:
    """The model of `state` with its hidden units reordered to resemble `reference`: the same function.

    Coordinate ascent on the inner product of the weights: one layer's units are assigned exactly while the others stay.
    It starts twice, from the order as it is and from layers matched front to back by their incoming weights alone, and
    the better end is kept (chosen here; the paper starts once, in random order). So a permuted copy is always undone.
    GroupNorm allows only orders that keep its groups together: groups are assigned to groups, units within them.

    Refused, with a reason: skip connections, attention, recurrence, shared weights, anything not understood. That the
    result is the same function is checked on random inputs rather than trusted.
    """
    model = build_model(spec).eval()
    try:
        hidden = unit_chain(spec, model)
    except NotAChain as refusal:
        return Aligned(None, str(refusal))
    if not hidden:
        return Aligned(dict(state), "", {})
    parameters = {name for name, _ in model.named_parameters()}
    first, second = (
        {name: tensor.detach().cpu().double().numpy() for name, tensor in s.items() if name in parameters}
        for s in (reference, state)
    )
    best = max((_ascend(hidden, first, second, start) for start in _starts(hidden, first, second)), key=lambda e: e[0])
    orders = best[1]
    moved = {name: _moved(tensor, name, hidden, orders) for name, tensor in state.items()}
    if not _same_function(spec, state, moved):
        return Aligned(None, "the reordered model did not give the same outputs")
    return Aligned(moved, "", {layer.name: order for layer, order in zip(hidden, orders, strict=True)})


def _starts(hidden: list[Hidden], first: Mapping[str, Array], second: Mapping[str, Array]) -> list[list[Order]]:
    as_it_is: list[Order] = [np.arange(layer.units) for layer in hidden]
    forward = list(as_it_is)
    for place, layer in enumerate(hidden):
        forward[place] = _assign(layer, _likeness(layer, hidden, forward, first, second, incoming=True))
    return [as_it_is, forward]


def _ascend(
    hidden: list[Hidden], first: Mapping[str, Array], second: Mapping[str, Array], start: list[Order]
) -> tuple[float, list[Order]]:
    """(inner product of the weights, orders) from which no single layer's assignment leads higher."""
    orders = list(start)
    for _ in range(MOST_PASSES):
        gained = False
        for place, layer in enumerate(hidden):
            likeness = _likeness(layer, hidden, orders, first, second)
            order = _assign(layer, likeness)
            rows = np.arange(layer.units)
            gain = likeness[rows, order].sum() - likeness[rows, orders[place]].sum()
            if gain > 1e-12 * (1.0 + np.abs(likeness).sum()):
                orders[place], gained = order, True
        if not gained:
            break
    moved = {name: _reordered(tensor, name, hidden, orders) for name, tensor in second.items()}
    return sum(float((first[name] * moved[name]).sum()) for name in first), orders


def _likeness(
    layer: Hidden,
    hidden: list[Hidden],
    orders: list[Order],
    first: Mapping[str, Array],
    second: Mapping[str, Array],
    incoming: bool = False,
) -> Array:
    """Inner products [units of the reference, units of the model] of all weights of a unit, other layers in order."""
    total = np.zeros((layer.units, layer.units))
    for use in layer.uses:
        if use.name in first and (use.axis == 0 or not incoming):
            others = [o if h is not layer else np.arange(h.units) for h, o in zip(hidden, orders, strict=True)]
            moved = _reordered(second[use.name], use.name, hidden, others)
            total += _by_unit(first[use.name], use) @ _by_unit(moved, use).T
    return total


def _by_unit(tensor: Array, use: Use) -> Array:
    """[units, all other entries] of a tensor whose axis holds `use.block` entries a unit."""
    front = np.moveaxis(tensor, use.axis, 0)
    return front.reshape(front.shape[0] // use.block, -1)


def _assign(layer: Hidden, likeness: Array) -> Order:
    """The order of largest total likeness among those that the layer allows; exact."""
    size = layer.units // layer.groups
    if layer.groups == 1:
        return np.asarray(linear_sum_assignment(likeness, maximize=True)[1], dtype=np.int64)
    totals = np.empty((layer.groups, layer.groups))
    inner: dict[tuple[int, int], Order] = {}
    for a in range(layer.groups):
        for b in range(layer.groups):
            block = likeness[a * size : (a + 1) * size, b * size : (b + 1) * size]
            rows, columns = linear_sum_assignment(block, maximize=True)
            totals[a, b] = block[rows, columns].sum()
            inner[a, b] = columns
    chosen = linear_sum_assignment(totals, maximize=True)[1]
    return np.concatenate([b * size + inner[a, int(b)] for a, b in enumerate(chosen)]).astype(np.int64)


def _indices(use: Use, order: Order) -> Order:
    return np.asarray((order[:, None] * use.block + np.arange(use.block)).ravel(), dtype=np.int64)


def _reordered(tensor: Array, name: str, hidden: list[Hidden], orders: list[Order]) -> Array:
    for layer, order in zip(hidden, orders, strict=True):
        for use in layer.uses:
            if use.name == name:
                tensor = np.take(tensor, _indices(use, order), axis=use.axis)
    return tensor


def _moved(tensor: Tensor, name: str, hidden: list[Hidden], orders: list[Order]) -> Tensor:
    for layer, order in zip(hidden, orders, strict=True):
        for use in layer.uses:
            if use.name == name:
                tensor = tensor.index_select(use.axis, torch.from_numpy(_indices(use, order)).to(tensor.device))
    return tensor


def _same_function(spec: ModelSpec, state: State, moved: State) -> bool:
    probe = torch.randn(8, *spec.in_shape, generator=torch.Generator().manual_seed(0))
    outputs = []
    for each in (state, moved):
        model = build_model(spec)
        model.load_state_dict(dict(each))
        with torch.no_grad():
            outputs.append(model.eval()(probe))
    scale = 1.0 + float(outputs[0].abs().max())
    return bool(torch.isfinite(outputs[1]).all()) and float((outputs[0] - outputs[1]).abs().max()) <= ROUNDING * scale
