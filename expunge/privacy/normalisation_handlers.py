"""What are an example's gradients by the scales and shifts of normalisation layers? One handler a function.

Scales use SUM over positions of slope * normalised input. Importing this module registers the handlers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.errors import UsageError
from expunge.privacy.parameter_uses import GUARDS, Examples, NotCovered, UseRecorder, handles
from expunge.privacy.space_sums import join_folded, sum_of_centred_products, sum_over_space
from expunge.privacy.use_gradients import Direct


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
        return sum_of_centred_products(g, a, centre) * spread

    return _by_channel(recorder, output, weight, bias, scale, examples, input)


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
        return sum_of_centred_products(g, input.detach(), running_mean.detach()) * spread

    return _by_channel(recorder, output, weight, bias, scale, examples, input)


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
        return sum_over_space(normal * g)

    return _by_channel(recorder, output, weight, bias, scale, examples, input)


def _by_channel(
    recorder: UseRecorder,
    output: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    scale: Callable[[Tensor], Tensor],
    examples: Examples,
    read: Tensor,
) -> Tensor:
    """Notes one scale and one shift a channel; `scale(g)` gives the gradients by the scale, [rows, channels]."""
    for parameter, gradient in ((weight, scale), (bias, sum_over_space)):
        direct = Direct(lambda g, gradient=gradient: join_folded(examples, gradient(g)))  # type: ignore[misc]
        recorder.watch(output, recorder.use(recorder.leaf(parameter), direct, lambda g: g), read)
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
