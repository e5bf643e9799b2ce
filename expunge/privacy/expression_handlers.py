"""What are an example's gradients by parameters in plain expressions: x + p, a token copied to every example, a view?

Importing this module registers the handlers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from expunge.privacy.parameter_uses import Ambiguous, NotCovered, UseRecorder, handles
from expunge.privacy.use_gradients import Direct


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
