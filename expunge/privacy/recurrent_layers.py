"""What are the slopes inside GRU, LSTM and plain recurrent layers? Their forward and backward passes, written out.

torch runs these layers as one operator that shows no step, so the recurrence is computed here, step by step, with the
derivatives by hand: the projections of the inputs are ordinary products, those of the states are products whose
positions are the time steps. Equations as in the documentation of torch.nn.GRU, LSTM and RNN; gates [i, f, g, o] for
the LSTM (i, f, o through a sigmoid, g through tanh) and [r, z, n] for the GRU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.privacy.parameter_uses import NotCovered, Use, UseRecorder, handles
from expunge.privacy.use_gradients import Direct, Outer

_VF = torch._C._VariableFunctions


class _Recurrence(torch.autograd.Function):
    """h_t for all steps from the projected inputs [t, n, gates]; rows beyond active[t] keep their state.

    Returns the states [t, n, hidden] (zeros where a row is not active) and the last ones.
    """

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        state: Tensor,
        memory: Tensor,
        anchor: Tensor,
        cell: _Cell,
        active: Sequence[int],
        backwards: bool,
        report: Callable[[Tensor, Tensor], None],
    ) -> tuple[Tensor, Tensor, Tensor]:
        steps = range(len(active) - 1, -1, -1) if backwards else range(len(active))
        h, c = state.clone(), memory.clone()
        states = projected.new_zeros(len(active), *state.shape)
        before = projected.new_zeros(len(active), *state.shape)
        kept: list[tuple[Tensor, ...]] = [()] * len(active)
        for t in steps:
            m = active[t]
            before[t, :m] = h[:m]
            new, new_memory, kept[t] = cell.step(projected[t, :m], h[:m], c[:m])
            states[t, :m] = new
            h[:m] = new
            if cell.has_memory:
                c[:m] = new_memory
        ctx.kept, ctx.before, ctx.steps, ctx.active = kept, before, steps, active
        ctx.cell, ctx.report = cell, report
        return states, h, c

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_states: Tensor, by_last: Tensor, by_memory: Tensor) -> Any:
        cell, active = ctx.cell, ctx.active
        dh, dc = by_last.clone(), by_memory.clone()
        gates = cell.gates * cell.hidden
        d_projected = by_states.new_zeros(len(active), by_states.shape[1], gates)
        d_hidden = d_projected if cell.shares_slopes else torch.zeros_like(d_projected)
        for t in reversed(ctx.steps):
            m = active[t]
            slope = by_states[t, :m] + dh[:m]
            dh[:m], dc_new = cell.back(slope, dc[:m], ctx.kept[t], d_projected[t, :m], d_hidden[t, :m])
            if cell.has_memory:
                dc[:m] = dc_new
        ctx.report(ctx.before, d_hidden)
        ctx.kept = ctx.before = None
        return d_projected, dh, dc, None, None, None, None, None


class _Cell:
    """One step and its derivative. `weight` [gates * hidden, hidden], `bias` [gates * hidden] or None."""

    gates = 1
    has_memory = False
    shares_slopes = True  # the slopes at the projected inputs and at the projected state are the same

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias, self.hidden = weight, bias, weight.shape[1]

    def project(self, h: Tensor) -> Tensor:
        return F.linear(h, self.weight, self.bias)

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        raise NotImplementedError

    def back(
        self, slope: Tensor, by_memory: Tensor, kept: tuple[Tensor, ...], to_input: Tensor, to_state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Writes the slopes at both projections; returns those at the state and memory before."""
        raise NotImplementedError


class _Tanh(_Cell):
    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        new = torch.tanh(x + self.project(h))
        return new, c, (new,)

    def back(
        self, slope: Tensor, by_memory: Tensor, kept: tuple[Tensor, ...], to_input: Tensor, to_state: Tensor
    ) -> tuple[Tensor, Tensor]:
        torch.mul(slope, 1 - kept[0].square(), out=to_input)
        return to_input @ self.weight, by_memory


class _Relu(_Cell):
    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        new = torch.relu(x + self.project(h))
        return new, c, (new,)

    def back(
        self, slope: Tensor, by_memory: Tensor, kept: tuple[Tensor, ...], to_input: Tensor, to_state: Tensor
    ) -> tuple[Tensor, Tensor]:
        torch.mul(slope, kept[0] > 0, out=to_input)
        return to_input @ self.weight, by_memory


class _Gru(_Cell):
    gates, shares_slopes = 3, False

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        size = self.hidden
        hidden = self.project(h)
        rz = (x[:, : 2 * size] + hidden[:, : 2 * size]).sigmoid_()
        r, z, inner = rz[:, :size], rz[:, size:], hidden[:, 2 * size :]
        n = torch.addcmul(x[:, 2 * size :], r, inner).tanh_()
        return torch.lerp(n, h, z), c, (rz, inner, n, h.clone())

    def back(
        self, slope: Tensor, by_memory: Tensor, kept: tuple[Tensor, ...], to_input: Tensor, to_state: Tensor
    ) -> tuple[Tensor, Tensor]:
        rz, inner, n, h = kept
        size = self.hidden
        r, z = rz[:, :size], rz[:, size:]
        dn = slope * (1 - z) * (1 - n.square())
        to_input[:, 2 * size :] = dn
        to_input[:, :size] = dn * inner
        to_input[:, size : 2 * size] = slope * (h - n)
        to_input[:, : 2 * size].mul_(rz * (1 - rz))
        to_state[:, : 2 * size] = to_input[:, : 2 * size]
        torch.mul(dn, r, out=to_state[:, 2 * size :])
        return torch.addmm(slope * z, to_state, self.weight), by_memory


class _Lstm(_Cell):
    gates, has_memory = 4, True

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        size = self.hidden
        gates = x + self.project(h)
        gates[:, : 2 * size].sigmoid_()
        gates[:, 2 * size : 3 * size].tanh_()
        gates[:, 3 * size :].sigmoid_()
        i, f, g, o = gates.split(size, 1)
        memory = f * c + i * g
        shown = torch.tanh(memory)
        return o * shown, memory, (gates, shown, c.clone())

    def back(
        self, slope: Tensor, by_memory: Tensor, kept: tuple[Tensor, ...], to_input: Tensor, to_state: Tensor
    ) -> tuple[Tensor, Tensor]:
        gates, shown, c = kept
        size = self.hidden
        i, f, g, o = gates.split(size, 1)
        dc = by_memory + slope * o * (1 - shown.square())
        to_input[:, :size] = dc * g * i * (1 - i)
        to_input[:, size : 2 * size] = dc * c * f * (1 - f)
        to_input[:, 2 * size : 3 * size] = dc * i * (1 - g.square())
        to_input[:, 3 * size :] = slope * shown * o * (1 - o)
        return to_input @ self.weight, dc * f


@handles(_VF.gru)
def gru(recorder: UseRecorder, func: Any, *args: Any) -> tuple[Tensor, Tensor]:
    output, last, _ = _layers(recorder, _Gru, args, memory=False)
    return output, last


@handles(_VF.rnn_tanh)
def rnn_tanh(recorder: UseRecorder, func: Any, *args: Any) -> tuple[Tensor, Tensor]:
    output, last, _ = _layers(recorder, _Tanh, args, memory=False)
    return output, last


@handles(_VF.rnn_relu)
def rnn_relu(recorder: UseRecorder, func: Any, *args: Any) -> tuple[Tensor, Tensor]:
    output, last, _ = _layers(recorder, _Relu, args, memory=False)
    return output, last


@handles(_VF.lstm)
def lstm(recorder: UseRecorder, func: Any, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _layers(recorder, _Lstm, args, memory=True)


def _layers(
    recorder: UseRecorder, kind: type[_Cell], args: tuple[Any, ...], memory: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """All layers and directions, for a padded batch or a packed one."""
    packed = isinstance(args[3], bool) is False
    if packed:
        data, sizes, first, weights, has_biases, layers, dropout, train, both = args
        active = sizes.tolist()
        x = data.new_zeros(len(active), active[0], data.shape[1])
        filled = torch.arange(active[0], device=data.device) < torch.tensor(active, device=data.device)[:, None]
        x = x.masked_scatter(filled[..., None], data)
        batch_first, order = False, recorder.packed_order
    else:
        x, first, weights, has_biases, layers, dropout, train, both, batch_first = args
        x = x.transpose(0, 1) if batch_first else x
        active, order = [x.shape[1]] * x.shape[0], None
    if x.shape[1] != recorder.n or (train and dropout):
        raise NotCovered("a recurrent layer whose second axis is not the batch")
    states, memories = first if memory else (first, torch.zeros_like(first))
    directions = 2 if both else 1
    if len(weights) != layers * directions * (4 if has_biases else 2):
        raise NotCovered("a recurrent layer with a projection of its states")
    last_states, last_memories = [], []
    old = recorder.order, recorder.positions_first
    recorder.order, recorder.positions_first = order, True
    try:
        for layer in range(layers):
            outputs = []
            for direction in range(directions):
                at = layer * directions + direction
                own = weights[at * (4 if has_biases else 2) :][: 4 if has_biases else 2]
                out, h, c = _direction(recorder, kind, x, states[at], memories[at], own, active, direction == 1)
                outputs.append(out)
                last_states.append(h)
                last_memories.append(c)
            x = torch.cat(outputs, 2) if both else outputs[0]
    finally:
        recorder.order, recorder.positions_first = old
    output = x[filled] if packed else x.transpose(0, 1) if batch_first else x
    return output, torch.stack(last_states), torch.stack(last_memories)


def _direction(
    recorder: UseRecorder,
    kind: type[_Cell],
    x: Tensor,
    state: Tensor,
    memory: Tensor,
    weights: Sequence[Tensor],
    active: Sequence[int],
    backwards: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer in one direction: x [t, n, inputs] to states [t, n, hidden], last state and memory."""
    by_input, by_state, *biases = weights
    with recorder:
        projected = F.linear(x, by_input, biases[0] if biases else None)
    bias = biases[1] if biases else None
    cell = kind(by_state.detach(), None if bias is None else bias.detach())
    uses: list[list[Use]] = []

    def report(before: Tensor, slopes: Tensor) -> None:
        product = Outer(before.transpose(0, 1))
        for use in uses[0]:
            use.gradient = product
        for noted in uses:
            recorder.arrived(noted, slopes)

    examples = lambda g: g.transpose(0, 1)  # noqa: E731
    uses.append(recorder.use(recorder.leaf(by_state), Outer(x), examples))
    uses.append(recorder.use(recorder.leaf(bias), Direct(lambda g: g.sum(1)), examples))
    anchor = torch.zeros((), dtype=x.dtype, device=x.device, requires_grad=True)
    found = _Recurrence.apply(projected, state, memory, anchor, cell, active, backwards, report)
    recorder.watch_own(anchor)
    return found


@handles(_VF.gru_cell)
def gru_cell(recorder: UseRecorder, func: Any, x: Tensor, h: Tensor, *weights: Any) -> Tensor:
    return _one_step(recorder, _Gru, x, h, None, weights)[0]


@handles(_VF.rnn_tanh_cell)
def rnn_tanh_cell(recorder: UseRecorder, func: Any, x: Tensor, h: Tensor, *weights: Any) -> Tensor:
    return _one_step(recorder, _Tanh, x, h, None, weights)[0]


@handles(_VF.rnn_relu_cell)
def rnn_relu_cell(recorder: UseRecorder, func: Any, x: Tensor, h: Tensor, *weights: Any) -> Tensor:
    return _one_step(recorder, _Relu, x, h, None, weights)[0]


@handles(_VF.lstm_cell)
def lstm_cell(recorder: UseRecorder, func: Any, x: Tensor, state: Any, *weights: Any) -> tuple[Tensor, Tensor]:
    return _one_step(recorder, _Lstm, x, state[0], state[1], weights)


def _one_step(
    recorder: UseRecorder, kind: type[_Cell], x: Tensor, h: Tensor, c: Tensor | None, weights: Sequence[Any]
) -> tuple[Tensor, Tensor]:
    """A cell: x [n, inputs], h [n, hidden]."""
    by_input, by_state, *biases = (w for w in weights)
    if x.ndim != 2 or len(x) != recorder.n:
        raise NotCovered("a recurrent cell without a batch axis")
    given = [by_input, by_state, *(b for b in biases if b is not None)]
    memory = torch.zeros_like(h) if c is None else c
    old, recorder.positions_first = recorder.positions_first, True
    try:
        _, new, new_memory = _direction(recorder, kind, x[None], h, memory, given, [len(x)], False)
    finally:
        recorder.positions_first = old
    return new, new_memory
