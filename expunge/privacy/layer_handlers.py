"""What does each torch function make of its parameters? One handler a function; importing this module registers them.

A handler calls the function, notes what an example's gradient by each parameter is (`use_gradients`) and watches the
output. Expressions are those of the layers' documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.privacy.convolution_kernels import Geometry
from expunge.privacy.parameter_uses import Examples, NotCovered, UseRecorder, handles
from expunge.privacy.space_sums import join_folded, sum_over_space
from expunge.privacy.use_gradients import Convolution, Direct, Lookup, Outer

# Larger weights are slower in channels-last, on the small images that such layers have (512 x 512 x 3 x 3)
_LARGE_WEIGHT = 1 << 20


@handles(F.linear)
def linear(recorder: UseRecorder, func: Any, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input [..., inputs], weight [outputs, inputs]."""
    output: Tensor = func(input, weight, bias)
    examples = recorder.layout(input, 1)
    uses = recorder.use(recorder.leaf(weight), Outer(_positions(examples(input.detach()))), _flat(examples))
    uses += recorder.use(recorder.leaf(bias), Direct(lambda g: g.sum(1)), _flat(examples))
    recorder.watch(output, uses, input)
    return output


@handles(torch.matmul, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, torch.mm, Tensor.mm)
def matmul(recorder: UseRecorder, func: Any, first: Tensor, second: Tensor) -> Tensor:
    """x @ p with p [inputs, outputs]."""
    left, right = (second, first) if func is Tensor.__rmatmul__ else (first, second)
    leaf = recorder.leaf(right)
    if leaf is None or recorder.leaf(left) is not None or right.ndim != 2:
        raise NotCovered("a product with a parameter on the left")
    output: Tensor = func(first, second)
    examples = recorder.layout(left, 1)
    product = Outer(_positions(examples(left.detach())), transposed=True)
    recorder.watch(output, recorder.use(leaf, product, _flat(examples)), left)
    return output


def _positions(a: Tensor) -> Tensor:
    """[n, ..., features] to [n, t, features]."""
    return a.flatten(1, -2) if a.ndim > 2 else a[:, None]


def _flat(examples: Examples) -> Examples:
    return lambda g: _positions(examples(g))


@handles(F.conv1d, F.conv2d, F.conv3d)
def convolution(
    recorder: UseRecorder,
    func: Any,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """input [n, channels, *space], weight [filters, channels / groups, *kernel]."""
    axes, leaf = weight.ndim - 2, recorder.leaf(weight)
    if input.ndim != axes + 2:
        raise NotCovered("a convolution got an input without a batch axis")
    # without the weight's graph where the input has one, which is enough for the output to have one
    read, weights = input, weight if leaf is None or not input.requires_grad else weight.detach()
    if recorder.channels_last and axes == 2 and weight.device.type == "cpu" and weight.dtype == torch.float32:
        read = _channels_last(read) if weight.numel() <= _LARGE_WEIGHT else read.contiguous()
    output: Tensor = func(read, weights, bias, stride, padding, dilation, groups)
    examples = recorder.layout(input, axes + 1)
    if examples(input).ndim != input.ndim:  # frames folded into the batch: their gradients add up
        raise NotCovered("a convolution over several images an example")
    uses = recorder.use(recorder.leaf(bias), Direct(sum_over_space), examples)
    if leaf is not None:
        steps, gaps, kernel = _each(stride, axes), _each(dilation, axes), tuple(weight.shape[2:])
        a, before = _with_padding(examples(read.detach()), padding, kernel, gaps)
        widen = examples
        if axes == 1:  # a row of an image: more kernels know those
            a, widen = a[:, :, None], lambda g: examples(g)[:, :, None]
            kernel, steps, before, gaps = (1, *kernel), (1, *steps), (0, *before), (1, *gaps)
        shape = Geometry(kernel, steps, before, gaps, groups)
        recorder.watch(output, recorder.use(leaf, Convolution(a, shape), widen), read)
    recorder.watch(output, uses, input)
    return output


def _channels_last(values: Tensor) -> Tensor:
    """With the strides of that format also where there is one channel: they say in which format the output comes."""
    values = values.contiguous(memory_format=torch.channels_last)
    if values.shape[1] == 1:
        values = values.as_strided(values.shape, (values.stride(0), 1, values.shape[3], 1))
    return values


def _each(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value) * (axes if len(value) == 1 else 1)


def _with_padding(
    a: Tensor, padding: int | Sequence[int] | str, kernel: tuple[int, ...], gaps: tuple[int, ...]
) -> tuple[Tensor, tuple[int, ...]]:
    """The input, and the padding on both sides of each axis; "same" puts an odd zero at the end, as the layers do."""
    if padding == "valid":
        return a, (0,) * len(kernel)
    if padding != "same":
        assert not isinstance(padding, str)
        return a, _each(padding, len(kernel))
    extra = [gap * (size - 1) for gap, size in zip(gaps, kernel, strict=True)]
    if any(e % 2 for e in extra):
        a = F.pad(a, [side for e in reversed(extra) for side in (0, e % 2)])
    return a, tuple(e // 2 for e in extra)


@handles(F.embedding)
def embedding(
    recorder: UseRecorder,
    func: Any,
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """input int [...], weight [entries, width]."""
    if max_norm is not None or scale_grad_by_freq:
        raise NotCovered("an embedding that renormalises or counts")
    output: Tensor = func(input, weight, padding_idx)
    examples = recorder.layout(input, 0)
    padding = None if padding_idx is None or padding_idx == -1 else padding_idx % len(weight)
    words = examples(input)
    lookup = Lookup(words.reshape(len(words), -1), len(weight), padding)
    flat = lambda g: examples(g).reshape(recorder.n, -1, g.shape[-1])  # noqa: E731
    recorder.watch(output, recorder.use(recorder.leaf(weight), lookup, flat), None)
    return output


@handles(torch.prelu)
def prelu(recorder: UseRecorder, func: Any, input: Tensor, weight: Tensor) -> Tensor:
    """input [n, channels, ...], weight [channels] or [1]."""
    output: Tensor = func(input, weight)
    examples = recorder.layout(input, max(0, input.ndim - 1))

    def slope(g: Tensor) -> Tensor:
        negative = input.detach().clamp_max(0) * g
        sums = sum_over_space(negative) if input.ndim > 1 else negative[:, None]
        return join_folded(examples, sums if weight.numel() > 1 else sums.sum(1, keepdim=True))

    recorder.watch(output, recorder.use(recorder.leaf(weight), Direct(slope), lambda g: g), input)
    return output


@handles(F.multi_head_attention_forward)
def attention(recorder: UseRecorder, func: Any, query: Tensor, *args: Any, **kwargs: Any) -> Any:
    """[t, n, width]: the function's own code, with its projections seen by this recorder one by one."""
    if query.ndim != 3:
        raise NotCovered("attention without a batch axis")
    before = recorder.positions_first
    recorder.positions_first = True
    try:
        with recorder:
            return _open(func)(query, *args, **kwargs)
    finally:
        recorder.positions_first = before


def _open(func: FunctionType) -> Callable[..., Any]:
    """The function without its first lines, which would hand the call to the mode as a whole again."""
    globals_ = {**func.__globals__, "has_torch_function": lambda *_: False}
    opened = FunctionType(func.__code__, globals_, func.__name__, func.__defaults__, func.__closure__)
    opened.__kwdefaults__ = func.__kwdefaults__
    return opened
