"""What does each torch function make of its parameters? One handler a function; importing this module registers them.

A handler calls the function, notes what an example's gradient by each parameter is (`use_gradients`) and watches the
output. Expressions are those of the layers' documentation; scales use SUM over positions of slope * normalised input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.errors import UsageError
from expunge.privacy.convolution_kernels import Geometry
from expunge.privacy.parameter_uses import GUARDS, Ambiguous, NotCovered, UseRecorder, handles
from expunge.privacy.space_sums import sum_of_products_over_space, sum_over_space
from expunge.privacy.use_gradients import Convolution, Direct, Lookup, Outer

Examples = Callable[[Tensor], Tensor]

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
    if recorder.channels_last and axes == 2:
        read = _channels_last(read) if _faster_in_channels_last(weight) else read.contiguous()
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


def _faster_in_channels_last(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.numel() <= _LARGE_WEIGHT


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


@handles(F.group_norm, torch.group_norm)
def group_norm(
    recorder: UseRecorder,
    func: Any,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    """input [n, channels, ...]. Through the native operator, which also returns the statistics."""
    examples = recorder.layout(input, input.ndim - 1)
    n, channels = input.shape[:2]
    inside = math.prod(input.shape[2:])
    output, mean, rstd = torch.native_group_norm(input, weight, bias, n, channels, inside, num_groups, eps)
    a, mean, rstd = input.detach(), mean.detach(), rstd.detach()

    def scale(g: Tensor) -> Tensor:
        centre, spread = (v.repeat_interleave(channels // num_groups, 1) for v in (mean, rstd))
        return _join(examples, (sum_of_products_over_space(g, a) - centre * sum_over_space(g)) * spread)

    uses = recorder.use(recorder.leaf(weight), Direct(scale), lambda g: g)
    uses += recorder.use(recorder.leaf(bias), Direct(lambda g: _join(examples, sum_over_space(g))), lambda g: g)
    recorder.watch(output, uses, input)
    return output


def _join(examples: Examples, sums: Tensor) -> Tensor:
    """[rows, channels] to [n, channels]: rows folded into the batch add up."""
    joined = examples(sums)
    return joined if joined.ndim == 2 else joined.sum(1)


@handles(F.batch_norm, torch.batch_norm)
def batch_norm(
    recorder: UseRecorder,
    func: Any,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """input [n, channels, ...]; with stored statistics a fixed affine map, so examples do not interact."""
    if func is not F.batch_norm or running_mean is None or running_var is None:
        raise NotCovered("batch normalisation called below torch.nn.functional")
    output: Tensor = func(input, running_mean, running_var, weight, bias, False, momentum, eps)
    examples = recorder.layout(input, input.ndim - 1)
    spread = (running_var.detach() + eps).rsqrt()

    def scale(g: Tensor) -> Tensor:
        moments = sum_of_products_over_space(g, input.detach()) - running_mean.detach() * sum_over_space(g)
        return _join(examples, moments * spread)

    uses = recorder.use(recorder.leaf(weight), Direct(scale), lambda g: g)
    uses += recorder.use(recorder.leaf(bias), Direct(lambda g: _join(examples, sum_over_space(g))), lambda g: g)
    recorder.watch(output, uses, input)
    return output


@handles(F.instance_norm)
def instance_norm(
    recorder: UseRecorder,
    func: Any,
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """input [n, channels, ...]."""
    output: Tensor = func(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
    output = output.clone()  # it is a view: an operation in place would go round the node that is watched
    examples = recorder.layout(input, input.ndim - 1)

    def scale(g: Tensor) -> Tensor:
        stored = [None if v is None else v.detach().clone() for v in (running_mean, running_var)]
        normal = func(input.detach(), *stored, None, None, use_input_stats, momentum, eps)
        return _join(examples, sum_over_space(normal * g))

    uses = recorder.use(recorder.leaf(weight), Direct(scale), lambda g: g)
    uses += recorder.use(recorder.leaf(bias), Direct(lambda g: _join(examples, sum_over_space(g))), lambda g: g)
    recorder.watch(output, uses, input)
    return output


@handles(F.layer_norm, torch.layer_norm)
def layer_norm(
    recorder: UseRecorder,
    func: Any,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """input [..., *normalized_shape]. Through the native operator, which also returns the statistics."""
    features = len(normalized_shape)
    examples = recorder.layout(input, features)
    output, mean, rstd = torch.native_layer_norm(input, normalized_shape, weight, bias, eps)
    a, mean, rstd = input.detach(), mean.detach(), rstd.detach()
    normal = lambda: (a - mean).mul_(rstd)  # noqa: E731
    _scale_and_shift(recorder, output, weight, bias, normal, examples, features, input)
    return output


@handles(F.rms_norm, torch.rms_norm)
def rms_norm(
    recorder: UseRecorder,
    func: Any,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """input [..., *normalized_shape]."""
    features = len(normalized_shape)
    output: Tensor = func(input, normalized_shape, weight, eps)
    examples = recorder.layout(input, features)
    normal = lambda: func(input.detach(), normalized_shape, None, eps)  # noqa: E731
    _scale_and_shift(recorder, output, weight, None, normal, examples, features, input)
    return output


def _scale_and_shift(
    recorder: UseRecorder,
    output: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    normal: Callable[[], Tensor],
    examples: Examples,
    features: int,
    read: Tensor,
) -> None:
    """Parameters of the last `features` axes: sums over the axes between them and the batch."""

    def over_positions(values: Tensor) -> Tensor:
        values = examples(values)
        between = tuple(range(1, values.ndim - features))
        return (values.sum(between) if between else values).flatten(1)

    uses = recorder.use(recorder.leaf(weight), Direct(lambda g: over_positions(normal().mul_(g))), lambda g: g)
    uses += recorder.use(recorder.leaf(bias), Direct(over_positions), lambda g: g)
    recorder.watch(output, uses, read)


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
        return _join(examples, sums if weight.numel() > 1 else sums.sum(1, keepdim=True))

    recorder.watch(output, recorder.use(recorder.leaf(weight), Direct(slope), lambda g: g), input)
    return output


@handles(
    *(torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__),
    *(torch.mul, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__rmul__, Tensor.__imul__),
    *(torch.sub, Tensor.sub, Tensor.sub_, Tensor.__sub__, Tensor.__rsub__, Tensor.__isub__),
    *(torch.div, Tensor.div, Tensor.div_, Tensor.__truediv__, Tensor.__rtruediv__, Tensor.__itruediv__),
)
def pointwise(recorder: UseRecorder, func: Any, first: Any, second: Any, **options: Any) -> Tensor:
    """x with a parameter p that broadcasts over the batch: each example gets a copy of p, whose gradient is its own."""
    leaves = [recorder.leaf(first), recorder.leaf(second)]
    parameter, other = (first, second) if leaves[0] is not None else (second, first)
    if None not in leaves or not isinstance(other, Tensor) or other.ndim < max(1, parameter.ndim):
        raise NotCovered("a parameter in an expression without the batch")
    features = 0 if other.ndim > 2 else other.ndim - 1
    axis, examples = recorder.batch_axis(other, features), recorder.layout(other, features)
    padded = [1] * (other.ndim - parameter.ndim) + list(parameter.shape)
    if padded[axis] != 1:
        raise NotCovered("a parameter that does not broadcast over the batch")
    rows = other.shape[axis]
    copies = parameter.reshape(padded).expand(*padded[:axis], rows, *padded[axis + 1 :])

    def gradients(g: Tensor) -> Tensor:
        g = examples(g)
        return (g if rows == recorder.n else g.sum(1)).flatten(1)

    leaf = leaves[0] or leaves[1]
    recorder.watch(copies, recorder.use(leaf, Direct(gradients), lambda g: g), None)
    return func(copies, second, **options) if parameter is first else func(first, copies, **options)


@handles(Tensor.expand, Tensor.repeat, torch.broadcast_to)
def one_for_each(recorder: UseRecorder, func: Any, whole: Tensor, *sizes: Any) -> Tensor:
    """A parameter copied to every example (class tokens, first states)."""
    leaf = recorder.leaf(whole)
    output: Tensor = func(whole, *sizes)
    padded = [1] * (output.ndim - whole.ndim) + list(whole.shape)
    batch = [axis for axis in (0, 1) if axis < output.ndim and padded[axis] == 1 and output.shape[axis] == recorder.n]
    same = all(a == b or (axis in batch) for axis, (a, b) in enumerate(zip(padded, output.shape, strict=True)))
    if leaf is None or not same or not batch:
        raise NotCovered("a parameter that is copied other than once an example")
    if len(batch) > 1 and recorder.n > 1:
        raise Ambiguous(recorder.n)
    axis = batch[-1] if recorder.positions_first else batch[0]
    moved = lambda g: g.movedim(axis, 0).flatten(1)  # noqa: E731
    recorder.watch(output, recorder.use(leaf, Direct(lambda g: g), moved), None)
    return output

    return Ambiguous(recorder.n)


# Properties of the class that C code defines: the getters are what the mode is given
_TRANSPOSES = tuple(vars(torch._C.TensorBase)[name].__get__ for name in ("T", "mT"))


@handles(
    *_TRANSPOSES,
    *(
        Tensor.t,
        torch.t,
        Tensor.transpose,
        torch.transpose,
    ),
    *(Tensor.permute, torch.permute, Tensor.reshape, torch.reshape, Tensor.view, Tensor.flatten, torch.flatten),
    *(Tensor.unsqueeze, torch.unsqueeze, Tensor.squeeze, torch.squeeze, Tensor.unflatten, Tensor.contiguous),
    *(Tensor.narrow, torch.narrow, Tensor.select, torch.select, Tensor.view_as),
    *(Tensor.chunk, torch.chunk, Tensor.split, torch.split, Tensor.unbind, torch.unbind, torch.tensor_split),
)
def view(recorder: UseRecorder, func: Any, whole: Any, *args: Any, **kwargs: Any) -> Any:
    """A view, or parts that do not overlap: their gradients are entries of the whole's."""
    leaf = recorder.leaf(whole)
    if leaf is None:
        raise NotCovered("a view of something else")
    return recorder.derive(leaf, (func, repr(args), repr(kwargs)), lambda: func(whole, *args, **kwargs))


@handles(Tensor.__getitem__)
def item(recorder: UseRecorder, func: Any, whole: Any, index: Any) -> Any:
    """Numbers and slices only: an index tensor may name an entry twice."""
    parts = index if isinstance(index, tuple) else (index,)
    if not all(part is None or part is Ellipsis or isinstance(part, int | slice) for part in parts):
        raise NotCovered("a parameter indexed by a tensor")
    return view(recorder, func, whole, index)


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


def refuse_batch_statistics(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    *_: Any,
    **__: Any,
) -> None:
    """Raises UsageError where batch_norm is told to use the batch's own statistics."""
    if training:
        raise UsageError(
            "The model normalises by the batch even in eval mode, so a record has no gradient of its own.",
            "Use GroupNorm, or stored statistics (track_running_stats=True, training=self.training).",
        )


GUARDS[F.batch_norm] = refuse_batch_statistics
